"""`allocator weights`: what is published now, and every publication from now on."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.kafka import connect, run, topic_must_exist
from streams.cli.options import Bootstrap, Json, Prefix
from streams.cli.output import CommandError, console, lease, print_json, share, table
from streams.phrases import rough_duration
from streams.topics import PREFIX, Topics

if TYPE_CHECKING:
    from allocator.weights import Weights
    from streams.connection import Connection

__all__ = ["read_weights", "weights"]


def weights(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this experiment.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print every publication as it comes, until ctrl-C.")] = False,
    bootstrap: Bootstrap = None,
    prefix: Prefix = PREFIX,
    as_json: Json = False,
) -> None:
    """The weights in force. With --follow and --json: one JSON object a line."""
    connection, topics = connect(bootstrap), Topics(prefix)

    async def read() -> dict[str, list[Weights]]:
        await topic_must_exist(connection, topics.weights)
        if follow:
            await _follow(connection, topics, name, as_json)
        return await read_weights(connection, topics)

    try:
        published = run(read())
    except KeyboardInterrupt:  # the way to end --follow
        return
    found = [w for experiment in sorted(published) if name in (None, experiment) for w in published[experiment]]
    if name is not None and not found:
        raise CommandError(
            f"no weights of {name!r} are published yet; allocator list shows the experiments, allocator doctor why"
        )
    if as_json:
        print_json(found)
    elif not found:
        typer.echo("no weights are published yet")
    else:
        _print(found, time.time())


async def read_weights(connection: Connection, topics: Topics) -> dict[str, list[Weights]]:
    """The newest weights of each experiment, the whole first, then its segments. Empty while there is no weights topic."""
    from streams.clients import admin_client, started
    from streams.compacted import read_compacted

    async with started(admin_client(connection), connection) as admin:
        if topics.weights not in await admin.list_topics():
            return {}
    newest: dict[tuple[str, str], Weights] = {}
    for record in (await read_compacted(connection, topics.weights)).values():
        found = _decode(record)
        newest[found.experiment, found.segment or ""] = found
    by_experiment: dict[str, list[Weights]] = {}
    for (experiment, _), found in sorted(newest.items(), key=lambda item: item[0]):
        by_experiment.setdefault(experiment, []).append(found)
    return by_experiment


def _decode(record: Any) -> Weights:
    import msgspec

    from allocator.weights import Weights

    try:
        return msgspec.json.decode(record.value, type=Weights)
    except (ValueError, RecursionError) as error:  # MsgspecError and UnicodeDecodeError are ValueErrors
        raise CommandError(f"{record.topic}, offset {record.offset}: not a weights record: {error}") from error


async def _follow(connection: Connection, topics: Topics, name: str | None, as_json: bool) -> None:
    """Print until cancelled."""
    from rich.markup import escape

    from streams.compacted import CompactedTopic

    out = console()

    def show(record: Any) -> None:
        if record.value is None:
            return
        found = _decode(record)
        if name not in (None, found.experiment):
            return
        if as_json:
            print_json(found, indented=False)
            return
        at = time.strftime("%H:%M:%S", time.localtime(found.ts))
        arms = "  ".join(f"{arm.id} [bold]{share(arm.ppm)}[/]" for arm in found.arms)
        out.print(
            f"[dim]{at}[/]  {_title(found)}  version {found.version}  {arms}  [dim]{escape(found.reason)}[/]", soft_wrap=True
        )

    topic = CompactedTopic(connection, topics.weights, show)
    await topic.start()
    assert topic.task is not None
    try:
        await asyncio.wait([topic.task])
    finally:
        await topic.stop()


def _title(found: Weights) -> str:
    return found.experiment if found.segment is None else f"{found.experiment} ({found.segment})"


def _print(found: list[Weights], now: float) -> None:
    shown = table("experiment", "status", ">version", "arm", ">share", "", ">age", "lease")
    for w in found:
        style = "default" if w.valid_until > now else "red"
        head: tuple[str, ...] = (_title(w), w.status, str(w.version))
        tail: tuple[str, ...] = (rough_duration(now - w.ts), f"[{style}]{lease(w, now)}[/]")
        for arm in w.arms:
            shown.add_row(*head, arm.id, share(arm.ppm), f"[blue]{'█' * round(arm.ppm / 50_000)}[/]", *tail)
            head, tail = ("", "", ""), ("", "")
        shown.add_section()
    console().print(shown)
