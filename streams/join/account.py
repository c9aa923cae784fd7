"""The sums and counters of one partition, and how a unit's record moves them when what it says changes. Pure.

The hot loops of `streams.join.fold` add first events in place. Everything else goes through here: `revise` and `put_reward`
change a record and remember it, `settle` brings sums and counters to what it now says, once however often it changed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from typing import Any

import msgspec

from allocator.moments import layout_of
from allocator.phases import name_of
from streams.join.cells import CELL_PREFIX, CellName, Cells
from streams.join.kinds import KIND_PREFIX, Kind, Kinds
from streams.join.lags import LAGS_PREFIX, Lags
from streams.join.outcomes import OUTCOMES, Outcome
from streams.join.plan import MetricPlan, Plan
from streams.join.slots import Slot
from streams.join.units import (
    CELL,
    ENTRIES,
    KIND,
    REWARDS,
    TS,
    VALUE,
    Attributed,
    Entry,
    Record,
    W,
    Y,
    attributed,
    forget,
    is_spent,
    outcome_of,
    values_of,
)
from streams.join.units import Reward as StoredReward
from streams.join.versions import VERSIONS_PREFIX, Versions
from streams.records import COUNTERS, Exposure

__all__ = ["COUNTS_PREFIX", "Account"]

COUNTS_PREFIX = b"\x00counts"

Tally = Counter[tuple[str, Outcome]]


class Account:
    """Cells, kinds and counters."""

    def __init__(self) -> None:
        self.cells, self.kinds, self.lags, self.versions = Cells(), Kinds(), Lags(), Versions()
        self.plans: Mapping[str, Plan] = {}
        self.counts: dict[str, list[int]] = {}
        """Events by outcome, by the experiment they name; "" for events that name none or one that is not known."""
        self.experiment_of: list[str] = []
        """Of each cell, as the `phase_key` of its phase."""
        self._counted: dict[str, list[int]] = {}
        self._unsettled: dict[bytes, tuple[Record, Tally | None, set[str]]] = {}
        """Changed records by unit, outcomes before if entries changed, and the ids of rewards that are new."""

    def set_plans(self, plans: Mapping[str, Plan]) -> None:
        """Take over the current specs."""
        self.plans = plans
        self.kinds.refresh(plans.values())

    def restore(self, scan: Callable[[bytes], Iterator[tuple[bytes, bytes]]]) -> None:
        """Take over what `drain` wrote before."""
        self.cells.restore(scan(CELL_PREFIX))
        for name in self.cells.names:
            self.experiment_of.append(name.experiment)
            self.lags.add(name)
        self.lags.restore(scan(LAGS_PREFIX))
        self.versions.restore(scan(VERSIONS_PREFIX))
        self.kinds.restore(scan(KIND_PREFIX))
        self.kinds.refresh(self.plans.values())
        for key, value in scan(COUNTS_PREFIX):
            counts = msgspec.json.decode(value, type=list[int])
            self.counts[key[len(COUNTS_PREFIX) :].decode()] = counts + [0] * (OUTCOMES - len(counts))  # newer ones come last

    def drain(self, keys: list[bytes], values: list[bytes | None]) -> set[tuple[str, int]]:
        """Append what changed as changelog records; returns the (experiment, cell) pairs whose partials changed.

        An experiment's counters stand under `COUNTERS` in the place of a cell.
        """
        cells = self.cells.drain(keys, values)
        self.lags.drain(cells, keys, values)
        touched = {(self.experiment_of[cell], cell) for cell in cells}
        self.kinds.drain(keys, values)
        self.versions.drain(keys, values)
        for experiment, counts in self._counted.items():
            keys.append(COUNTS_PREFIX + experiment.encode())
            values.append(msgspec.json.encode(counts))
            if experiment:
                touched.add((experiment, COUNTERS))
        self._counted.clear()
        return touched

    def counts_of(self, experiment: str) -> list[int]:
        """The experiment's counters, about to change."""
        counts = self.counts.get(experiment)
        if counts is None:
            counts = self.counts[experiment] = [0] * OUTCOMES
        self._counted[experiment] = counts
        return counts

    def heat(self, cell: int) -> list[int]:
        """The cell's sums, about to change."""
        sums = self.cells.hot[cell] = self.cells.sums[cell]
        return sums

    def cell(self, plan: Plan, name: CellName) -> int:
        """The cell's number."""
        cell = self.cells.intern(name, plan.layout.metrics)
        if cell == len(self.experiment_of):
            self.experiment_of.append(plan.key)
            self.lags.add(name)
            self.heat(cell)
        return cell

    def wanted(self, kind: Kind, cell: int) -> MetricPlan | None:
        """What the cell's experiment does with rewards of the kind."""
        wanted = kind.wanted_by.get(self.experiment_of[cell])
        if wanted is not None:
            kind.in_cell[cell] = wanted
        return wanted

    def put_reward(self, key: bytes, record: Record, reward_id: str, reward: StoredReward) -> None:
        """A further or a corrected reward. What becomes of the unit's others does not depend on it."""
        former = record[REWARDS].get(reward_id)
        record[REWARDS][reward_id] = reward
        for n, stored in ((1, reward), (-1, former)) if former else ((1, reward),):
            kind = self.kinds.all[stored[KIND]]
            self.counts_of(kind.experiment)[outcome_of(record[ENTRIES], self.experiment_of, kind, stored)] += n
        known = self._unsettled.get(key)
        new = set() if known is None else known[2]
        if not former or not former[VALUE]:
            new.add(reward_id)
        self._unsettled[key] = record, None, new

    def revise(self, key: bytes, record: Record, change: Callable[[], Any]) -> None:
        """Change the record's entries, and with them what becomes of its rewards."""
        if key not in self._unsettled:
            self._unsettled[key] = record, self._outcomes(record), set()
        change()

    def settle(self) -> None:
        """Bring counters and sums to what the events of the records that were changed now amount to."""
        for record, before, new in self._unsettled.values():
            self._settle(record, before, new)
        self._unsettled.clear()

    def leave(self, entry: Entry) -> None:
        """Take the unit out of its cell for good."""
        layout = self.plans[self.experiment_of[entry[CELL]]].layout
        self._move(entry, [0] * layout.metrics)
        layout.enter(self.heat(entry[CELL]), entry[W], -1)
        entry[Y] = None

    def replace(self, entry: Entry, cell: int, x: Exposure, weight: int) -> None:
        """An earlier exposure to the same arm takes the entry's place."""
        layout = self.plans[self.experiment_of[cell]].layout
        self.leave(entry)
        entry[:] = [cell, x.ts, x.exposure_id, weight, [0] * layout.metrics]
        layout.enter(self.heat(cell), weight)
        self.fill(entry, x)

    def fill(self, entry: Entry, x: Exposure) -> None:
        """Give the unit the exposure's covariates."""
        plan = self.plans[self.experiment_of[entry[CELL]]]
        if plan.covariates is not None:
            for j, steps in enumerate(plan.covariates.steps(x.covariates), plan.covariates.first):
                plan.layout.change(self.heat(entry[CELL]), entry[W], entry[Y], j, steps)

    def has_less(self, entry: Entry, x: Exposure) -> bool:
        """Whether an exposure that is the entry's in all but its covariates comes before it by them."""
        covariates = self.plans[self.experiment_of[entry[CELL]]].covariates
        if covariates is None or entry[Y] is None:
            return False
        return covariates.steps(x.covariates) < entry[Y][covariates.first :]

    def give_up(self, record: Record) -> None:
        """No exposure came for the rewards that still wait in a record that is going."""
        self._give_up(self._outcomes(record))

    def forget(self, key: bytes, record: Record, watermark: float) -> bool:
        """Take out of a record what no event can concern any more; whether there was anything."""
        given = record, watermark, self.experiment_of, self.kinds.all, self.plans
        if not is_spent(*given):
            return False
        if key in self._unsettled:
            self._settle(*self._unsettled.pop(key))
        before = self._outcomes(record)
        forget(*given)
        self._give_up(before - self._outcomes(record))
        return True

    def count_tallied(self, filled: Iterable[tuple[Slot, int]]) -> None:
        """Bring sums and counters to what the hot loops have only tallied, given the slots with how many units entered."""
        for slot, units in filled:
            experiment = name_of(self.experiment_of[slot.cell])
            layout_of(slot.metrics).enter(self.heat(slot.cell), slot.weight, units)
            self.counts_of(experiment)[Outcome.EXPOSURE_APPLIED] += units
            if slot.tally is not None:
                self.versions.count(slot.tally, units, slot.weight, slot.newest_ts)
        for experiment, rewards in self.kinds.take_applied():
            self.counts_of(experiment)[Outcome.REWARD_APPLIED] += rewards

    def _settle(self, record: Record, before: Tally | None, new: Set[str]) -> None:
        self._bring(record, new)
        if before is not None:
            after = self._outcomes(record)
            for experiment, outcome in before.keys() | after.keys():
                self.counts_of(experiment)[outcome] += after[experiment, outcome] - before[experiment, outcome]

    def _give_up(self, tally: Tally) -> None:
        for (experiment, outcome), n in tally.items():
            if outcome is Outcome.REWARD_WAITING:
                counts = self.counts_of(experiment)
                counts[Outcome.REWARD_WAITING] -= n
                counts[Outcome.REWARD_UNMATCHED] += n

    def _outcomes(self, record: Record) -> Tally:
        entries, kinds = record[ENTRIES], self.kinds.all
        return Counter(
            (kinds[reward[KIND]].experiment, outcome_of(entries, self.experiment_of, kinds[reward[KIND]], reward))
            for reward in record[REWARDS].values()
        )

    def _bring(self, record: Record, new: Set[str]) -> None:
        """Bring every entry's metric vector, and with it the sums, to what the record says."""
        later: dict[str, list[Entry]] = {}
        for entry in reversed(record[ENTRIES]):
            experiment = self.experiment_of[entry[CELL]]
            plan = self.plans.get(experiment)
            if plan is None:
                continue
            lives = later.setdefault(experiment, [])
            if entry[Y] is not None:
                rewards = attributed(entry, lives, experiment, self.kinds.all, record[REWARDS])
                wanted = values_of(rewards, plan.layout.metrics)
                if plan.covariates is not None:
                    wanted[plan.covariates.first :] = entry[Y][plan.covariates.first :]
                self._count_lags(entry, wanted, rewards, new)
                self._move(entry, wanted)
            lives.append(entry)

    def _count_lags(self, entry: Entry, wanted: list[int], rewards: Attributed, new: Set[str]) -> None:
        """What the hot loop counts reward by reward: of a metric that was 0 so far, all that make it; of others, the new ones."""
        for j, (metric, seen) in rewards.items():
            was = entry[Y][j]
            stays = wanted[j] == was and (metric.cap is None or not was)  # at its cap, rewards still come
            if not metric.lagged or stays or (was and metric.aggregate != "sum"):
                continue
            times = [ts for ts, id_, steps in seen if steps and (not was or id_ in new)]
            self.heat(entry[CELL])
            for ts in times if metric.aggregate == "sum" else [min(times)]:
                self.lags.of[entry[CELL]][j][bisect_left(metric.lag_bounds, ts - entry[TS])] += 1

    def _move(self, entry: Entry, wanted: list[int]) -> None:
        layout = self.plans[self.experiment_of[entry[CELL]]].layout
        for j, new in enumerate(wanted):
            if new != entry[Y][j]:
                layout.change(self.heat(entry[CELL]), entry[W], entry[Y], j, new)
