"""The newest partial of every join partition and period, and their running sum. Pure.

Partials are cumulative: the newest replaces the one before, so a repeated or replayed partial changes nothing. A partition whose
state was lost and begun anew says so by a larger epoch: nothing it published under a smaller one counts from then on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import add, sub

import msgspec

from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.holdback import Cohorts
from allocator.moments import Moments
from allocator.versions import VersionTable
from streams.records import COUNTERS, Cell, Partial

__all__ = ["Totals"]

_CellKey = tuple[str, str, bool]
_Lags = dict[str, list[list[int]]]
"""By arm and metric."""


@dataclass(slots=True)
class _Sums:
    """Those of one phase."""

    cells: dict[_CellKey, list[int]] = field(default_factory=dict)
    periods: dict[int, dict[str, list[int]]] = field(default_factory=dict)
    """Training sums by period and arm."""
    held_back: dict[int, dict[str, list[int]]] = field(default_factory=dict)
    """Those of the holdback."""
    lags: dict[int, _Lags] = field(default_factory=dict)
    all_lags: _Lags = field(default_factory=dict)
    """Over all periods, so that a decision need not sum them up."""

    def change(self, operation: Callable[[int, int], int], partial: Partial) -> None:
        """Add or subtract what a partial says."""
        for cell in partial.cells:
            key = _name(cell)
            self.cells[key] = _changed(self.cells.get(key), operation, cell.sums)
            period = (self.held_back if cell.holdback else self.periods).setdefault(partial.period, {})
            period[cell.arm] = _changed(period.get(cell.arm), operation, cell.sums)
        for arm, found in partial.lags.items():
            for lags in (self.lags.setdefault(partial.period, {}), self.all_lags):
                rows = lags.setdefault(arm, [])
                rows += ([] for _ in range(len(found) - len(rows)))
                for j, row in enumerate(found):
                    if row:
                        rows[j] = _changed(rows[j] or None, operation, row)


class Totals:
    """Sums of one experiment over its partitions and periods, those of each phase apart."""

    def __init__(self) -> None:
        self.event_ts = 0.0
        """Newest event counted anywhere."""
        self._newest: dict[tuple[int, int, int], Partial] = {}
        """By partition, phase and period."""
        self._epochs: dict[int, int] = {}
        self._phases: defaultdict[int, _Sums] = defaultdict(_Sums)
        self._read_until: dict[int, float] = {}
        """By partition."""

    def replace(self, partial: Partial) -> bool:
        """Take over a partial; False if it is not newer than what is known, by epoch and then by number."""
        partition, at = partial.partition, (partial.partition, partial.phase, partial.period)
        epoch = self._epochs.setdefault(partition, partial.epoch)
        former = self._newest.get(at)
        if partial.epoch < epoch or (partial.epoch == epoch and former is not None and former.seq >= partial.seq):
            return False
        if partial.epoch > epoch:
            self._epochs[partition] = partial.epoch
            self._read_until.pop(partition, None)
            for known in [known for known in self._newest if known[0] == partition]:
                self._phases[known[1]].change(sub, self._newest.pop(known))
            former = None
        self._newest[at] = partial
        if partial.period == COUNTERS:
            self._read_until[partition] = partial.read_until
        self.event_ts = max(self.event_ts, partial.event_ts)
        sums = self._phases[partial.phase]
        if former is None:
            sums.change(add, partial)
        else:  # most cells of a partial are as they were
            gone, come = _apart(former, partial)
            sums.change(sub, gone)
            sums.change(add, come)
        return True

    def training(self, experiment: Experiment) -> Evidence:
        """What trains the allocation: sums by segment and by period, with the lags of rewards; held-back units left out.

        Rewards were read up to what the partition that is furthest says. One that lags has neither its newest exposures nor their
        rewards, so the others' ages are right for what it has; one without traffic must not hold the others back.
        """
        segments: dict[str, dict[str, list[int]]] = {}
        phase = self._phases[experiment.phase]
        for (segment, arm, holdback), sums in phase.cells.items():
            if not holdback:
                segments.setdefault(segment, {})[arm] = sums
        arms, read_until = experiment.arm_ids, max(self._read_until.values(), default=0.0)
        return Evidence(arms, len(experiment.columns), segments, phase.periods, phase.lags, phase.all_lags, read_until or None)

    def by_segment(self, experiment: Experiment) -> dict[str, dict[int, dict[str, Moments]]]:
        """What trains the allocation by segment, then period, then arm. Finer than `training`, so summed up when asked for."""
        found: dict[str, dict[int, dict[str, list[int]]]] = {}
        for (_, phase, period), partial in self._newest.items():
            for cell in partial.cells if phase == experiment.phase else ():
                if not cell.holdback:
                    arms = found.setdefault(cell.segment, {}).setdefault(period, {})
                    arms[cell.arm] = _changed(arms.get(cell.arm), add, cell.sums)
        metrics = len(experiment.columns)
        return {
            segment: {
                period: {arm: Moments(metrics, tuple(sums)) for arm, sums in arms.items()} for period, arms in periods.items()
            }
            for segment, periods in found.items()
        }

    def held_back(self, experiment: Experiment) -> Moments:
        """Moments of the holdback, kept apart from training."""
        cells = self._phases[experiment.phase].cells
        return Moments.total(len(experiment.columns), [sums for (_, _, holdback), sums in cells.items() if holdback])

    def cohorts(self, experiment: Experiment) -> Cohorts:
        """Units by period of their exposure, parted by what the holdback decides; of arms that were removed too."""

        def by_period(found: dict[int, dict[str, list[int]]]) -> dict[int, Moments]:
            return {period: Moments.total(len(experiment.columns), arms.values()) for period, arms in sorted(found.items())}

        phase = self._phases[experiment.phase]
        return Cohorts(by_period(phase.periods), by_period(phase.held_back))

    def counters(self) -> dict[str, int]:
        """Events by outcome over all partitions."""
        total: Counter[str] = Counter()
        for (_, _, period), partial in self._newest.items():
            if period == COUNTERS:
                total.update(partial.counters)
        return dict(sorted(total.items()))

    def versions(self) -> VersionTable:
        """Units by weights version over all partitions."""
        table = VersionTable()
        for (_, _, period), partial in self._newest.items():
            if period == COUNTERS:
                table.add(partial.versions, partial.older_versions)
        return table

    def inputs(self) -> dict[str, int]:
        """The newest sequence number of every partition that contributed, of its newest epoch."""
        newest: dict[int, int] = {}
        for (partition, _, _), partial in self._newest.items():
            newest[partition] = max(partial.seq, newest.get(partition, 0))
        return {str(partition): seq for partition, seq in sorted(newest.items())}


def _apart(former: Partial, partial: Partial) -> tuple[Partial, Partial]:
    """Both without the cells and lags in which they agree."""
    known = {_name(cell): cell.sums for cell in former.cells}
    same = {_name(cell) for cell in partial.cells if known.get(_name(cell)) == cell.sums}
    gone, come = (
        msgspec.structs.replace(
            one,
            cells=[cell for cell in one.cells if _name(cell) not in same],
            lags={arm: rows for arm, rows in one.lags.items() if rows != other.lags.get(arm)},
        )
        for one, other in ((former, partial), (partial, former))
    )
    return gone, come


def _name(cell: Cell) -> _CellKey:
    return cell.segment, cell.arm, cell.holdback


def _changed(known: Sequence[int] | None, operation: Callable[[int, int], int], sums: Sequence[int]) -> list[int]:
    return list(sums) if known is None else list(map(operation, known, sums))
