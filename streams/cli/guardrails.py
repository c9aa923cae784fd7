"""`allocator overrule`, and how breaches are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.kafka import connect, run, topic_must_exist
from streams.cli.options import Bootstrap, By, Json, Name, Prefix, Why, author
from streams.cli.output import print_json
from streams.topics import PREFIX, Topics

if TYPE_CHECKING:
    from allocator.experiment import Experiment
    from allocator.standing import Breach

__all__ = ["breach_line", "overrule"]


def overrule(
    name: Name,
    metric: Annotated[str, typer.Argument(metavar="METRIC", help="Whose guardrail.")],
    arm: Annotated[str, typer.Argument(metavar="ARM", help="The arm that it shall only alert for.")],
    why: Why,
    by: By = None,
    undo: Annotated[bool, typer.Option("--undo", help="Let the guardrail act on the arm again.")] = False,
    bootstrap: Bootstrap = None,
    prefix: Prefix = PREFIX,
    as_json: Json = False,
) -> None:
    """Let an arm back that a guardrail has limited or evicted: for this arm it only alerts from now on."""
    from streams.experiments import set_overruled

    connection, topics = connect(bootstrap), Topics(prefix)

    async def write() -> tuple[Experiment, Experiment]:
        await topic_must_exist(connection, topics.experiments)
        return await set_overruled(connection, topics, name, metric, arm, undo=undo, author=author(by, why))

    before, after = run(write())
    if as_json:
        print_json(
            {"experiment": name, "revision": after.revision, "overruled": after.overruled, "changed": before != after, "why": why}
        )
        return
    said = f"guardrail {metric} {after.guardrails[metric].action}s" if undo else f"guardrail {metric} only alerts"
    unchanged = ", as before" if before == after else ""
    typer.echo(f"{name}: {said} for {arm}{unchanged}, revision {after.revision}: {why}")


def breach_line(breach: Breach) -> str:
    """Such as: guardrail revenue broken by new: evict since version 12; -0.52 from control, bound -0.21, 3,120 units."""
    measured = f"{breach.estimate:+.4g} from control, bound {breach.bound:+.4g}, {breach.units:,} units"
    return f"guardrail {breach.metric} broken by {breach.arm}: {breach.action} since version {breach.version}; {measured}"
