"""Fold a chunk of events of one partition into unit records, cells and counters. Pure: bytes in, bytes out.

The frequent cases (a new unit, a first reward for an exposed unit) are inlined in `exposures` and `rewards`; everything else
goes through `_revise`, which takes the record's outcomes before and after a change and derives the sums anew. A chunk is

    fold.begin(stored)          # what the store holds for the chunk's keys
    fold.exposures(batch) …     # all of the chunk's exposures, then
    fold.rewards(batch) …       # all of its rewards
    keys, values = fold.end()   # every changed record, to be committed
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import msgspec

from allocator.experiment import Experiment
from allocator.moments import inverse_propensity, layout_of
from streams.join.cells import CELL_PREFIX, CellName, Cells
from streams.join.decode import DeadLetter, Events
from streams.join.kinds import KIND_PREFIX, Kind, Kinds
from streams.join.outcomes import OUTCOMES, Outcome
from streams.join.plan import MetricPlan, Plan
from streams.join.slots import Slot, Slots
from streams.join.units import (
    CELL,
    DEADLINE,
    ENTRIES,
    EXPOSURE_ID,
    REWARDS,
    TS,
    Entry,
    Record,
    W,
    Y,
    outcome_of,
    pack,
    unpack,
    values_of,
)
from streams.records import COUNTERS, Exposure, Reward
from streams.state.store import escape, escape_all

__all__ = ["REWARDS_MAX", "WAITING_MAX", "Fold"]

COUNTS_PREFIX = b"\x00counts"
MARKS_KEY = b"\x00marks"

REWARDS_MAX = 1024
"""Rewards one unit may have. More are dead-lettered: its record must fit a Kafka record however long its ids are."""
WAITING_MAX = 64
"""Rewards that may wait for a unit's first exposure."""

APPLIED_X, REPEATED_X, DUPLICATE_X = Outcome.EXPOSURE_APPLIED, Outcome.EXPOSURE_REPEATED, Outcome.EXPOSURE_DUPLICATE
CROSSOVER_X, DEAD_X = Outcome.EXPOSURE_CROSSOVER, Outcome.EXPOSURE_DEAD
APPLIED_R, DUPLICATE_R, DEAD_R = Outcome.REWARD_APPLIED, Outcome.REWARD_DUPLICATE, Outcome.REWARD_DEAD
LATE_X, LATE_R, WAITING_R = Outcome.EXPOSURE_LATE, Outcome.REWARD_LATE, Outcome.REWARD_WAITING


