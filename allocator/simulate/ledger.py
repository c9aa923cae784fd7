"""What the join would have counted by now: cells of exact sums by arm and period, and rewards that are still on their way.

A unit counts from its exposure, with value 0, and its reward when it arrives; a reward of 0 never does. That is what the join
does with real events, so policies see pending units here as they do there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from allocator.evidence import Evidence
from allocator.moments import layout_of

__all__ = ["Ledger"]

Cell = tuple[int, int]
"""(period, arm)"""


class Ledger:
    """Training sums of one run.

    Parameters
    ----------
    arms : names, in the spec's order.
    metrics : number of metrics.
    """

    def __init__(self, arms: Sequence[str], metrics: int) -> None:
        self._arms, self._metrics = tuple(arms), metrics
        self._layout = layout_of(metrics)
        self._total: dict[str, list[int]] = {}
        self._periods: dict[int, dict[str, list[int]]] = {}
        self._due: dict[int, dict[Cell, list[int]]] = defaultdict(dict)

    def add(self, period: int, arm: int, sums: Sequence[int]) -> None:
        """Count these sums, laid out as in `allocator.moments`, now."""
        name = self._arms[arm]
        of_period = self._periods.get(period)
        if of_period is None:
            of_period = self._periods[period] = {}
        for cells in (self._total, of_period):
            cell = cells.get(name)
            cells[name] = list(sums) if cell is None else [a + b for a, b in zip(cell, sums, strict=True)]

    def add_later(self, decision: int, period: int, arm: int, sums: Sequence[int]) -> None:
        """Count these sums when `decision` comes."""
        due = self._due[decision]
        cell = due.get((period, arm))
        due[period, arm] = list(sums) if cell is None else [a + b for a, b in zip(cell, sums, strict=True)]

    def arrive(self, decision: int) -> None:
        """Count what is due at this decision."""
        for (period, arm), sums in self._due.pop(decision, {}).items():
            self.add(period, arm, sums)

    def forget(self, arm: int) -> None:
        """The arm was replaced: its name starts without units, and rewards on their way to it are lost."""
        name = self._arms[arm]
        for cells in (self._total, *self._periods.values()):
            cells.pop(name, None)
        for due in self._due.values():
            for cell in [cell for cell in due if cell[1] == arm]:
                del due[cell]

    def evidence(self) -> Evidence:
        """As of now; it changes with the next `add`."""
        return Evidence(self._arms, self._metrics, {"": self._total}, self._periods)
