"""`allocator dlt list | show | redrive`: the dead letters, and sending them again."""

from __future__ import annotations

from base64 import b64encode
from collections import deque
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.kafka import connect, run, topic_must_exist
from streams.cli.options import Bootstrap, Json, Prefix
from streams.cli.output import console, print_json, table
from streams.topics import PREFIX, Topics

if TYPE_CHECKING:
    from streams.connection import Connection
    from streams.dead_letters import DeadLetterRecord, Group
    from streams.redrive import Report

__all__ = ["app"]

PREVIEW_CHARACTERS = 200
NAMED_MAX = 20
"""Cut letters named one by one; the rest are counted."""


class Source(StrEnum):
    """Whose dead letters."""

    EXPOSURES = "exposures"
    REWARDS = "rewards"


Topic = Annotated[Source | None, typer.Option("--topic", help="Only dead letters of this topic.", show_default="both")]
Reason = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Only those whose reason contains this, or is of this class.")
]

app = typer.Typer(no_args_is_help=True, help="Records that could not be used: list them, look at them, send them again.")


@app.command("list")
def list_(topic: Topic = None, bootstrap: Bootstrap = None, prefix: Prefix = PREFIX, as_json: Json = False) -> None:
    """How many dead letters there are, by reason. Values that differ from record to record are shown as …."""
    groups = run(_groups(connect(bootstrap), _dead_letters(prefix, topic)))
    if as_json:
        print_json(groups)
        return
    if not groups:
        typer.echo("no dead letters")
        return
    from rich.markup import escape

    shown = table("topic", "reason", ">open", ">redriven", "first (UTC)", "last (UTC)")
    for group in groups:
        times = (_utc(group.first_s), _utc(group.last_s))
        shown.add_row(group.topic, escape(group.reason), str(group.open), str(group.redriven), *times)
    console().print(shown)
    if any(group.open for group in groups):
        typer.echo("allocator dlt show: the records. allocator dlt redrive: send those again that can be used now")


@app.command()
def show(
    reason: Reason = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most this many, the newest ones.")] = 20,
    topic: Topic = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = PREFIX,
    as_json: Json = False,
) -> None:
    """The newest open dead letters, oldest first, each with its origin, reason and value."""
    letters = run(_newest(connect(bootstrap), _dead_letters(prefix, topic), reason, limit))
    if as_json:
        print_json([_as_json(letter) for letter in letters])
        return
    if not letters:
        typer.echo("no open dead letters" + ("" if reason is None else f" for {reason!r}"))
    for letter in letters:
        cut = "" if letter.cut_from is None else f", cut from {letter.cut_from} bytes"
        typer.echo(f"{_utc(letter.time_s)} UTC  {letter.origin}{cut}")
        typer.echo(f"  reason: {letter.reason}")
        typer.echo(f"  key:    {_preview(letter.key)}")
        typer.echo(f"  value:  {_preview(letter.value)}")


@app.command()
def redrive(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent and send nothing.")] = False,
    reason: Reason = None,
    topic: Topic = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = PREFIX,
    as_json: Json = False,
) -> None:
    """Send open dead letters again that can be used now, each once; those that would be dead again stay open.

    Mend the cause first: apply the missing spec, or add the missing arm or metric to it.
    """
    if as_json and not (yes or dry_run):
        raise typer.BadParameter("needs --yes or --dry-run: nobody can be asked", param_hint="--json")
    connection = connect(bootstrap)
    if dry_run or not yes:
        report = run(_redrive(connection, prefix, topic, reason, dry_run=True))
        if dry_run or not report.sent:
            _print(report, "would be sent", dry_run=True, as_json=as_json)
            return
        _print(report, "can be sent", dry_run=True, as_json=False)
        typer.confirm("Send them?", abort=True)
    report = run(_redrive(connection, prefix, topic, reason, dry_run=False))
    _print(report, "sent", dry_run=False, as_json=as_json)


# -- Kafka -----------------------------------------------------------------------------------------------------------------------


