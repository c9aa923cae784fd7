"""One unit's record, and what it contributes: the part of the fold that makes moments a function of the set of events.

A record is a plain list (msgspec packs and unpacks those fastest):

    [deadline, entries, rewards]
    deadline: event time, in seconds since the epoch, always a float: `sweep` reads it without decoding the rest
    entries: for each experiment the unit was exposed in, [cell, ts, exposure_id, W, y]
    rewards: {reward_id: [kind, ts, value]}

It holds what is left of the unit's events when their order is forgotten: of an experiment's exposures the first by (ts,
exposure_id, segment, W), of the events under one reward_id the last by (ts, value, kind), and whether the unit is a crossover
(y is None). What it adds to the moments follows from that alone, so any order of the same events gives the same sums. `fold`
updates sums incrementally where that is cheap and derives them anew where it is not; both must agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from streams.join.kinds import Kind
from streams.join.outcomes import Outcome
from streams.join.plan import MetricPlan

__all__ = ["CELL", "DEADLINE", "ENTRIES", "EXPOSURE_ID", "REWARDS", "TS", "W", "Y", "outcome_of", "pack", "unpack", "values_of"]

DEADLINE, ENTRIES, REWARDS = range(3)
CELL, TS, EXPOSURE_ID, W, Y = range(5)

Record = list[Any]
Entry = list[Any]

BEST_FIRST = (Outcome.REWARD_APPLIED, Outcome.REWARD_LATE, Outcome.REWARD_UNMATCHED, Outcome.REWARD_EXCLUDED)

pack = msgspec.msgpack.Encoder().encode
unpack = msgspec.msgpack.Decoder().decode


def outcome_of(entries: Sequence[Entry], experiments: Sequence[str], kind: Kind, ts: float, value: float) -> Outcome:
    """What becomes of a reward, given its unit's entries; with several, the best of what becomes of it in each.

    `experiments` names the experiment of every cell.
    """
    found = []
    for entry in entries:
        wanted = kind.wanted_by.get(experiments[entry[CELL]])
        if wanted is not None:
            found.append(_in_entry(entry, wanted, ts, value))
    return next((outcome for outcome in BEST_FIRST if outcome in found), Outcome.REWARD_WAITING)


def _in_entry(entry: Entry, wanted: MetricPlan, ts: float, value: float) -> Outcome:
    if entry[Y] is None or not wanted.accepts(value):
        return Outcome.REWARD_EXCLUDED
    if ts > entry[TS] + wanted.window_s:
        return Outcome.REWARD_LATE
    return Outcome.REWARD_UNMATCHED if ts < entry[TS] - wanted.clock_skew_s else Outcome.REWARD_APPLIED


def values_of(entry: Entry, experiment: str, kinds: Sequence[Kind], rewards: dict[str, Sequence[Any]], metrics: int) -> list[int]:
    """The unit's metric vector in one experiment, from all its rewards: the definition the incremental updates must meet."""
    attributed: dict[int, list[tuple[float, str, int]]] = {}
    plans: dict[int, MetricPlan] = {}
    for reward_id, (kind, ts, value) in rewards.items():
        wanted = kinds[kind].wanted_by.get(experiment)
        if wanted is not None and _in_entry(entry, wanted, ts, value) is Outcome.REWARD_APPLIED:
            attributed.setdefault(wanted.index, []).append((ts, reward_id, wanted.quantise(value)))
            plans[wanted.index] = wanted
    y = [0] * metrics
    for j, seen in attributed.items():
        match plans[j].aggregate:
            case "sum":
                y[j] = sum(steps for _, _, steps in seen)
            case "max":
                y[j] = max(steps for _, _, steps in seen)
            case _:
                y[j] = max(seen)[2]
    return y
