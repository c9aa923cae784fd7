"""The sums of one partition: one cell for each (experiment, segment, arm, holdback, period) seen, interned to a small number.

Unit records name a cell by its number. Numbers are given in order of first sight and never reused, so they differ between
partitions and between a run and its replay; nothing that leaves the partition shows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from allocator.errors import StateError
from allocator.moments import layout_of

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

    def intern(self, name: CellName, metrics: int) -> int:
        """The cell's number; an empty cell on first sight."""
        cell = self._ids.get(name)
        return cell if cell is not None else self._add(name, layout_of(metrics).empty())

    def _add(self, name: CellName, sums: list[int]) -> int:
        cell = self._ids[name] = len(self.names)
        self.names.append(name)
        self.sums.append(sums)
        return cell

    def drain(self, keys: list[bytes], values: list[bytes | None]) -> list[int]:
        """Append the changed cells as changelog records; returns their numbers."""
        for cell, sums in self.hot.items():
            keys.append(CELL_PREFIX + cell.to_bytes(4, "big"))
            values.append(msgspec.json.encode((*self.names[cell], sums)))  # JSON: msgpack stops at 64 bits
        changed = list(self.hot)
        self.hot.clear()
        return changed

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