def _sources(prefix: str, topic: Source | None) -> list[str]:
    return [Topics(prefix).name(source) for source in ([topic] if topic else Source)]


def _dead_letters(prefix: str, topic: Source | None) -> list[str]:
    return [Topics.dead_letters(source) for source in _sources(prefix, topic)]


async def _groups(connection: Connection, topics: list[str]) -> list[Group]:
    """Most open letters first."""
    from streams.dead_letters import grouped, opened

    groups: dict[tuple[str, str], Group] = {}
    await _must_exist(connection, topics)
    async with opened(connection, topics) as log:
        for topic in topics:
            async for letters in log.letters(topic):
                grouped(letters, groups)
    return sorted(groups.values(), key=lambda group: (-group.open, -group.redriven, group.topic, group.reason))


async def _newest(connection: Connection, topics: list[str], reason: str | None, limit: int) -> list[DeadLetterRecord]:
    """Of each partition the newest are kept, of those the newest."""
    from streams.dead_letters import is_wanted, opened

    newest: dict[tuple[str, int], deque[DeadLetterRecord]] = {}
    await _must_exist(connection, topics)
    async with opened(connection, topics) as log:
        for topic in topics:
            async for letters in log.letters(topic):
                kept = newest.setdefault((topic, letters[0].partition), deque(maxlen=limit))
                kept.extend(letter for letter in letters if not letter.redriven and is_wanted(letter, reason))
    return sorted((letter for kept in newest.values() for letter in kept), key=lambda letter: letter.time_s)[-limit:]


async def _redrive(connection: Connection, prefix: str, topic: Source | None, reason: str | None, *, dry_run: bool) -> Report:
    from streams.redrive import redrive as send_again

    topics = Topics(prefix)
    await _must_exist(connection, [topics.experiments, *_dead_letters(prefix, topic)])
    return await send_again(connection, topics, _sources(prefix, topic), reason=reason, dry_run=dry_run)


async def _must_exist(connection: Connection, topics: list[str]) -> None:
    for topic in topics:
        await topic_must_exist(connection, topic)


# -- print -----------------------------------------------------------------------------------------------------------------------


def _print(report: Report, verb: str, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        left = [{"topic": topic, "reason": reason, "count": count} for (topic, reason), count in report.left.items()]
        print_json({"sent": report.sent, "late": report.late, "left": left, "cut": report.cut, "dry_run": dry_run})
        return
    for topic, count in report.sent.items():
        typer.echo(f"{topic}: {count} {verb}")
    if not report.sent:
        typer.echo(f"nothing {verb}")
    if report.late:
        typer.echo(f"{report.late} of them are older than window and grace: counted as late, not used")
    for (topic, reason), count in sorted(report.left.items()):
        typer.echo(f"{topic}: {count} left, would be dead again: {reason}")
    if report.cut:
        typer.echo(f"{len(report.cut)} left, cut because they were too large; send these events themselves again:")
        for origin in report.cut[:NAMED_MAX]:
            typer.echo(f"  {origin}")
        if len(report.cut) > NAMED_MAX:
            typer.echo(f"  ... and {len(report.cut) - NAMED_MAX} more")


def _as_json(letter: DeadLetterRecord) -> dict[str, Any]:
    return {
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "time_s": letter.time_s,
        "reason": letter.reason,
        "reason_class": letter.reason_class,
        "origin": {"topic": letter.origin_topic, "partition": letter.origin_partition, "offset": letter.origin_offset},
        "cut_from": letter.cut_from,
        **_text("key", letter.key),
        **_text("value", letter.value),
    }


def _text(name: str, found: bytes | None) -> dict[str, str | None]:
    """As text, or under another name as base64."""
    try:
        return {name: None if found is None else found.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": b64encode(found or b"").decode()}


def _preview(found: bytes | None) -> str:
    if found is None:
        return "(none)"
    text = found.decode(errors="backslashreplace")
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:PREVIEW_CHARACTERS])
    return shown if len(text) <= PREVIEW_CHARACTERS else f"{shown}… ({len(found)} bytes)"


def _utc(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
