"""The sums of one partition: one cell for each (experiment, segment, arm, holdback, period) seen, interned to a small number.

Unit records name a cell by its number. Numbers are given in order of first sight and never reused, so they differ between
partitions and between a run and its replay; nothing that leaves the partition shows them.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from allocator.errors import StateError
from allocator.moments import layout_of
from streams.records import Cell

__all__ = ["CELL_PREFIX", "CellName", "Cells"]

CELL_PREFIX = b"\x00cell"


class CellName(NamedTuple):
    """What a cell sums over."""

    experiment: str
    segment: str
    arm: str
    holdback: bool
    period: int


_StoredCell = tuple[str, str, str, bool, int, list[int]]


class Cells:
    """All cells, their sums, and which of them changed since `drain`."""

    def __init__(self) -> None:
        self.names: list[CellName] = []
        self.sums: list[list[int]] = []
        self.hot: dict[int, list[int]] = {}
        self._ids: dict[CellName, int] = {}
        self._of_period: dict[tuple[str, int], list[tuple[CellName, int]]] = {}
        """In order of the names, so that equal sums give equal bytes."""

    def intern(self, name: CellName, metrics: int) -> int:
        """The cell's number; an empty cell on first sight."""
        cell = self._ids.get(name)
        return cell if cell is not None else self._add(name, layout_of(metrics).empty())

    def _add(self, name: CellName, sums: list[int]) -> int:
        cell = self._ids[name] = len(self.names)
        self.names.append(name)
        self.sums.append(sums)
        insort(self._of_period.setdefault((name.experiment, name.period), []), (name, cell))
        return cell

    def periods(self) -> Iterator[tuple[str, int]]:
        """Every (experiment, period) that has a cell."""
        yield from self._of_period

    def of_period(self, experiment: str, period: int) -> list[Cell]:
        """The wire form of one experiment's cells in one period, sorted by name."""
        sums = self.sums
        return [Cell(name[1], name[2], name[3], sums[c]) for name, c in self._of_period.get((experiment, period), ())]

    def drain(self, keys: list[bytes], values: list[bytes | None]) -> set[tuple[str, int]]:
        """Append the changed cells as changelog records; returns the (experiment, period) pairs they belong to."""
        touched = set()
        for cell, sums in self.hot.items():
            name = self.names[cell]
            keys.append(CELL_PREFIX + cell.to_bytes(4, "big"))
            values.append(msgspec.json.encode((*name, sums)))  # JSON: msgpack stops at 64 bits
            touched.add((name.experiment, name.period))
        self.hot.clear()
        return touched

    def restore(self, records: Iterator[tuple[bytes, bytes]]) -> None:
        """Take over stored cells, in the order of their numbers."""
        for key, value in records:
            cell = int.from_bytes(key[len(CELL_PREFIX) :], "big")
            if cell != len(self.names):
                raise StateError(
                    f"cell {cell} where {len(self.names)} was due", "cells numbered without a gap", "delete the data directory"
                )
            *name, sums = msgspec.json.decode(value, type=_StoredCell)
            self._add(CellName(*name), sums)
