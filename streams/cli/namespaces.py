"""`allocator namespaces`: which experiment holds which units, and what is free."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.kafka import connect, run, topic_must_exist
from streams.cli.options import Bootstrap, Json, Prefix
from streams.cli.output import CommandError, console, print_json, table
from streams.topics import PREFIX, Topics

if TYPE_CHECKING:
    from allocator.experiment import Experiment
    from allocator.namespaces import Holding, Range
    from streams.connection import Connection

__all__ = ["namespaces"]


def namespaces(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this namespace.")] = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = PREFIX,
    as_json: Json = False,
) -> None:
    """Namespaces: who holds what, and what is free."""
    from allocator.namespaces import holdings

    found = holdings(run(_experiments(connect(bootstrap), Topics(prefix))))
    if name is not None and name not in found:
        raise CommandError(f"no experiment holds anything of a namespace {name!r}; in use: {', '.join(found) or 'none'}")
    chosen = {each: held for each, held in found.items() if name in (None, each)}
    if as_json:
        print_json([_summary(each, held) for each, held in chosen.items()])
    elif not chosen:
        typer.echo("no namespaces are in use; a spec says: namespace: {name: home-page, from: 0%, to: 30%}")
    else:
        _print(chosen)
    if twice := [line for each, held in chosen.items() for line in _shared(each, held)]:
        raise CommandError("\n".join(twice))


async def _experiments(connection: Connection, topics: Topics) -> list[Experiment]:
    from streams.experiments import read_experiments

    await topic_must_exist(connection, topics.experiments)
    return list((await read_experiments(connection, topics)).values())


def _free(held: list[Holding]) -> tuple[Range, ...]:
    from allocator.namespaces import free

    return free(found for holding in held for found in holding.ranges)


def _summary(name: str, held: list[Holding]) -> dict[str, Any]:
    from allocator.namespaces import seed_of

    return {
        "namespace": name,
        "seed": seed_of(name),
        "held": [
            {"experiment": h.experiment, "owner": h.owner, "status": h.status, "unit": h.unit, "ranges_ppm": h.ranges}
            for h in held
        ],
        "free_ppm": _free(held),
    }


def _print(chosen: dict[str, list[Holding]]) -> None:
    from rich.markup import escape

    from allocator.namespaces import written

    shown = table("namespace", "units", "experiment", "owner", "status", "unit")
    for name, held in chosen.items():
        head = name
        for holding in held:
            owner = escape(holding.owner) or "-"
            shown.add_row(head, written(holding.ranges), holding.experiment, owner, holding.status, escape(holding.unit))
            head = ""
        shown.add_row(head, f"[green]{written(_free(held))}[/]", "[green]free[/]")
        shown.add_section()
    console().print(shown)


def _shared(name: str, held: list[Holding]) -> list[str]:
    """Units that two experiments hold, as after two applies at one moment."""
    from allocator.namespaces import overlap, written

    return [
        f"{name}: {some.experiment} and {other.experiment} both hold {written(both)}. Repair: stop one of them"
        for some, other in combinations(held, 2)
        if (both := overlap(some.ranges, other.ranges))
    ]
