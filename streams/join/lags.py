"""How late rewards came: by experiment, arm, period of the exposure and metric, counts of lags in the bins of `allocator.delay`.

Counted once a unit where a metric is a maximum of zeros and ones, and for every reward that is not 0 where values add up; not for
held-back units, which train nothing. They are what an estimate is made of, not an account: a correction, a crossover or an
earlier exposure takes no lag back, and of rewards that waited for their exposure a maximum counts the least lag. So unlike the
sums they may differ a little between a run and its replay, and an audit does not compare them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import msgspec

from allocator.delay import LAG_BINS
from streams.join.cells import CellName

__all__ = ["LAGS_PREFIX", "Lags"]

LAGS_PREFIX = b"\x00lags"

Rows = defaultdict[int, list[int]]
"""By place of the metric."""


class Lags:
    """The lags of one partition."""

    def __init__(self) -> None:
        self.of: list[Rows] = []
        """By cell; shared by the cells of one arm and period."""
        self._of_period: dict[tuple[str, int], dict[str, Rows]] = {}
        self._untrained = _rows()

    def add(self, cell: CellName) -> None:
        """The next cell, by number."""
        self.of.append(self._untrained if cell.holdback else self._rows(cell.experiment, cell.period, cell.arm))

    def _rows(self, experiment: str, period: int, arm: str) -> Rows:
        arms = self._of_period.setdefault((experiment, period), {})
        return arms.setdefault(arm, _rows())

    def of_period(self, experiment: str, period: int) -> dict[str, list[list[int]]]:
        """The wire form, by arm and metric; arms without any left out."""
        arms = self._of_period.get((experiment, period), {})
        return {arm: [rows.get(j, []) for j in range(max(rows) + 1)] for arm, rows in sorted(arms.items()) if rows}

    def drain(self, touched: Iterable[tuple[str, int]], keys: list[bytes], values: list[bytes | None]) -> None:
        """Append as changelog records what there is of these (experiment, period) pairs."""
        for experiment, period in touched:
            if lags := self.of_period(experiment, period):
                keys.append(LAGS_PREFIX + f"{period}|{experiment}".encode())
                values.append(msgspec.json.encode(lags))

    def restore(self, records: Iterator[tuple[bytes, bytes]]) -> None:
        """Take over what `drain` wrote."""
        for key, value in records:
            period, _, experiment = key[len(LAGS_PREFIX) :].decode().partition("|")
            for arm, found in msgspec.json.decode(value, type=dict[str, list[list[int]]]).items():
                rows = self._rows(experiment, int(period), arm)
                rows.update((j, row) for j, row in enumerate(found) if row)


def _rows() -> Rows:
    return defaultdict(lambda: [0] * LAG_BINS)
