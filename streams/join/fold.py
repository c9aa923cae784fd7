"""Fold a chunk of events of one partition into unit records, cells and counters. Pure: bytes in, bytes out.

The frequent cases (a new unit, a first reward for an exposed unit) are inlined in `exposures` and `rewards`; everything else
goes through `streams.join.account`, which derives what a changed record amounts to anew, once at the end of the batch. A chunk is

    fold.begin(stored)          # what the store holds for the chunk's keys
    fold.exposures(batch) …     # all of the chunk's exposures, then
    fold.rewards(batch) …       # all of its rewards
    keys, values = fold.end()   # every changed record, to be committed
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import msgspec

from allocator.experiment import Experiment
from allocator.moments import inverse_propensity
from streams.join.account import Account
from streams.join.cells import CellName
from streams.join.decode import DeadLetter, Events
from streams.join.kinds import Kind
from streams.join.limits import LARGE_BYTES, LIVES_MAX, REWARDS_MAX, WAITING_MAX
from streams.join.outcomes import Outcome
from streams.join.plan import ROUNDING_S, Plan
from streams.join.slots import Slot, Slots
from streams.join.units import (
    AT,
    CELL,
    DEADLINE,
    ENTRIES,
    EXPOSURE_ID,
    KIND,
    REWARDS,
    TS,
    Entry,
    Record,
    W,
    Y,
    is_newer,
    pack,
    unpack,
)
from streams.join.units import Reward as StoredReward
from streams.records import Exposure, Reward
from streams.state.store import escape, escape_all

__all__ = ["LIVES_MAX", "REWARDS_MAX", "WAITING_MAX", "Fold"]

MARKS_KEY = b"\x00marks"

APPLIED_X, REPEATED_X, DUPLICATE_X = Outcome.EXPOSURE_APPLIED, Outcome.EXPOSURE_REPEATED, Outcome.EXPOSURE_DUPLICATE
CROSSOVER_X, DEAD_X = Outcome.EXPOSURE_CROSSOVER, Outcome.EXPOSURE_DEAD
APPLIED_R, DUPLICATE_R, DEAD_R = Outcome.REWARD_APPLIED, Outcome.REWARD_DUPLICATE, Outcome.REWARD_DEAD
LATE_X, LATE_R = Outcome.EXPOSURE_LATE, Outcome.REWARD_LATE


class Fold:
    """The state of one join partition in memory, except the unit records, which stay in the store."""

    def __init__(self) -> None:
        self._account = Account()
        self.cells, self.counts, self.lags = self._account.cells, self._account.counts, self._account.lags
        self.versions = self._account.versions
        self.phases: dict[str, tuple[Plan, ...]] = {}
        """By experiment."""
        self._plans: dict[str, Plan] = {}
        """By `phase_key`."""
        self.horizon_s = 0.0
        """The longest of any experiment: what is older concerns nobody."""
        self.exposures_mark = self.rewards_mark = 0.0
        """Event time reached in each topic. An event whose horizon ended before its topic's mark is late."""
        self.dead_exposures: list[DeadLetter] = []
        self.dead_rewards: list[DeadLetter] = []
        self.crowded: bytes | None = None
        """The last unit with more rewards than it may have."""
        self._slots = Slots()
        self._stored: Mapping[bytes, bytes | None] = {}
        self._changed: dict[bytes, Record] = {}
        self._large: dict[bytes, Record] = {}
        self._evicted: set[bytes] = set()
        self._full: set[bytes] = set()
        self._shortest_s = self._grace_s = 0.0
        """The shortest horizon and the shortest grace of any experiment: an event less behind need not be looked at closer."""

    # -- specs -----------------------------------------------------------------------------------------------

    def set_experiments(self, experiments: Mapping[str, Experiment]) -> None:
        """Take over the current specs."""
        self.phases = {name: tuple(Plan.phases(experiment)) for name, experiment in experiments.items()}
        self._plans = {plan.key: plan for phases in self.phases.values() for plan in phases}
        plans = self._plans.values()
        self.horizon_s = max((plan.horizon_s for plan in plans), default=0.0)
        self._shortest_s = min((plan.horizon_s for plan in plans), default=0.0)
        self._grace_s = min((plan.grace_s for plan in plans), default=0.0)
        self._account.set_plans(self._plans)
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
            self._account.give_up(unpack(value))

    def begin(self, stored: Mapping[bytes, bytes | None]) -> None:
        """Start a chunk whose units' stored records are these (None: a new unit)."""
        self._stored = stored

    def exposures(self, batch: Events[Exposure]) -> None:
        """Fold exposures in log order."""
        slots, changed, stored, mark = self._slots.met, self._changed, self._stored, self.exposures_mark
        filled, watermark, behind = self._slots.filled, self.watermark, mark - self._shortest_s + ROUNDING_S
        for i, (key, x) in enumerate(zip(batch.keys, batch.events, strict=True)):
            ts = x.ts
            slot = slots.get((x.experiment, x.segment, x.arm, x.holdback, x.propensity, x.weights_version))
            if slot is None or not slot.since <= ts < slot.until:
                slot = self._slot(batch, i)
                if slot is None:
                    continue
            if ts < behind and ts + slot.horizon_s < mark:
                self._account.counts_of(x.experiment)[LATE_X] += 1
                continue
            record = changed.get(key)
            if record is None:
                value = stored[key]
                if value is not None:
                    record = self._load(key, value, watermark)
                elif slot.covariates:
                    record = [0.0, [], {}]
                else:
                    changed[key] = [ts + slot.keep_s, [[slot.cell, ts, x.exposure_id, slot.weight, [0] * slot.metrics]], {}]
                    if not slot.entered:
                        filled.append(slot)
                    slot.entered += 1
                    if ts > slot.newest_ts:  # noqa: PLR1730  max() takes three times as long
                        slot.newest_ts = ts
                    continue
            self._expose(key, record, slot, x)
        self._account.settle()
        self.exposures_mark = max(mark, batch.mark)
        self._count_dead(batch.dead, self.dead_exposures, DEAD_X)

    def rewards(self, batch: Events[Reward]) -> None:
        """Fold rewards in log order."""
        kind_of, changed, stored, mark = self._account.kinds.wanted, self._changed, self._stored, self.rewards_mark
        hot, lags, filled = self.cells.hot, self.lags.of, self._account.kinds.filled
        watermark, behind = self.watermark, mark - self._grace_s + ROUNDING_S
        for i, (key, r) in enumerate(zip(batch.keys, batch.events, strict=True)):
            kind = kind_of.get((r.metric, r.experiment)) or self._kind(batch, i)
            if kind is None:
                continue
            value, ts = r.value, r.ts
            if value and (not kind.least <= value <= kind.most or (kind.whole and value % 1)):
                self._refuse_reward(batch, i, kind.experiment, f"value: {value!r}: expected {kind.domain()}")
                continue
            if ts < behind and ts + kind.grace_s < mark:
                self._belated(batch, i, kind)
                continue
            record = changed.get(key)
            if record is None:
                packed = stored[key]
                record = [0.0, [], {}] if packed is None else self._load(key, packed, watermark)
            deadline, entries, rewards = record
            if r.reward_id in rewards:
                self._reward_again(batch, i, kind, record, (kind.number, ts, value))
                continue
            if len(rewards) >= WAITING_MAX and self._has_no_room(batch, i, kind, record):
                continue
            changed[key] = record
            until = ts + kind.keep_s
            if until > deadline:
                record[DEADLINE] = until
            if len(entries) == 1:
                cell, exposed, _, weight, y = entries[0]
                wanted = kind.in_cell.get(cell) or self._account.wanted(kind, cell)
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
                    j = wanted.index
                    # 0 changes neither a sum nor the maximum of zeros and ones
                    if value and (new := wanted.after(y[j], value)) != y[j]:
                        lags[cell][j][bisect_left(wanted.lag_bounds, ts - exposed)] += 1
                        wanted.layout.change(hot.get(cell) or self._account.heat(cell), weight, y, j, new)
                    continue
            self._account.put_reward(key, record, r.reward_id, (kind.number, ts, value))
        self._account.settle()
        self.rewards_mark = max(mark, batch.mark)
        self._count_dead(batch.dead, self.dead_rewards, DEAD_R)

    def end(self) -> tuple[list[bytes], list[bytes | None], set[tuple[str, int]]]:
        """Every changed record as changelog keys and values, and the (experiment, cell) pairs whose partials changed."""
        keys = escape_all(self._changed)
        values: list[bytes | None] = list(map(pack, self._changed.values()))
        self._account.count_tallied(self._slots.drain())
        evicted = self._evicted.difference(keys)
        keys.extend(evicted)
        values.extend([None] * len(evicted))
        keys.append(MARKS_KEY)
        values.append(msgspec.json.encode((self.exposures_mark, self.rewards_mark)))
        touched = self._account.drain(keys, values)
        self._changed, self._large, self._stored, self._evicted, self._full = {}, {}, {}, set(), set()
        return keys, values, touched

    def take_dead(self) -> tuple[list[DeadLetter], list[DeadLetter]]:
        """The chunk's dead letters of exposures and of rewards, handed over."""
        taken = self.dead_exposures, self.dead_rewards
        self.dead_exposures, self.dead_rewards = [], []
        return taken

    def count(self, experiment: str, outcome: Outcome) -> None:
        """Count an event whose outcome is known without folding it."""
        self._account.counts_of(experiment)[outcome] += 1

    def restore(self, scan: Callable[[bytes], Iterator[tuple[bytes, bytes]]]) -> None:
        """Take over what `end` wrote before: cells, kinds, counters."""
        self._account.restore(scan)
        for _, value in scan(MARKS_KEY):
            self.exposures_mark, self.rewards_mark = msgspec.json.decode(value, type=tuple[float, float])

    # -- the rarer cases -------------------------------------------------------------------------------------

    def _slot(self, batch: Events[Exposure], i: int) -> Slot | None:
        """The slot of the i-th exposure, the first of its sort; None if it is refused."""
        x = batch.events[i]
        plan = next((phase for phase in self.phases.get(x.experiment, ()) if x.ts < phase.until), None)
        if plan is None:
            self._refuse_exposure(batch, i, "", f"experiment: {x.experiment!r}: expected the name of an applied experiment")
            return None
        if x.arm not in plan.arms:
            self._refuse_exposure(batch, i, x.experiment, f"arm: {x.arm!r}: expected an arm of {x.experiment!r}")
            return None
        period = plan.period(x.ts)
        cell = self._account.cell(plan, CellName(plan.key, plan.segment(x.segment), x.arm, x.holdback, period))
        slot = Slot.of(plan, cell, inverse_propensity(x.propensity), period, self.versions.tally(plan, x))
        return self._slots.add(x, slot)

    def _expose(self, key: bytes, record: Record, slot: Slot, x: Exposure) -> None:
        """An exposure of a unit that has a record."""
        entries, lived, experiment_of = record[ENTRIES], 0, self._account.experiment_of
        for entry in entries:
            if experiment_of[entry[CELL]] == experiment_of[slot.cell]:
                if entry[TS] + slot.horizon_s >= self.exposures_mark:
                    self._expose_again(key, record, entry, slot, x)
                    return
                lived += 1
        if lived:  # former lives stay for the rewards they may yet get
            self._account.forget(key, record, self.watermark if lived < LIVES_MAX else self.exposures_mark)
        entry = [slot.cell, x.ts, x.exposure_id, slot.weight, [0] * slot.metrics]
        self._changed[key] = record
        self._extend(record, x.ts + slot.keep_s)
        self._slots.enter(slot, x.ts)
        if slot.covariates:
            self._account.fill(entry, x)
        if record[REWARDS]:
            self._account.revise(key, record, partial(entries.append, entry))
        else:
            entries.append(entry)

    def _expose_again(self, key: bytes, record: Record, entry: Entry, slot: Slot, x: Exposure) -> None:
        """The unit's life in this experiment has an exposure already."""
        counts, cell, weight = self._account.counts_of(x.experiment), slot.cell, slot.weight
        if entry[:Y] == [cell, x.ts, x.exposure_id, weight]:
            counts[DUPLICATE_X] += 1
            if self._account.has_less(entry, x):
                self._changed[key] = record
                self._account.fill(entry, x)
            return
        if entry[Y] is None:
            counts[CROSSOVER_X] += 1
            return
        was, now = self.cells.names[entry[CELL]], self.cells.names[cell]
        if (was.arm, was.holdback) != (now.arm, now.holdback):
            self._changed[key] = record
            counts[APPLIED_X] -= 1
            counts[CROSSOVER_X] += 2
            self._account.revise(key, record, partial(self._account.leave, entry))
            return
        counts[REPEATED_X] += 1
        if (x.ts, x.exposure_id, now.segment, weight) < (entry[TS], entry[EXPOSURE_ID], was.segment, entry[W]):
            self._changed[key] = record
            self._extend(record, x.ts + slot.keep_s)
            self._account.revise(key, record, partial(self._account.replace, entry, cell, x, weight))

    def _kind(self, batch: Events[Reward], i: int) -> Kind | None:
        """What the i-th reward is of, the first of its sort; None if nobody wants it."""
        r = batch.events[i]
        kind = self._account.kinds.intern(r.metric, r.experiment, self._plans.values())
        if kind is None:
            self._unwanted(batch, i)
        return kind

    def _belated(self, batch: Events[Reward], i: int, kind: Kind) -> None:
        """A reward more than the grace behind its topic: late, or kept with the mark, which tells whose life was over."""
        key, r, mark = batch.keys[i], batch.events[i], self.rewards_mark
        if r.ts + kind.horizon_s < mark:
            self._account.counts_of(kind.experiment)[LATE_R] += 1
            return
        record = self._changed.get(key)
        if record is None:
            packed = self._stored[key]
            record = [0.0, [], {}] if packed is None else self._load(key, packed, self.watermark)
        reward = (kind.number, r.ts, r.value, mark)
        if r.reward_id in record[REWARDS]:
            self._reward_again(batch, i, kind, record, reward)
        elif len(record[REWARDS]) < WAITING_MAX or not self._has_no_room(batch, i, kind, record):
            self._keep(key, record, kind, r.reward_id, reward)

    def _reward_again(self, batch: Events[Reward], i: int, kind: Kind, record: Record, reward: StoredReward) -> None:
        """The id is known: an exact repeat, an older version, a correction, or another reward after the first one's horizon."""
        key, id_, rewards = batch.keys[i], batch.events[i].reward_id, record[REWARDS]
        former, kinds = rewards[id_], self._account.kinds.all
        number, ts = former[KIND], former[AT]
        if ts + kinds[number].horizon_s >= self.rewards_mark:
            self._account.counts_of(kind.experiment)[DUPLICATE_R] += 1
            if is_newer(reward, former, kinds):
                self._keep(key, record, kind, id_, reward)
        elif len(rewards) < WAITING_MAX or not self._has_no_room(batch, i, kind, record):
            if id_ in rewards:
                rewards[id_, ts, number] = rewards.pop(id_)
            self._keep(key, record, kind, id_, reward)

    def _keep(self, key: bytes, record: Record, kind: Kind, reward_id: str, reward: StoredReward) -> None:
        self._changed[key] = record
        self._extend(record, reward[AT] + kind.keep_s)
        self._account.put_reward(key, record, reward_id, reward)

    # -- small things ----------------------------------------------------------------------------------------

    def _load(self, key: bytes, value: bytes, watermark: float) -> Record:
        record: Record | None = self._large.get(key)
        if record is None:
            record = unpack(value)
            if len(value) > LARGE_BYTES:
                self._large[key] = record
        if record[DEADLINE] >= watermark:
            return record
        if escape(key) not in self._evicted:
            self._account.give_up(record)
        new: Record = [0.0, [], {}]
        self._changed[key] = new
        return new

    @staticmethod
    def _extend(record: Record, until: float) -> None:
        """The record is of use at least until then."""
        record[DEADLINE] = max(record[DEADLINE], until)

    def _has_no_room(self, batch: Events[Reward], i: int, kind: Kind, record: Record) -> bool:
        """Whether a further reward is too many. It is then counted; or, as what waits could be used later, refused."""
        key, rewards = batch.keys[i], record[REWARDS]
        if key not in self._full:  # once a chunk: every reward is looked at
            self._full.add(key)
            if self._account.forget(key, record, self.watermark):
                self._changed[key] = record
        if len(rewards) < (REWARDS_MAX if record[ENTRIES] else WAITING_MAX):
            return False
        if record[ENTRIES]:
            self._account.counts_of(kind.experiment)[Outcome.REWARD_OVERFLOW] += 1
            self.crowded = key
        else:
            self._refuse_reward(batch, i, kind.experiment, f"unit: {batch.events[i].unit!r}: has {len(rewards)} rewards already")
        return True

    def _unwanted(self, batch: Events[Reward], i: int) -> None:
        """A reward of a metric that no experiment declares: nobody's fault if it names no experiment."""
        r = batch.events[i]
        if r.experiment is None:
            self._account.counts_of("")[Outcome.REWARD_UNMATCHED] += 1
        elif r.experiment in self.phases:
            self._refuse_reward(batch, i, r.experiment, f"metric: {r.metric!r}: expected a metric of {r.experiment!r}")
        else:
            self._refuse_reward(batch, i, "", f"experiment: {r.experiment!r}: expected the name of an applied experiment")

    def _refuse_exposure(self, batch: Events[Exposure], i: int, experiment: str, reason: str) -> None:
        self._account.counts_of(experiment)[DEAD_X] += 1
        self.dead_exposures.append(batch.letter(i, reason))

    def _refuse_reward(self, batch: Events[Reward], i: int, experiment: str, reason: str) -> None:
        self._account.counts_of(experiment)[DEAD_R] += 1
        self.dead_rewards.append(batch.letter(i, reason))

    def _count_dead(self, dead: Any, letters: list[DeadLetter], outcome: Outcome) -> None:
        if dead:
            letters.extend(dead)
            self._account.counts_of("")[outcome] += len(dead)
