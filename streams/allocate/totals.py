"""The newest cells and counters of every join partition, and their running sums. Pure.

Partials are cumulative: the newest replaces the one before, so a repeated or replayed partial changes nothing. A partition whose
state was lost and begun anew says so by a larger epoch: nothing it published under a smaller one counts from then on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from operator import add, neg, sub
from typing import NamedTuple

from allocator.delay import LAG_BINS
from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.holdback import Cohorts
from allocator.moments import Moments
from allocator.versions import VersionTable
from streams.records import COUNTERS, Cell, Partial

__all__ = ["Totals"]

_Lags = dict[str, list[list[int]]]
"""By arm and metric, of every bin."""
_Counts = list[dict[int, int]]
"""By metric, of the bins that have any."""


class _Place(NamedTuple):
    """Of a cell in its experiment."""

    phase: int
    period: int
    segment: str
    arm: str
    holdback: bool


class _Known(NamedTuple):
    """The newest that a partition says of a cell."""

    seq: int
    sums: list[int]
    lags: _Counts


_NOTHING = _Known(0, [], [])


@dataclass(slots=True)
class _Sums:
    """Those of one phase."""

    cells: dict[tuple[str, str, bool], list[int]] = field(default_factory=dict)
    """By segment, arm and holdback."""
    periods: dict[int, dict[str, list[int]]] = field(default_factory=dict)
    """Training sums by period and arm."""
    held_back: dict[int, dict[str, list[int]]] = field(default_factory=dict)
    """Those of the holdback."""
    lags: dict[int, _Lags] = field(default_factory=dict)
    all_lags: _Lags = field(default_factory=dict)
    """Over all periods, so that a decision need not sum them up."""

    def move(self, at: _Place, was: _Known, now: _Known) -> None:
        """Put what a partition says of a cell now in the place of what it said before."""
        if was.sums != now.sums:
            more, key = _less(now.sums, was.sums), (at.segment, at.arm, at.holdback)
            self.cells[key] = _added(self.cells.get(key), more)
            arms = (self.held_back if at.holdback else self.periods).setdefault(at.period, {})
            arms[at.arm] = _added(arms.get(at.arm), more)
        if was.lags != now.lags:
            self._move_lags(at, was.lags, now.lags)

    def _move_lags(self, at: _Place, was: _Counts, now: _Counts) -> None:
        nothing: dict[int, int] = {}
        of_all, of_period = (known.setdefault(at.arm, []) for known in (self.all_lags, self.lags.setdefault(at.period, {})))
        for j, (row, before) in enumerate(zip_longest(now, was, fillvalue=nothing)):
            for rows in (of_all, of_period):
                if j == len(rows):
                    rows.append([])
                if row and not rows[j]:
                    rows[j] = [0] * LAG_BINS
            if row != before:
                for i in before | row:
                    more = row.get(i, 0) - before.get(i, 0)
                    of_all[j][i] += more
                    of_period[j][i] += more


class Totals:
    """Sums of one experiment over its partitions and periods, those of each phase apart."""

    def __init__(self) -> None:
        self.event_ts = 0.0
        """Newest event counted anywhere."""
        self._phases: defaultdict[int, _Sums] = defaultdict(_Sums)
        # What every partition says.
        self._epochs: dict[int, int] = {}
        self._seqs: dict[int, int] = {}
        self._counters: dict[int, Partial] = {}
        self._cells: defaultdict[int, dict[_Place, _Known]] = defaultdict(dict)

    def replace(self, partial: Partial) -> bool:
        """Take over a partial; False if it is not newer than what is known, by epoch and then by number."""
        partition, epoch = partial.partition, self._epochs.setdefault(partial.partition, partial.epoch)
        if partial.epoch > epoch:
            self._forget(partition)
            self._epochs[partition] = partial.epoch
        if partial.epoch < epoch or not (self._count(partial) if partial.cell is None else self._put(partial, partial.cell)):
            return False
        self._seqs[partition] = max(partial.seq, self._seqs.get(partition, 0))
        self.event_ts = max(self.event_ts, partial.event_ts)
        return True

    def _forget(self, partition: int) -> None:
        for at, known in self._cells.pop(partition, {}).items():
            self._phases[at.phase].move(at, known, _NOTHING)
        self._counters.pop(partition, None)
        self._seqs.pop(partition, None)

    def _count(self, partial: Partial) -> bool:
        former = self._counters.get(partial.partition)
        if partial.period != COUNTERS or (former is not None and former.seq >= partial.seq):
            return False
        self._counters[partial.partition] = partial
        return True

    def _put(self, partial: Partial, cell: Cell) -> bool:
        at = _Place(partial.phase, partial.period, cell.segment, cell.arm, cell.holdback)
        cells = self._cells[partial.partition]
        former = cells.get(at, _NOTHING)
        if former.seq >= partial.seq:
            return False
        newest = cells[at] = _Known(partial.seq, cell.sums, cell.lags)
        self._phases[at.phase].move(at, former, newest)
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
        arms, read_until = experiment.arm_ids, max((partial.read_until for partial in self._counters.values()), default=0.0)
        return Evidence(arms, len(experiment.columns), segments, phase.periods, phase.lags, phase.all_lags, read_until or None)

    def by_segment(self, experiment: Experiment) -> dict[str, dict[int, dict[str, Moments]]]:
        """What trains the allocation by segment, then period, then arm. Finer than `training`, so summed up when asked for."""
        found: dict[str, dict[int, dict[str, list[int]]]] = {}
        for at, known in chain.from_iterable(cells.items() for cells in self._cells.values()):
            if at.phase == experiment.phase and not at.holdback:
                arms = found.setdefault(at.segment, {}).setdefault(at.period, {})
                arms[at.arm] = _added(arms.get(at.arm), known.sums)
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
        for partial in self._counters.values():
            total.update(partial.counters)
        return dict(sorted(total.items()))

    def versions(self) -> VersionTable:
        """Units by weights version over all partitions."""
        table = VersionTable()
        for partial in self._counters.values():
            table.add(partial.versions, partial.older_versions)
        return table

    def inputs(self) -> dict[str, int]:
        """The newest sequence number of every partition that contributed, of its newest epoch."""
        return {str(partition): seq for partition, seq in sorted(self._seqs.items())}


def _less(these: Sequence[int] | None, those: Sequence[int] | None) -> list[int]:
    """The first without the second; none is as good as zeros."""
    return list(map(sub, these, those)) if these and those else list(these or map(neg, those or ()))


def _added(known: Sequence[int] | None, more: Sequence[int]) -> list[int]:
    return list(more) if known is None else list(map(add, known, more))
