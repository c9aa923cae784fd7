"""One unit's record, and what it contributes: the part of the fold that makes moments a function of the events.

A record is a plain list (msgspec packs and unpacks those fastest):

    [deadline, entries, rewards]
    deadline: event time, in seconds since the epoch, always a float: `sweep` reads it without decoding the rest
    entries: for each life of the unit in an experiment, [cell, ts, exposure_id, W, y]; of one experiment in the order of time
    rewards: {reward_id: [kind, ts, value]}; if it came more than the grace behind its topic, then [kind, ts, value, mark]

It holds what is left of the unit's events when their order is forgotten: of a life's exposures the first by (ts, exposure_id,
segment, W), of the events under one reward_id the last by (ts, value, kind), and whether the unit is a crossover (y is None).
What it adds to the moments follows from that alone, so any order of the same events gives the same sums. `fold` updates sums
incrementally where that is cheap and derives them anew where it is not; both must agree.

**Lives.** When an event comes, its topic has reached a mark: the event time of the batches before, which the topic's log alone
decides. An exposure is of the unit's present life in the experiment if that began no longer than the horizon (longest window and
grace) before the mark of exposures; otherwise it begins the next. A reward is of the last life that began before it, up to the
clock skew, if its ts is within window and grace of that, and it came before the mark of rewards was a further grace beyond. Its
id is its own until the mark of rewards is its horizon beyond its ts; then the same id names another reward. So lives are a
function of the log of exposures, rewards of the log of rewards, and what they amount to of the two. How the topics are
interleaved, where chunks end and when something is forgotten have no part in it.

**Forgetting** must not have one. No event can be of an exposure's life, as an exposure or as a reward, once both marks are beyond
its ts + `Plan.keep_s`; none can correct a reward, or be the exposure of its life, once they are beyond its ts + `Kind.keep_s`. A
record whose deadline, the last of these, has passed goes whole; `forget` takes out of a record that stays what need not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from streams.join.kinds import Kind
from streams.join.outcomes import Outcome
from streams.join.plan import MetricPlan, Plan

__all__ = [
    "AT",
    "CELL",
    "DEADLINE",
    "ENTRIES",
    "EXPOSURE_ID",
    "KIND",
    "REWARDS",
    "TS",
    "VALUE",
    "W",
    "Y",
    "attributed",
    "forget",
    "is_newer",
    "is_spent",
    "outcome_of",
    "pack",
    "unpack",
    "values_of",
]

DEADLINE, ENTRIES, REWARDS = range(3)
CELL, TS, EXPOSURE_ID, W, Y = range(5)
KIND, AT, VALUE, MARK = range(4)

Record = list[Any]
Entry = list[Any]
Reward = Sequence[Any]
RewardId = str | tuple[str, float, int]
"""(id, ts, kind) of a reward whose id names a newer one by now."""
Attributed = dict[int, tuple[MetricPlan, list[tuple[float, str, int]]]]
"""By place of the metric: the rewards that count there, as (ts, id, steps)."""
Experiments = Sequence[str] | Mapping[int, str]
"""The experiment of every cell."""
Kinds = Sequence[Kind] | Mapping[int, Kind]
"""Every kind, by its number."""

BEST_FIRST = (Outcome.REWARD_APPLIED, Outcome.REWARD_LATE, Outcome.REWARD_EXCLUDED, Outcome.REWARD_UNMATCHED)

pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder().decode


def is_newer(reward: Reward, former: Reward, kinds: Kinds) -> bool:
    """Whether of two events under one id the first is the one that counts.

    Ties are broken by value, then by what the rewards are of; by its names, since a kind's number depends on arrival.
    """
    mine, theirs = kinds[reward[KIND]], kinds[former[KIND]]
    return bool(
        (reward[AT], reward[VALUE], mine.metric, mine.experiment) > (former[AT], former[VALUE], theirs.metric, theirs.experiment)
    )


def outcome_of(entries: Sequence[Entry], experiments: Experiments, kind: Kind, reward: Reward) -> Outcome:
    """What becomes of a reward, given its unit's entries; with several experiments, the best of what becomes of it in each."""
    found: dict[str, Outcome] = {}
    for entry in entries:
        experiment = experiments[entry[CELL]]
        wanted = kind.wanted_by.get(experiment)
        if wanted is None:
            continue
        outcome = _in_life(entry, wanted, reward)
        if outcome is not None:
            found[experiment] = outcome
        elif reward[AT] < entry[TS] - wanted.clock_skew_s and wanted.keep_s == kind.keep_s:
            found.setdefault(experiment, Outcome.REWARD_UNMATCHED)  # it does not wait longer for another experiment
    outcomes = found.values()
    return next((outcome for outcome in BEST_FIRST if outcome in outcomes), Outcome.REWARD_WAITING)


