"""What the join would have counted by now: exact sums by segment, arm and period, and rewards that are still on their way.

A unit counts from its exposure, with value 0, and its reward when it arrives; a reward of 0 never does. That is what the join
does with real events, so policies see pending units here as they do there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from allocator.evidence import Evidence

__all__ = ["Cell", "Ledger"]


class Cell(NamedTuple):
    """Where a unit counts: its segment by name, its arm by place, and the period of its exposure."""

    segment: str
    arm: int
    period: int


class Ledger:
    """Training sums of one run.

    Parameters
    ----------
    arms : names, in the spec's order.
    metrics : number of metrics.
    """

    def __init__(self, arms: Sequence[str], metrics: int) -> None:
        self._arms, self._metrics = tuple(arms), metrics
        self._segments: dict[str, dict[str, list[int]]] = defaultdict(dict)
        self._periods: dict[int, dict[str, list[int]]] = defaultdict(dict)
        self._due: dict[int, dict[Cell, list[int]]] = defaultdict(dict)

    def add(self, cell: Cell, sums: Sequence[int]) -> None:
        """Count these sums, laid out as in `allocator.moments`, now."""
        name = self._arms[cell.arm]
        for cells in (self._segments[cell.segment], self._periods[cell.period]):
            old = cells.get(name)
            cells[name] = list(sums) if old is None else [a + b for a, b in zip(old, sums, strict=True)]

    def add_later(self, decision: int, cell: Cell, sums: Sequence[int]) -> None:
        """Count these sums when `decision` comes."""
        due = self._due[decision]
        old = due.get(cell)
        due[cell] = list(sums) if old is None else [a + b for a, b in zip(old, sums, strict=True)]

    def arrive(self, decision: int) -> None:
        """Count what is due at this decision."""
        for cell, sums in self._due.pop(decision, {}).items():
            self.add(cell, sums)

    def forget(self, arm: int) -> None:
        """The arm was replaced: its name starts without units, and rewards on their way to it are lost."""
        name = self._arms[arm]
        for cells in (*self._segments.values(), *self._periods.values()):
            cells.pop(name, None)
        for due in self._due.values():
            for cell in [cell for cell in due if cell.arm == arm]:
                del due[cell]

    def evidence(self) -> Evidence:
        """As of now; it changes with the next `add`."""
        return Evidence(self._arms, self._metrics, self._segments, self._periods)
