"""`allocator report`: what to do with an experiment and why, then all that is known of it; as text, JSON or a page."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.experiments import ended_phase
from streams.cli.kafka import connect, run, topic_must_exist
from streams.cli.options import Bootstrap, Json, Name, Phase, Prefix
from streams.cli.output import CommandError, print_json
from streams.topics import PREFIX, Topics

if TYPE_CHECKING:
    from streams.connection import Connection
    from streams.report import Inputs

__all__ = ["report"]


def report(
    name: Name,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", dir_okay=False, help="Write a page that stands alone there.")
    ] = None,
    phase: Phase = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = PREFIX,
    as_json: Json = False,
) -> None:
    """What to do with an experiment and why; effects, segments, cost, and the method behind every number."""
    from streams.cli.report_print import headline, show
    from streams.report import make_report, page

    if html is not None and as_json:
        raise typer.BadParameter("one of --html and --json at a time", param_hint="'--html'")
    inputs = run(_inputs(connect(bootstrap), Topics(prefix), name, phase))
    made = make_report(inputs)
    if as_json:
        print_json(made)
    elif html is None:
        show(made)
    else:
        try:
            html.write_text(page(made), encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{html}: {error.strerror or error}: the report was not written") from error
        typer.echo(f"{headline(made)}\n{html}")


async def _inputs(connection: Connection, topics: Topics, name: str, phase: int | None) -> Inputs:
    """Read what there is of the experiment. CommandError: there is no such experiment, or no worker has run yet."""
    from streams.cli.weights import read_weights
    from streams.decisions import read_decisions
    from streams.experiments import read_experiments
    from streams.report import Inputs
    from streams.totals import read_totals

    for topic in (topics.experiments, topics.partials, topics.decisions):
        await topic_must_exist(connection, topic)
    specs = await read_experiments(connection, topics)
    if name not in specs:
        from difflib import get_close_matches

        near = get_close_matches(name, specs, 1)
        raise CommandError(f"no experiment {name!r}" + (f"; did you mean {near[0]!r}?" if near else "; allocator list shows all"))
    totals, weights, decisions = await asyncio.gather(
        read_totals(connection, topics, [name]), read_weights(connection, topics), read_decisions(connection, topics, name)
    )
    spec, now = specs[name], time.time()
    inputs = Inputs.of(spec if phase is None else ended_phase(spec, phase), totals[name], weights.get(name, []), decisions, now)
    if phase is None or phase == spec.phase:
        return inputs
    over = (
        f"phase {phase} is over, and {spec.phase} is the one that trains: weights, decisions and health are of the experiment now"
    )
    return replace(inputs, cautions=(over,))