def attributed(
    entry: Entry, later: Sequence[Entry], experiment: str, kinds: Kinds, rewards: Mapping[RewardId, Reward]
) -> Attributed:
    """Which of the unit's rewards count in a life. `later` are the entries of its lives in the experiment after that."""
    found: Attributed = {}
    for reward_id, reward in rewards.items():
        wanted = kinds[reward[KIND]].wanted_by.get(experiment)
        if wanted is None or _in_life(entry, wanted, reward) is not Outcome.REWARD_APPLIED:
            continue
        if later and any(_in_life(other, wanted, reward) is not None for other in later):
            continue
        id_ = reward_id if isinstance(reward_id, str) else reward_id[0]
        found.setdefault(wanted.index, (wanted, []))[1].append((reward[AT], id_, wanted.quantise(reward[VALUE])))
    return found


def values_of(rewards: Attributed, metrics: int) -> list[int]:
    """The unit's metric vector in a life: the definition the incremental updates must meet."""
    y = [0] * metrics
    for j, (wanted, seen) in rewards.items():
        match wanted.aggregate:
            case "sum":
                y[j] = sum(steps for _, _, steps in seen)
            case "max":
                y[j] = max(steps for _, _, steps in seen)
            case _:
                y[j] = max(seen)[2]
        if wanted.cap is not None:
            y[j] = max(-wanted.cap, min(wanted.cap, y[j]))
        if wanted.reported is not None:
            y[wanted.reported] = 1
    return y


def is_spent(record: Record, watermark: float, experiments: Experiments, kinds: Kinds, plans: Mapping[str, Plan]) -> bool:
    """Whether there is anything in the record that no event can concern any more, both topics having reached the watermark."""
    return any(_kept_until(entry, experiments, plans) < watermark for entry in record[ENTRIES]) or any(
        reward[AT] + kinds[reward[KIND]].keep_s < watermark for reward in record[REWARDS].values()
    )


def forget(record: Record, watermark: float, experiments: Experiments, kinds: Kinds, plans: Mapping[str, Plan]) -> None:
    """Take out what no event can concern any more.

    An entry stays as long as one of its rewards can be touched, and with it all of them, of which y is made. What becomes of a
    reward is settled once it cannot be touched: it does not need the entries of all the experiments it counts in.
    """
    entries, rewards = record[ENTRIES], record[REWARDS]
    places = {id_: _places(entries, experiments, kinds[reward[KIND]], reward) for id_, reward in rewards.items()}
    touchable = {id_ for id_, reward in rewards.items() if reward[AT] + kinds[reward[KIND]].keep_s >= watermark}
    open_ = {place for place, entry in enumerate(entries) if _kept_until(entry, experiments, plans) >= watermark}
    open_.update(*(places[id_] for id_ in touchable))
    gone = [id_ for id_ in rewards if id_ not in touchable and not places[id_] & open_]
    entries[:] = [entry for place, entry in enumerate(entries) if place in open_]
    for id_ in gone:
        del rewards[id_]


def _places(entries: Sequence[Entry], experiments: Experiments, kind: Kind, reward: Reward) -> set[int]:
    """Where the entries are that the reward belongs to: of each experiment the last that it can."""
    found = {}
    for place, entry in enumerate(entries):
        experiment = experiments[entry[CELL]]
        wanted = kind.wanted_by.get(experiment)
        if wanted is not None and _in_life(entry, wanted, reward) is not None:
            found[experiment] = place
    return set(found.values())


def _in_life(entry: Entry, wanted: MetricPlan, reward: Reward) -> Outcome | None:
    """What becomes of a reward in a life, if no later one has it; None if it is not of this one."""
    begin, ts = entry[TS], reward[AT]
    if not begin - wanted.clock_skew_s <= ts <= begin + wanted.horizon_s:
        return None
    if len(reward) > MARK and reward[MARK] > begin + wanted.horizon_s + wanted.grace_s:
        return None  # without a mark, it came within the grace of its ts
    if entry[Y] is None or not wanted.accepts(reward[VALUE]):
        return Outcome.REWARD_EXCLUDED
    return Outcome.REWARD_LATE if ts > begin + wanted.window_s else Outcome.REWARD_APPLIED


def _kept_until(entry: Entry, experiments: Experiments, plans: Mapping[str, Plan]) -> float:
    plan = plans.get(experiments[entry[CELL]])
    return float("inf") if plan is None else float(entry[TS] + plan.keep_s)
