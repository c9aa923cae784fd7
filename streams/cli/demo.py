"""`allocator demo`: real outcomes of several models, played as traffic; the rest is in `streams.demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streams.cli.options import Json, Prefix
from streams.demo import RATE_DEFAULT, ROWS_DEFAULT, Options, Story
from streams.topics import PREFIX

__all__ = ["demo"]


def demo(
    data: Annotated[
        Path | None,
        typer.Option("--data", exists=True, dir_okay=False, help="Outcome matrix, one row a request; default: the shipped one."),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option("--rows", "--requests", min=1, show_default=str(ROWS_DEFAULT), help="Requests to play."),
    ] = None,
    scenario: Annotated[
        Story | None,
        typer.Option("--scenario", help="A story in a simulated world, whose truth is known, in place of outcomes."),
    ] = None,
    speed: Annotated[float, typer.Option("--speed", min=0.01, help="Of a scenario, in times its own.")] = 1.0,
    rate: Annotated[float, typer.Option("--rate", min=1, help="Requests a second, if the machine can.")] = RATE_DEFAULT,
    serve: Annotated[bool, typer.Option("--serve", help="Keep worker and dashboard up afterwards, until ctrl-C.")] = False,
    bootstrap: Annotated[
        str | None,
        typer.Option(
            "--bootstrap",
            metavar="HOST:PORT",
            show_default="an embedded broker",
            # Not from the environment: a demo must not write to the company's Kafka because a variable happens to be set.
            help="A real Kafka to play on. ALLOCATOR_BOOTSTRAP is not looked at here.",
        ),
    ] = None,
    web_port: Annotated[int, typer.Option("--web-port", min=0, max=65535, help="Of the dashboard; 0 takes a free one.")] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Of the order of requests and their delays.")] = 0,
    prefix: Prefix = PREFIX,
    as_json: Json = False,
) -> None:
    """Watch traffic move from weaker models to the stronger one, on real outcomes. Needs nothing but this package."""
    if bootstrap is not None:
        from streams.cli.kafka import connect

        connect(bootstrap)
    from streams.demo import run

    options = Options(
        data=data,
        rows=rows,
        rate=rate,
        bootstrap=bootstrap,
        serve=serve,
        as_json=as_json,
        web_port=web_port,
        prefix=prefix,
        seed=seed,
        scenario=scenario,
        speed=speed,
    )
    raise typer.Exit(run(options))
