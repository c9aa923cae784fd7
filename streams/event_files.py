"""Exposures and rewards from a file: JSON lines or CSV, each line checked as the join would check it."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec

from streams.records import Exposure, Reward, encode

__all__ = ["BadLine", "Event", "read_events"]


@dataclass(frozen=True, slots=True)
class Event:
    """A record ready to send; `key` is the unit."""

    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line, counted from 1, that cannot be sent, and why."""

    line: int
    error: str


def read_events(
    lines: Iterable[str], kind: type[Exposure] | type[Reward], *, is_csv: bool | None = None
) -> Iterator[Event | BadLine]:
    """What each line holds. Empty lines are passed over.

    A CSV file has the fields' names in its first line; an empty cell is an absent field, a cell of `covariates` holds JSON.
    If `is_csv` is None, the first line decides: JSON lines start with ``{``.
    """
    lines = iter(lines)
    if is_csv is None:
        first = next(lines, "")
        is_csv = bool(first.strip()) and not first.lstrip("\ufeff \t").startswith("{")
        lines = chain([first], lines)
    return _from_csv(lines, kind) if is_csv else _from_json(lines, kind)


def _from_json(lines: Iterable[str], kind: type[Exposure] | type[Reward]) -> Iterator[Event | BadLine]:
    decoder = msgspec.json.Decoder(kind)
    for number, line in enumerate(lines, 1):
        text = line.lstrip("\ufeff").strip()
        if not text:
            continue
        try:
            value = text.encode()
            yield Event(decoder.decode(value).unit.encode(), value)
        except (msgspec.DecodeError, UnicodeEncodeError) as error:
            yield BadLine(number, str(error))


def _from_csv(lines: Iterable[str], kind: type[Exposure] | type[Reward]) -> Iterator[Event | BadLine]:
    rows = csv.DictReader(lines)
    names = [(name or "").lstrip("\ufeff").strip() for name in rows.fieldnames or ()]
    if absent := [f.name for f in msgspec.structs.fields(kind) if f.required and f.name not in names]:
        yield BadLine(1, f"the first line must name the fields; it lacks {', '.join(absent)}")
        return
    rows.fieldnames = names
    while True:
        try:
            row = next(rows, None)
            if row is None:
                return
            event = msgspec.convert(_cells(row), kind, strict=False)
            if isinstance(event, Reward) and not math.isfinite(event.value):
                raise msgspec.ValidationError(f"Expected a finite number, got {event.value} - at `$.value`")
            yield Event(event.unit.encode(), encode(event))
        except (csv.Error, msgspec.DecodeError, UnicodeEncodeError) as error:
            yield BadLine(rows.line_num, str(error))


def _cells(row: dict[Any, Any]) -> dict[str, Any]:
    if None in row:
        raise msgspec.ValidationError(f"{len(row[None])} more cells than the first line has names")
    cells = {name: cell for name, cell in row.items() if cell not in ("", None)}
    if "covariates" in cells:
        cells["covariates"] = msgspec.json.decode(cells["covariates"])
    return cells
