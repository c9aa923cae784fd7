"""How every bench says what it found: verdicts, tables, JSON for programs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import msgspec
from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table

__all__ = ["Verdict", "at_least", "at_most", "machine", "new_table", "progress", "publish", "seconds"]

progress = Console(stderr=True)
PIPE_WIDTH = 120


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was to be reached, and whether it was."""

    target: str
    measured: float
    met: bool


def at_least(what: str, measured: float, bound: float, unit: str) -> Verdict:
    """`what` is to reach the bound."""
    return Verdict(target=f"{what} at least {bound:,g} {unit}", measured=measured, met=measured >= bound)


def at_most(what: str, measured: float, bound: float, unit: str) -> Verdict:
    """`what` is to stay within the bound."""
    return Verdict(target=f"{what} at most {bound:,g} {unit}", measured=measured, met=measured <= bound)


def machine() -> dict[str, Any]:
    """What the figures were measured on, asked before the run."""
    return {"cpus": os.cpu_count(), "load_before": os.getloadavg()[0]}


def publish(found: dict[str, Any], tables: Sequence[RenderableType], verdicts: Sequence[Verdict], *, as_json: bool) -> None:
    """Print what was found, as JSON or for a terminal."""
    if as_json:
        print(msgspec.json.encode({**found, "verdicts": verdicts}).decode(), flush=True)
    else:
        console = Console()
        Console(width=None if console.is_terminal else PIPE_WIDTH).print(Group(*tables, *map(_sentence, verdicts)))


def new_table(title: str, names: Sequence[str], figures: Sequence[str]) -> Table:
    """Columns of names, then of figures, with nothing around them."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in names:
        table.add_column(column, no_wrap=True)
    for column in figures:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def seconds(value: float) -> str:
    """To the hundredth."""
    return f"{value:.2f}"


def _sentence(verdict: Verdict) -> str:
    measured = f"{verdict.measured:,.0f}" if abs(verdict.measured) >= 100 else f"{verdict.measured:.3g}"
    return f"{verdict.target}: {measured}, {'[green]met[/]' if verdict.met else '[bold red]NOT met[/]'}"
