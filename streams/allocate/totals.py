"""The newest partial of every join partition and period, and their running sum. Pure.

Partials are cumulative: the newest replaces the one before, so a repeated or replayed partial changes nothing. A partition whose
state was lost and begun anew says so by a larger epoch: nothing it published under a smaller one counts from then on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from operator import add, neg, sub

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

    def add(self, period: int, cells: dict[_CellKey, list[int]], lags: _Lags) -> None:
        """Add what a period has more."""
        for key, more in cells.items():
            _, arm, holdback = key
            self.cells[key] = _added(self.cells.get(key), more)
            arms = (self.held_back if holdback else self.periods).setdefault(period, {})
            arms[arm] = _added(arms.get(arm), more)
        for arm, found in lags.items():
            for known in (self.lags.setdefault(period, {}), self.all_lags):
                rows = known.setdefault(arm, [])
                rows += ([] for _ in range(len(found) - len(rows)))
                for j, row in enumerate(found):
                    if row:
                        rows[j] = _added(rows[j] or None, row)


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
                self._phases[known[1]].add(known[2], *_difference(self._newest.pop(known), None))
            former = None
        self._newest[at] = partial
        if partial.period == COUNTERS:
            self._read_until[partition] = partial.read_until
        self.event_ts = max(self.event_ts, partial.event_ts)
        self._phases[partial.phase].add(partial.period, *_difference(former, partial))
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
                    arms[cell.arm] = _added(arms.get(cell.arm), cell.sums)
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


def _difference(before: Partial | None, after: Partial | None) -> tuple[dict[_CellKey, list[int]], _Lags]:
    """What to add for `after` to stand in the place of `before`: cells and lags in which they agree, which most are, left out."""
    was, now = (({_name(cell): cell.sums for cell in partial.cells} if partial else {}) for partial in (before, after))
    cells = {name: _less(now.get(name), was.get(name)) for name in {**was, **now} if now.get(name) != was.get(name)}
    old, new = ((partial.lags if partial else {}) for partial in (before, after))
    lags = {
        arm: [_less(x, y) for x, y in zip_longest(new.get(arm, ()), old.get(arm, ()), fillvalue=())]
        for arm in {**old, **new}
        if new.get(arm) != old.get(arm)
    }
    return cells, lags


def _name(cell: Cell) -> _CellKey:
    return cell.segment, cell.arm, cell.holdback


def _less(these: Sequence[int] | None, those: Sequence[int] | None) -> list[int]:
    """The first without the second; none is as good as zeros."""
    return list(map(sub, these, those)) if these and those else list(these or map(neg, those or ()))


def _added(known: Sequence[int] | None, more: Sequence[int]) -> list[int]:
    return list(more) if known is None else list(map(add, known, more))
