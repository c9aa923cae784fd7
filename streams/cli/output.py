"""What the command line prints: tables for people, JSON for programs, errors as sentences on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import orjson
import typer

from allocator.errors import AllocatorError, SpecErrors, TopicErrors, UnknownExperiment
from streams.phrases import rough_duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from allocator.weights import Weights

__all__ = ["CommandError", "FileErrors", "console", "fail", "lease", "print_json", "share", "table"]

PIPE_WIDTH = 200
"""Columns assumed when no terminal says how many there are; enough that no cell is cut."""


class CommandError(AllocatorError):
    """The command cannot be done; the text says why and what to do."""


class FileErrors(AllocatorError):
    """Errors of several spec files, as (file, error)."""

    def __init__(self, found: list[tuple[str, SpecErrors]]) -> None:
        self.found = found
        super().__init__("\n".join(f"{file}: {error}" for file, errors in found for error in errors.errors))


def fail(error: AllocatorError, *, as_json: bool) -> None:
    """Report an error on standard error."""
    text = str(error)
    if isinstance(error, UnknownExperiment):
        text += "; allocator list shows which there are"
    if as_json:
        text = orjson.dumps({"error": text, "errors": _parts(error)}).decode()
    typer.echo(text, err=True)


def _parts(error: AllocatorError) -> list[dict[str, Any]]:
    if isinstance(error, FileErrors):
        return [{"file": file, **part} for file, errors in error.found for part in _parts(errors)]
    if isinstance(error, SpecErrors):
        return [{"path": e.path, "value": _plain(e.value), "expected": e.expected} for e in error.errors]
    if isinstance(error, TopicErrors):
        return [{"topic": e.topic, "found": e.found, "expected": e.expected, "repair": e.repair} for e in error.errors]
    return []


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (str, int, float, bool, list, dict)) else repr(value)


def print_json(value: Any, *, indented: bool = True) -> None:
    """One JSON document on standard output. `value` may hold structs."""
    import msgspec

    option = orjson.OPT_INDENT_2 if indented else 0
    typer.echo(orjson.dumps(value, default=msgspec.to_builtins, option=option).decode())


def console() -> Console:
    """Standard output, coloured only on a terminal."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def table(*columns: str) -> Table:
    """A table without columns' worth of lines; a column whose name starts with ``>`` is right-aligned."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    return made


def lease(weights: Weights, now: float) -> str:
    """Whether routers still go by these weights."""
    left_s = weights.valid_until - now
    if left_s > 0:
        return f"in force for another {rough_duration(left_s)}"
    return f"ran out {rough_duration(-left_s)} ago, routers serve {weights.fallback}"


def share(ppm: int) -> str:
    """Parts per million as per cent: 240000 is ``24.0 %``."""
    return f"{ppm / 10_000:.1f} %"
