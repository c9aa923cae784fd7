"""How late rewards came: by cell and metric, counts of lags in the bins of `allocator.delay`.

Counted once a unit where a metric is a maximum of zeros and ones, and for every reward that is not 0 where values add up; not for
held-back units, which train nothing. They are what an estimate is made of, not an account: a correction, a crossover or an
earlier exposure takes no lag back, and of rewards that waited for their exposure a maximum counts the least lag. So unlike the
sums they may differ a little between a run and its replay, and an audit does not compare them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import msgspec

from streams.join.cells import CellName

__all__ = ["LAGS_PREFIX", "Lags"]

LAGS_PREFIX = b"\x00late"

Rows = defaultdict[int, defaultdict[int, int]]
"""By place of the metric, counts by bin: few bins have any."""


class Lags:
    """The lags of one partition."""

    def __init__(self) -> None:
        self.of: list[Rows] = []
        """By cell."""
        self._untrained = _rows()

    def add(self, cell: CellName) -> None:
        """The next cell, by number."""
        self.of.append(self._untrained if cell.holdback else _rows())

    def of_cell(self, cell: int) -> list[dict[int, int]]:
        """The wire form, by metric; empty if there are none."""
        rows = self.of[cell]
        return [rows.get(j, {}) for j in range(max(rows) + 1)] if rows and rows is not self._untrained else []

    def drain(self, cells: Iterable[int], keys: list[bytes], values: list[bytes | None]) -> None:
        """Append as changelog records what there is of these cells."""
        for cell in cells:
            if lags := self.of_cell(cell):
                keys.append(LAGS_PREFIX + cell.to_bytes(4, "big"))
                values.append(msgspec.json.encode(lags))

    def restore(self, records: Iterator[tuple[bytes, bytes]]) -> None:
        """Take over what `drain` wrote, once every cell was added."""
        for key, value in records:
            cell = int.from_bytes(key[len(LAGS_PREFIX) :], "big")
            for j, row in enumerate(msgspec.json.decode(value, type=list[dict[int, int]])):
                if row:
                    self.of[cell][j].update(row)


def _rows() -> Rows:
    return defaultdict(lambda: defaultdict(int))