class Fold:
    """The state of one join partition in memory, except the unit records, which stay in the store."""

    def __init__(self) -> None:
        self.cells = Cells()
        self.plans: dict[str, Plan] = {}
        self.counts: dict[str, list[int]] = {}
        """Events by outcome, by the experiment they name; "" for events that name none or one that is not known."""
        self.exposures_mark = self.rewards_mark = 0.0
        """Event time reached in each topic. An event whose horizon ended before its topic's mark is late."""
        self.dead_exposures: list[DeadLetter] = []
        self.dead_rewards: list[DeadLetter] = []
        self._experiment_of: list[str] = []
        self._kinds = Kinds()
        self._slots = Slots()
        self._counted: dict[str, list[int]] = {}
        self._stored: Mapping[bytes, bytes | None] = {}
        self._changed: dict[bytes, Record] = {}
        self._evicted: set[bytes] = set()

    # -- specs -----------------------------------------------------------------------------------------------

    def set_experiments(self, experiments: Mapping[str, Experiment]) -> None:
        """Take over the current specs."""
        self.plans = {name: Plan.of(experiment) for name, experiment in experiments.items()}
        self._kinds.refresh(self.plans.values())
        self._slots = Slots()

    # -- a chunk ---------------------------------------------------------------------------------------------

    @property
    def watermark(self) -> float:
        """Event time that both topics have reached."""
        return min(self.exposures_mark, self.rewards_mark)

    def evict(self, stored: Iterable[tuple[bytes, bytes]]) -> None:
        """Forget units whose deadline has passed, given as stored; their moments stay. Before `begin`."""
        for key, value in stored:
            self._evicted.add(key)
            self._give_up(unpack(value))

    def begin(self, stored: Mapping[bytes, bytes | None]) -> None:
        """Start a chunk whose units' stored records are these (None: a new unit)."""
        self._stored = stored

    def exposures(self, batch: Events[Exposure]) -> None:
        """Fold exposures in log order."""
        slots, changed, stored, mark = self._slots.met, self._changed, self._stored, self.exposures_mark
        filled = self._slots.filled
        for i, (key, x) in enumerate(zip(batch.keys, batch.events, strict=True)):
            ts = x.ts
            slot = slots.get((x.experiment, x.segment, x.arm, x.holdback, x.propensity))
            if slot is None or ts // slot.period_s != slot.period:
                slot = self._slot(batch, i)
                if slot is None:
                    continue
            until = ts + slot.horizon_s
            if until < mark:
                self._counts(x.experiment)[LATE_X] += 1
                continue
            record = changed.get(key)
            if record is None:
                if stored[key] is not None:
                    record = self._load(key, mark)
                else:
                    changed[key] = [until, [[slot.cell, ts, x.exposure_id, slot.weight, [0] * slot.metrics]], {}]
                    if not slot.entered:
                        filled.append(slot)
                    slot.entered += 1
                    continue
            self._expose(key, record, slot, x, until)
        self.exposures_mark = max(mark, batch.mark)
        self._count_dead(batch.dead, self.dead_exposures, DEAD_X)

    def rewards(self, batch: Events[Reward]) -> None:
        """Fold rewards in log order."""
        kind_of, changed, stored, mark = self._kinds.wanted, self._changed, self._stored, self.rewards_mark
        hot, filled = self.cells.hot, self._kinds.filled
        for i, (key, r) in enumerate(zip(batch.keys, batch.events, strict=True)):
            kind = kind_of.get((r.metric, r.experiment)) or self._kind(batch, i)
            if kind is None:
                continue
            value, ts = r.value, r.ts
            if value and (not kind.least <= value <= kind.most or (kind.whole and value % 1)):
                self._refuse_reward(batch, i, kind.experiment, f"value: {value!r}: expected {kind.domain()}")
                continue
            until = ts + kind.horizon_s
            if until < mark:
                self._counts(kind.experiment)[LATE_R] += 1
                continue
            record = changed.get(key)
            if record is None:
                record = [0.0, [], {}] if stored[key] is None else self._load(key, mark)
            deadline, entries, rewards = record
            if r.reward_id in rewards:
                self._reward_again(key, record, kind.number, r)
                continue
            if len(rewards) >= WAITING_MAX and (not entries or len(rewards) >= REWARDS_MAX):
                self._refuse_reward(batch, i, kind.experiment, f"unit: {r.unit!r}: has {len(rewards)} rewards already")
                continue
            changed[key] = record
            if until > deadline:
                record[DEADLINE] = until
            if len(entries) == 1:
                cell, exposed, _, weight, y = entries[0]
                wanted = kind.in_cell.get(cell) or self._wanted(kind, cell)
                if (
                    wanted is not None
                    and wanted.incremental
                    and y is not None
                    and exposed - wanted.clock_skew_s <= ts <= exposed + wanted.window_s
                    and (kind.sole or wanted.accepts(value))
                ):
                    rewards[r.reward_id] = (kind.number, ts, value)
                    if not kind.applied:
                        filled.append(kind)
                    kind.applied += 1
                    if value:  # 0 changes neither a sum nor the maximum of zeros and ones
                        j, steps = wanted.index, wanted.quantise(value)
                        new = y[j] + steps if wanted.aggregate == "sum" else max(y[j], steps)
                        wanted.layout.change(hot.get(cell) or self._heat(cell), weight, y, j, new)
                    continue
            self._revise(record, partial(rewards.__setitem__, r.reward_id, (kind.number, ts, value)))
        self.rewards_mark = max(mark, batch.mark)
        self._count_dead(batch.dead, self.dead_rewards, DEAD_R)

    def end(self) -> tuple[list[bytes], list[bytes | None], set[tuple[str, int]]]:
        """Every changed record as changelog keys and values, and the (experiment, period) pairs whose partials changed."""
        keys = escape_all(self._changed)
        values: list[bytes | None] = list(map(pack, self._changed.values()))
        self._count_applied()
        evicted = self._evicted.difference(keys)
        keys.extend(evicted)
        values.extend([None] * len(evicted))
        touched = self.cells.drain(keys, values)
        keys.append(MARKS_KEY)
        values.append(msgspec.json.encode((self.exposures_mark, self.rewards_mark)))
        self._kinds.drain(keys, values)
        for experiment, counts in self._counted.items():
            keys.append(COUNTS_PREFIX + experiment.encode())
            values.append(msgspec.json.encode(counts))
            if experiment:
                touched.add((experiment, COUNTERS))
        self._changed, self._stored, self._evicted = {}, {}, set()
        self._counted.clear()
        return keys, values, touched

    def take_dead(self) -> tuple[list[DeadLetter], list[DeadLetter]]:
        """The chunk's dead letters of exposures and of rewards, handed over."""
        taken = self.dead_exposures, self.dead_rewards
        self.dead_exposures, self.dead_rewards = [], []
        return taken

    def count(self, experiment: str, outcome: Outcome) -> None:
        """Count an event whose outcome is known without folding it."""
        self._counts(experiment)[outcome] += 1

    def restore(self, scan: Callable[[bytes], Iterator[tuple[bytes, bytes]]]) -> None:
        """Take over what `end` wrote before: cells, kinds, counters."""
        self.cells.restore(scan(CELL_PREFIX))
        self._experiment_of.extend(name.experiment for name in self.cells.names)
        self._kinds.restore(scan(KIND_PREFIX))
        self._kinds.refresh(self.plans.values())
        for key, value in scan(COUNTS_PREFIX):
            self.counts[key[len(COUNTS_PREFIX) :].decode()] = msgspec.json.decode(value, type=list[int])
        for _, value in scan(MARKS_KEY):
            self.exposures_mark, self.rewards_mark = msgspec.json.decode(value, type=tuple[float, float])

    def _count_applied(self) -> None:
        """Bring sums and counters to what the hot loops have only tallied."""
        for slot, units in self._slots.drain():
            experiment = self._experiment_of[slot.cell]
            layout_of(slot.metrics).enter(self._heat(slot.cell), slot.weight, units)
            self._counts(experiment)[APPLIED_X] += units
        for experiment, rewards in self._kinds.take_applied():
            self._counts(experiment)[APPLIED_R] += rewards

    # -- the rarer cases -------------------------------------------------------------------------------------

    def _slot(self, batch: Events[Exposure], i: int) -> Slot | None:
        """The slot of the i-th exposure, the first of its sort; None if it is refused."""
        x = batch.events[i]
        plan = self.plans.get(x.experiment)
        if plan is None:
            self._refuse_exposure(batch, i, "", f"experiment: {x.experiment!r}: expected the name of an applied experiment")
            return None
        if x.arm not in plan.arms:
            self._refuse_exposure(batch, i, x.experiment, f"arm: {x.arm!r}: expected an arm of {x.experiment!r}")
            return None
        period = x.ts // plan.period_s
        cell = self._cell(plan, CellName(plan.name, plan.segment(x.segment), x.arm, x.holdback, int(period)))
        weight = inverse_propensity(x.propensity)
        return self._slots.add(x, Slot(cell, weight, plan.layout.metrics, plan.horizon_s, plan.period_s, period))

    def _expose(self, key: bytes, record: Record, slot: Slot, x: Exposure, until: float) -> None:
        """An exposure of a unit that has a record."""
        for entry in record[ENTRIES]:
            if self._experiment_of[entry[CELL]] == x.experiment:
                self._expose_again(key, record, entry, slot.cell, x)
                return
        entry = [slot.cell, x.ts, x.exposure_id, slot.weight, [0] * slot.metrics]
        self._changed[key] = record
        self._extend(record, until)
        self._slots.enter(slot)
        if record[REWARDS]:
            self._revise(record, partial(record[ENTRIES].append, entry))
        else:
            record[ENTRIES].append(entry)

    def _expose_again(self, key: bytes, record: Record, entry: Entry, cell: int, x: Exposure) -> None:
        """The unit has an exposure in this experiment already."""
        counts = self._counts(x.experiment)
        weight = inverse_propensity(x.propensity)
        if entry[:Y] == [cell, x.ts, x.exposure_id, weight]:
            counts[DUPLICATE_X] += 1
            return
        if entry[Y] is None:
            counts[CROSSOVER_X] += 1
            return
        was, now = self.cells.names[entry[CELL]], self.cells.names[cell]
        if (was.arm, was.holdback) != (now.arm, now.holdback):
            self._changed[key] = record
            counts[APPLIED_X] -= 1
            counts[CROSSOVER_X] += 2
            self._revise(record, partial(self._leave, entry))
            return
        counts[REPEATED_X] += 1
        if (x.ts, x.exposure_id, now.segment, weight) < (entry[TS], entry[EXPOSURE_ID], was.segment, entry[W]):
            self._changed[key] = record
            self._extend(record, x.ts + self.plans[x.experiment].horizon_s)
            self._revise(record, partial(self._replace, entry, cell, x, weight))

    def _kind(self, batch: Events[Reward], i: int) -> Kind | None:
        """What the i-th reward is of, the first of its sort; None if nobody wants it."""
        r = batch.events[i]
        kind = self._kinds.intern(r.metric, r.experiment, self.plans.values())
        if kind is None:
            self._unwanted(batch, i)
        return kind

    def _wanted(self, kind: Kind, cell: int) -> MetricPlan | None:
        """What the cell's experiment does with rewards of the kind."""
        wanted = kind.wanted_by.get(self._experiment_of[cell])
        if wanted is not None:
            kind.in_cell[cell] = wanted
        return wanted

    def _reward_again(self, key: bytes, record: Record, kind_id: int, r: Reward) -> None:
        """The id is known: an exact repeat, an older version, or a correction."""
        rewards = record[REWARDS]
        kind, ts, value = rewards[r.reward_id]
        experiment = self._kinds.all[kind_id].experiment
        self._counts(experiment)[DUPLICATE_R] += 1
        if (r.ts, r.value, kind_id) != (ts, value, kind) and self._newer(r, kind_id, ts, value, kind):
            self._changed[key] = record
            self._extend(record, r.ts + self._kinds.all[kind_id].horizon_s)
            self._revise(record, partial(rewards.__setitem__, r.reward_id, (kind_id, r.ts, r.value)))

    def _newer(self, r: Reward, kind_id: int, ts: float, value: float, kind: int) -> bool:
        """Ties are broken by value, then by what the reward is of; by its names, since a kind's number depends on arrival."""
        mine, theirs = self._kinds.all[kind_id], self._kinds.all[kind]
        return (r.ts, r.value, mine.metric, mine.experiment) > (ts, value, theirs.metric, theirs.experiment)

    def _revise(self, record: Record, change: Callable[[], Any]) -> None:
        """Change the record, then bring counters and sums to what its events now amount to."""
        before = self._outcomes(record)
        change()
        self._settle(record)
        after = self._outcomes(record)
        for experiment, outcome in before.keys() | after.keys():
            self._counts(experiment)[outcome] += after[experiment, outcome] - before[experiment, outcome]

    def _outcomes(self, record: Record) -> Counter[tuple[str, Outcome]]:
        entries, kinds = record[ENTRIES], self._kinds.all
        return Counter(
            (kinds[kind].experiment, outcome_of(entries, self._experiment_of, kinds[kind], ts, value))
            for kind, ts, value in record[REWARDS].values()
        )

    def _settle(self, record: Record) -> None:
        """Bring every entry's metric vector, and with it the sums, to what the record says."""
        for entry in record[ENTRIES]:
            experiment = self._experiment_of[entry[CELL]]
            plan = self.plans.get(experiment)
            if plan is None or entry[Y] is None:
                continue
            wanted = values_of(entry, experiment, self._kinds.all, record[REWARDS], plan.layout.metrics)
            self._move(entry, wanted)

    def _move(self, entry: Entry, wanted: list[int]) -> None:
        layout = self.plans[self._experiment_of[entry[CELL]]].layout
        for j, new in enumerate(wanted):
            if new != entry[Y][j]:
                layout.change(self._heat(entry[CELL]), entry[W], entry[Y], j, new)

    def _leave(self, entry: Entry) -> None:
        """Take the unit out of its cell for good."""
        layout = self.plans[self._experiment_of[entry[CELL]]].layout
        self._move(entry, [0] * layout.metrics)
        layout.enter(self._heat(entry[CELL]), entry[W], -1)
        entry[Y] = None

    def _replace(self, entry: Entry, cell: int, x: Exposure, weight: int) -> None:
        """An earlier exposure to the same arm takes the entry's place."""
        metrics = self.plans[x.experiment].layout.metrics
        self._leave(entry)
        entry[:] = [cell, x.ts, x.exposure_id, weight, [0] * metrics]
        self.plans[x.experiment].layout.enter(self._heat(cell), weight)

    # -- small things ----------------------------------------------------------------------------------------

    def _load(self, key: bytes, mark: float) -> Record:
        value = self._stored[key]
        if value is None:
            return [0.0, [], {}]
        record: Record = unpack(value)
        if record[DEADLINE] >= mark:
            return record
        if escape(key) not in self._evicted:
            self._give_up(record)
        new: Record = [0.0, [], {}]
        self._changed[key] = new
        return new

    def _give_up(self, record: Record) -> None:
        """No exposure came for the rewards that still wait in a record that is going."""
        for (experiment, outcome), n in self._outcomes(record).items():
            if outcome is WAITING_R:
                counts = self._counts(experiment)
                counts[WAITING_R] -= n
                counts[Outcome.REWARD_UNMATCHED] += n

    @staticmethod
    def _extend(record: Record, until: float) -> None:
        """The record is of use at least until then."""
        record[DEADLINE] = max(record[DEADLINE], until)

    def _heat(self, cell: int) -> list[int]:
        sums = self.cells.hot[cell] = self.cells.sums[cell]
        return sums

    def _counts(self, experiment: str) -> list[int]:
        counts = self.counts.get(experiment)
        if counts is None:
            counts = self.counts[experiment] = [0] * OUTCOMES
        self._counted[experiment] = counts
        return counts

    def _cell(self, plan: Plan, name: CellName) -> int:
        cell = self.cells.intern(name, plan.layout.metrics)
        if cell == len(self._experiment_of):
            self._experiment_of.append(plan.name)
            self._heat(cell)
        return cell

    def _unwanted(self, batch: Events[Reward], i: int) -> None:
        """A reward of a metric that no experiment declares: nobody's fault if it names no experiment."""
        r = batch.events[i]
        if r.experiment is None:
            self._counts("")[Outcome.REWARD_UNMATCHED] += 1
        elif r.experiment in self.plans:
            self._refuse_reward(batch, i, r.experiment, f"metric: {r.metric!r}: expected a metric of {r.experiment!r}")
        else:
            self._refuse_reward(batch, i, "", f"experiment: {r.experiment!r}: expected the name of an applied experiment")

    def _refuse_exposure(self, batch: Events[Exposure], i: int, experiment: str, reason: str) -> None:
        self._counts(experiment)[DEAD_X] += 1
        self.dead_exposures.append(batch.letter(i, reason))

    def _refuse_reward(self, batch: Events[Reward], i: int, experiment: str, reason: str) -> None:
        self._counts(experiment)[DEAD_R] += 1
        self.dead_rewards.append(batch.letter(i, reason))

    def _count_dead(self, dead: Any, letters: list[DeadLetter], outcome: Outcome) -> None:
        if dead:
            letters.extend(dead)
            self._counts("")[outcome] += len(dead)
