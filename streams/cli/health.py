"""`allocator health`: whether an experiment's working is sound, and what to do where it is not."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import typer

from streams.cli.kafka import connect, run, topic_must_exist
from streams.cli.options import Bootstrap, Json, Name, Prefix
from streams.cli.output import console, print_json, table
from streams.topics import PREFIX, Topics

if TYPE_CHECKING:
    from streams.connection import Connection
    from streams.health import ExperimentHealth

__all__ = ["health"]

DECISIONS_MAX = 1000
"""The newest ones, as many as a worker keeps."""
STATE_STYLE = {"ok": "green", "warn": "yellow", "broken": "bold red", "unknown": "dim"}


def health(name: Name, bootstrap: Bootstrap = None, prefix: Prefix = PREFIX, as_json: Json = False) -> None:
    """Sample ratio, routers, rewards, event outcomes and weights of an experiment. Exit code 1 if something is broken."""
    found = run(_read(connect(bootstrap), Topics(prefix), name))
    if as_json:
        print_json(found)
    else:
        from rich.markup import escape

        shown = table("", "check", "found")
        for check in found.checks:
            shown.add_row(f"[{STATE_STYLE[check.state]}]{check.state}[/]", check.name, escape(check.sentence))
        console().print(shown)
    if found.state == "broken":
        raise typer.Exit(1)


async def _read(connection: Connection, topics: Topics, name: str) -> ExperimentHealth:
    """From the topics: no worker has to run."""
    from allocator.errors import UnknownExperiment
    from streams.cli.weights import read_weights
    from streams.decisions import read_decisions
    from streams.experiments import read_experiments
    from streams.health import health_of
    from streams.totals import read_totals

    for topic in (topics.experiments, topics.partials, topics.decisions):
        await topic_must_exist(connection, topic)
    specs = await read_experiments(connection, topics)
    if name not in specs:
        raise UnknownExperiment(name)
    totals, weights, decisions = await asyncio.gather(
        read_totals(connection, topics, [name]), read_weights(connection, topics), read_decisions(connection, topics, name)
    )
    whole = next((found for found in weights.get(name, []) if found.segment is None), None)
    return health_of(specs[name], totals[name], decisions[-DECISIONS_MAX:], whole, time.time())
