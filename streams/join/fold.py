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
from allocator.moments import inverse_propensity
from streams.join.cells import CELL_PREFIX, CellName, Cells
from streams.join.decode import DeadLetter, Events
from streams.join.kinds import KIND_PREFIX, Kinds
from streams.join.outcomes import OUTCOMES, Outcome
from streams.join.plan import Plan
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
        self._counted: dict[str, list[int]] = {}
        self._stored: Mapping[bytes, bytes | None] = {}
        self._changed: dict[bytes, Record] = {}
        self._evicted: set[bytes] = set()

    # -- specs -----------------------------------------------------------------------------------------------

    def set_experiments(self, experiments: Mapping[str, Experiment]) -> None:
        """Take over the current specs."""
        self.plans = {name: Plan.of(experiment) for name, experiment in experiments.items()}
        self._kinds.refresh(self.plans.values())

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
        plans, changed, counted, mark = self.plans, self._changed, self._counted, self.exposures_mark
        experiment_of, hot = self._experiment_of, self.cells.hot
        stored = self._stored
        for i, (key, x) in enumerate(zip(batch.keys, batch.events, strict=True)):
            name, ts = x.experiment, x.ts
            plan = plans.get(name)
            if plan is None:
                self._refuse_exposure(batch, i, "", f"experiment: {name!r}: expected the name of an applied experiment")
                continue
            until = ts + plan.horizon_s
            if until < mark:
                self._counts(name)[LATE_X] += 1
                continue
            place = (plan.segment(x.segment) if plan.segments else "", x.arm, x.holdback, int(ts // plan.period_s))
            cell = plan.cell_ids.get(place)
            if cell is None:
                if x.arm not in plan.arms:
                    self._refuse_exposure(batch, i, name, f"arm: {x.arm!r}: expected an arm of {name!r}")
                    continue
                cell = self._intern_cell(plan, place)
            record = changed.get(key)
            if record is None:
                record = [0, [], {}] if stored[key] is None else self._load(key, mark)
            entries = record[ENTRIES]
            for entry in entries:
                if experiment_of[entry[CELL]] == name:
                    self._expose_again(key, record, entry, cell, x)
                    break
            else:
                weight = inverse_propensity(x.propensity)
                entry = [cell, ts, x.exposure_id, weight, [0] * plan.layout.metrics]
                changed[key] = record
                if until > record[DEADLINE]:
                    record[DEADLINE] = int(until) + 1
                plan.layout.enter(hot.get(cell) or self._heat(cell), weight)
                (counted.get(name) or self._counts(name))[APPLIED_X] += 1
                if record[REWARDS]:
                    self._revise(record, partial(entries.append, entry))
                else:
                    entries.append(entry)
        self.exposures_mark = max(mark, batch.mark)
        self._count_dead(batch.dead, self.dead_exposures, DEAD_X)

    def rewards(self, batch: Events[Reward]) -> None:
        """Fold rewards in log order."""
        plans, kinds, kind_ids, changed, counted = self.plans, self._kinds.all, self._kinds.ids, self._changed, self._counted
        experiment_of, hot, mark = self._experiment_of, self.cells.hot, self.rewards_mark
        stored = self._stored
        for i, (key, r) in enumerate(zip(batch.keys, batch.events, strict=True)):
            kind_id = kind_ids.get((r.metric, r.experiment))
            if kind_id is None:
                kind_id = self._kinds.intern(r.metric, r.experiment, plans.values())
            kind = None if kind_id is None else kinds[kind_id]
            if kind_id is None or kind is None or not kind.wanted_by:
                self._unwanted(batch, i)
                continue
            value, ts = r.value, r.ts
            if not kind.least <= value <= kind.most or (kind.whole and value % 1):
                self._refuse_reward(batch, i, kind.experiment, f"value: {value!r}: expected {kind.domain()}")
                continue
            until = ts + kind.horizon_s
            if until < mark:
                self._counts(kind.experiment)[LATE_R] += 1
                continue
            record = changed.get(key)
            if record is None:
                record = [0, [], {}] if stored[key] is None else self._load(key, mark)
            entries, rewards = record[ENTRIES], record[REWARDS]
            if r.reward_id in rewards:
                self._reward_again(key, record, kind_id, r)
                continue
            if len(rewards) >= (REWARDS_MAX if entries else WAITING_MAX):
                self._refuse_reward(batch, i, kind.experiment, f"unit: {r.unit!r}: has {len(rewards)} rewards already")
                continue
            changed[key] = record
            if until > record[DEADLINE]:
                record[DEADLINE] = int(until) + 1
            if len(entries) == 1:
                cell, exposed, _, weight, y = entries[0]
                wanted = kind.wanted_by.get(experiment_of[cell])
                if (
                    wanted is not None
                    and wanted.incremental
                    and y is not None
                    and exposed - wanted.clock_skew_s <= ts <= exposed + wanted.window_s
                    and wanted.accepts(value)
                ):
                    rewards[r.reward_id] = (kind_id, ts, value)
                    j, steps = wanted.index, wanted.quantise(value)
                    new = y[j] + steps if wanted.aggregate == "sum" else max(y[j], steps)
                    if new != y[j]:
                        plans[experiment_of[cell]].layout.change(hot.get(cell) or self._heat(cell), weight, y, j, new)
                    (counted.get(kind.experiment) or self._counts(kind.experiment))[APPLIED_R] += 1
                    continue
            self._revise(record, partial(rewards.__setitem__, r.reward_id, (kind_id, ts, value)))
        self.rewards_mark = max(mark, batch.mark)
        self._count_dead(batch.dead, self.dead_rewards, DEAD_R)

    def end(self) -> tuple[list[bytes], list[bytes | None], set[tuple[str, int]]]:
        """Every changed record as changelog keys and values, and the (experiment, period) pairs whose partials changed."""
        keys = escape_all(self._changed)
        values: list[bytes | None] = list(map(pack, self._changed.values()))
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

    # -- the rarer cases -------------------------------------------------------------------------------------

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
            return [0, [], {}]
        record: Record = unpack(value)
        if record[DEADLINE] >= mark:
            return record
        if escape(key) not in self._evicted:
            self._give_up(record)
        new: Record = [0, [], {}]
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
        if until > record[DEADLINE]:
            record[DEADLINE] = int(until) + 1

    def _heat(self, cell: int) -> list[int]:
        sums = self.cells.hot[cell] = self.cells.sums[cell]
        return sums

    def _counts(self, experiment: str) -> list[int]:
        counts = self.counts.get(experiment)
        if counts is None:
            counts = self.counts[experiment] = [0] * OUTCOMES
        self._counted[experiment] = counts
        return counts

    def _intern_cell(self, plan: Plan, place: tuple[str, str, bool, int]) -> int:
        cell = plan.cell_ids[place] = self.cells.intern(CellName(plan.name, *place), plan.layout.metrics)
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
