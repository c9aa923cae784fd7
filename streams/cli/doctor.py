"""`allocator doctor`: what is wrong with the deployment and what to do about it."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.kafka import connect, run
from streams.cli.options import Bootstrap, Json, Partitions, Prefix
from streams.cli.output import console, print_json, table
from streams.topics import PREFIX, Topics

__all__ = ["doctor"]

STATE_STYLE = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Make missing topics and set clean-up policies right first.")] = False,
    partitions: Partitions = 4,
    bootstrap: Bootstrap = None,
    prefix: Prefix = PREFIX,
    as_json: Json = False,
) -> None:
    """Check broker, topics, partitioner, schema, clocks, lag and weights. Exit code 1 if something fails."""
    from streams.doctor import examine

    checks = run(examine(connect(bootstrap), Topics(prefix), partitions=partitions, fix=fix))
    failed = any(check.state == "fail" for check in checks)
    if as_json:
        print_json({"ok": not failed, "checks": checks})
    else:
        from rich.markup import escape

        shown = table("", "check", "found")
        for check in checks:
            repair = f"\n[bold]what to do:[/] {escape(check.repair)}" if check.repair else ""
            shown.add_row(f"[{STATE_STYLE[check.state]}]{check.state}[/]", check.name, escape(check.found) + repair)
        console().print(shown)
    if failed:
        raise typer.Exit(1)
