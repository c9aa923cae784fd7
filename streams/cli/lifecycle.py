"""`allocator start | pause | resume | promote | stop | archive | changes`: an experiment's life, and who did what to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.experiments import difference
from streams.cli.kafka import connect, run, topic_must_exist
from streams.cli.options import Bootstrap, By, Json, Name, Prefix, Why, author
from streams.cli.output import CommandError, print_json
from streams.phrases import utc
from streams.topics import PREFIX, Topics

if TYPE_CHECKING:
    from allocator.experiment import Experiment, Status
    from streams.records import Change

__all__ = ["amended", "archive", "changes", "pause", "promote", "resume", "start", "stop"]

Yes = Annotated[bool, typer.Option("--yes", help="Even if units are served a promoted arm.")]


def start(
    name: Name, by: By = None, why: Why = "", bootstrap: Bootstrap = None, prefix: Prefix = PREFIX, as_json: Json = False
) -> None:
    """Start an experiment that was applied as a draft. From here on its units are counted."""
    _move(name, "running", by, why, bootstrap, prefix, as_json)


def pause(
    name: Name, by: By = None, why: Why = "", bootstrap: Bootstrap = None, prefix: Prefix = PREFIX, as_json: Json = False
) -> None:
    """Hold the weights where they are; events are still counted."""
    _move(name, "paused", by, why, bootstrap, prefix, as_json)


def resume(
    name: Name, by: By = None, why: Why = "", bootstrap: Bootstrap = None, prefix: Prefix = PREFIX, as_json: Json = False
) -> None:
    """Let a paused experiment move traffic again."""
    _move(name, "running", by, why, bootstrap, prefix, as_json)


def promote(
    name: Name,
    arm: Annotated[str, typer.Argument(metavar="ARM", help="Who gets all units but the holdback.")],
    by: By = None,
    why: Why = "",
    bootstrap: Bootstrap = None,
    prefix: Prefix = PREFIX,
    as_json: Json = False,
) -> None:
    """Move all traffic to an arm, by at most the maximum shift an update. The holdback stays on control and is still counted."""
    from allocator.lifecycle import promote as to_arm

    amended(name, lambda current: to_arm(current, arm), by, why, bootstrap, prefix, as_json)


def stop(
    name: Name, by: By = None, why: Why = "", bootstrap: Bootstrap = None, prefix: Prefix = PREFIX, as_json: Json = False
) -> None:
    """End an experiment for good: every unit gets the fallback. A stopped one cannot be resumed."""
    _move(name, "stopped", by, why, bootstrap, prefix, as_json)


def archive(
    name: Name,
    yes: Yes = False,
    by: By = None,
    why: Why = "",
    bootstrap: Bootstrap = None,
    prefix: Prefix = PREFIX,
    as_json: Json = False,
) -> None:
    """Put an experiment away. Its weights are removed, so code must not ask for it any more; its spec and changes remain."""
    from allocator.lifecycle import move

    def put_away(current: Experiment) -> Experiment:
        if current.status == "promoted" and not yes:
            raise CommandError(
                f"{name}: units are served {current.promoted}, which was promoted; without weights, routers know no arm for "
                "them. Have the code serve it first, then: --yes"
            )
        return move(current, "archived")

    amended(name, put_away, by, why, bootstrap, prefix, as_json)


def changes(name: Name, bootstrap: Bootstrap = None, prefix: Prefix = PREFIX, as_json: Json = False) -> None:
    """Who changed an experiment, when, why and how, oldest first."""
    connection, topics = connect(bootstrap), Topics(prefix)

    async def read() -> list[Change]:
        from streams.changes import read_changes

        await topic_must_exist(connection, topics.changes)
        return (await read_changes(connection, topics)).get(name, [])

    found = run(read())
    if not found:
        raise CommandError(
            f"no changes of {name!r} are on {topics.changes}; allocator list --all shows which experiments there are"
        )
    if as_json:
        print_json(found)
        return
    for change in found:
        typer.echo(_told(change))


def amended(
    name: str,
    make: Callable[[Experiment], Experiment],
    by: str | None,
    why: str,
    bootstrap: str | None,
    prefix: str,
    as_json: bool,
) -> None:
    """Write what `make` makes of the spec in force, and say what it is now."""
    from streams.experiments import amend

    connection, topics = connect(bootstrap), Topics(prefix)

    async def write() -> tuple[Experiment, Experiment]:
        await topic_must_exist(connection, topics.experiments)
        return await amend(connection, topics, name, make, author(by, why))

    _, after = run(write())
    if as_json:
        said: dict[str, Any] = {"experiment": after.experiment, "status": after.status, "revision": after.revision}
        print_json(said | ({"promoted": after.promoted} if after.promoted else {}))
    else:
        arm = f" {after.promoted}" if after.status == "promoted" else ""
        typer.echo(f"{after.experiment}: {after.status}{arm}, revision {after.revision}")


def _move(name: str, status: Status, by: str | None, why: str, bootstrap: str | None, prefix: str, as_json: bool) -> None:
    from allocator.lifecycle import move

    amended(name, lambda current: move(current, status), by, why, bootstrap, prefix, as_json)


def _told(change: Change) -> str:
    lines = [f"revision {change.revision}, {utc(change.ts)}, {change.by}: {change.why or 'no reason given'}"]
    if change.kind == "new":
        lines.append(f"  new, {change.status}")
    return "\n".join([*lines, *(difference(each.path, each.before, each.after) for each in change.changes)])
