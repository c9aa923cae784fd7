"""What exposures that are alike have in common, looked up once for all of them, and how many of them there were in a chunk."""

from __future__ import annotations

from dataclasses import dataclass

from streams.join.plan import Plan
from streams.join.versions import Tally
from streams.records import Exposure

__all__ = ["Slot", "Slots"]

SLOTS_MAX = 100_000


@dataclass(slots=True)
class Slot:
    """Exposures of one cell with one propensity, served by one version of the weights."""

    cell: int
    weight: int
    metrics: int
    covariates: bool
    """Whether a unit enters with more than zeros."""
    horizon_s: float
    keep_s: float
    since: float
    until: float
    """Between which the `ts` of each of them is: those of one period in one phase."""
    tally: Tally | None
    """Where they are counted by version; None if they are not."""
    newest_ts: float = 0.0
    """Latest `ts` of those that entered."""
    entered: int = 0
    """Units that entered the cell and are not in its sums yet."""

    @classmethod
    def of(cls, plan: Plan, cell: int, weight: int, period: int, tally: Tally | None) -> Slot:
        """Of an experiment's exposures in one period."""
        covariates = plan.covariates is not None
        since, until = max(plan.since, period * plan.period_s), min(plan.until, (period + 1) * plan.period_s)
        return cls(cell, weight, plan.layout.metrics, covariates, plan.horizon_s, plan.keep_s, since, until, tally)


class Slots:
    """The slots met under the current specs."""

    def __init__(self) -> None:
        self.met: dict[tuple[str, str | None, str, bool, float, int], Slot] = {}
        """By experiment, segment, arm, holdback, propensity and version as exposures say them: the slot of the newest period."""
        self.filled: list[Slot] = []
        """Those that units entered."""

    def add(self, x: Exposure, slot: Slot) -> Slot:
        """Keep the slot of exposures like this one."""
        self.met[x.experiment, x.segment, x.arm, x.holdback, x.propensity, x.weights_version] = slot
        return slot

    def enter(self, slot: Slot, ts: float) -> None:
        """One more unit. (The hot loop does the same in place.)"""
        if not slot.entered:
            self.filled.append(slot)
        slot.entered += 1
        slot.newest_ts = max(slot.newest_ts, ts)

    def drain(self) -> list[tuple[Slot, int]]:
        """Every filled slot with how many entered, handed over."""
        drained = [(slot, slot.entered) for slot in self.filled]
        for slot in self.filled:
            slot.entered = 0
        self.filled.clear()
        if len(self.met) > SLOTS_MAX:
            self.met.clear()
        return drained
