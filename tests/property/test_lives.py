"""Units that come back around their horizon: what they amount to is a function of each topic's own log.

Not of how exposures and rewards are interleaved, where chunks end, when a worker dies, or what has been forgotten when. The law
that `streams.join.units` states is written here once more, the slow way: every event is kept, with the mark it came at.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from math import floor

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from allocator.moments import inverse_propensity, layout_of
from streams.join.cells import CellName
from streams.join.decode import Events
from streams.records import Exposure, Reward
from tests.folding import Partition, events_of, experiment, exposure, reward, take_anyhow
from tests.stored import compared

CLICK, LAST = {"type": "binary", "window": "20s"}, {"type": "value", "window": "8s", "aggregate": "last", "resolution": 1}
SPECS = [
    experiment("one", metrics={"click": CLICK, "last": LAST}, objective="click", grace="5s", clock_skew="2s", period="10s"),
    experiment("two", metrics={"last": {**LAST, "window": "50s"}}, objective="last", grace="9s", clock_skew="1s", period="10s"),
]
BY_NAME = {spec.experiment: spec for spec in SPECS}
FIRST_TS, END_TS = 1000.0, 100_000.0

Log = list[Events]

units = st.sampled_from(["u", "u", "u", "v"])
steps = st.sampled_from([0, 0, 1, 3, 10, 30])
"""How far a topic goes on between two events: a few of its steps are a horizon."""
behind = st.sampled_from([0, 0, 0, 1, 4, 8, 16, 22, 40])
"""How far an event is behind its topic."""
exposures = st.builds(
    exposure,
    unit=units,
    experiment=st.sampled_from(["one", "one", "two"]),
    arm=st.sampled_from("aaaab"),
    propensity=st.sampled_from([1.0, 0.5]),
    exposure_id=st.sampled_from(["x", "y"]),
)
rewards = st.builds(
    reward,
    unit=units,
    metric=st.sampled_from(["click", "last", "last"]),
    experiment=st.sampled_from([None, "one"]),
    value=st.sampled_from([0.0, 1.0]),
    reward_id=st.sampled_from(["r", "s", "t"]),
)


@st.composite
def logs(draw: st.DrawFn, event: st.SearchStrategy[Exposure | Reward]) -> Log:
    """A topic's batches. Its time goes forward, its events may be behind, and a batch's mark may be behind its events."""
    log, now = [], FIRST_TS
    for batch in draw(st.lists(st.lists(st.tuples(event, steps, behind), min_size=1, max_size=4), min_size=4, max_size=12)):
        events = []
        for item, step, late in batch:
            now += step
            events.append(replace(item, ts=now - late))
        log.append(events_of(events))
        log[-1].mark -= draw(st.sampled_from([0, 0, 2, 20]))
    return log


# -- the definition --------------------------------------------------------------------------------------------------------------


@dataclass
class Life:
    """One life of a unit in an experiment, and the rewards that were attributed to it."""

    first: Exposure
    crossed: bool = False
    applied: dict[int, list[tuple[float, str, int]]] = field(default_factory=lambda: defaultdict(list))


def with_marks(log: Log) -> list[tuple[Exposure | Reward, float]]:
    """Every event and the event time that the batches before its own had reached."""
    found, mark = [], 0.0
    for batch in log:
        found += [(event, mark) for event in batch.events]
        mark = max(mark, batch.mark)
    return found


def lives_of(log: Log, counts: Counter[str]) -> dict[tuple[str, str], list[Life]]:
    lives: dict[tuple[str, str], list[Life]] = defaultdict(list)
    for x, mark in with_marks(log):
        spec = BY_NAME[x.experiment]
        horizon_s = max(m.window_s for m in spec.metrics.values()) + spec.grace_s
        mine = lives[x.unit, x.experiment]
        if x.ts + horizon_s < mark:
            counts["exposures.late"] += 1
        elif not mine or mine[-1].first.ts + horizon_s < mark:
            mine.append(Life(x))
            counts["exposures.applied"] += 1
        else:
            counts[f"exposures.{exposed_again(mine[-1], x, counts)}"] += 1
    return lives


def exposed_again(life: Life, x: Exposure, counts: Counter[str]) -> str:
    first = life.first
    said = [(e.ts, e.exposure_id, inverse_propensity(e.propensity)) for e in (x, first)]
    if said[0] == said[1] and x.arm == first.arm:
        return "duplicate"
    if life.crossed:
        return "crossover"
    if x.arm != first.arm:
        life.crossed = True
        counts["exposures.applied"] -= 1
        counts["exposures.crossover"] += 1
        return "crossover"
    if said[0] < said[1]:
        life.first = x
    return "repeated"


def rewards_of(log: Log, counts: Counter[str]) -> list[tuple[Reward, float]]:
    """Every reward in its newest version, with the mark at which that came."""
    newest: dict[tuple[str, str], tuple[Reward, float]] = {}
    former = []
    for r, mark in with_marks(log):
        if r.ts + reward_horizon_s(r) < mark:
            counts["rewards.late"] += 1
            continue
        known = newest.get((r.unit, r.reward_id))
        if known is None or known[0].ts + reward_horizon_s(known[0]) < mark:
            former += [known] if known else []
            newest[r.unit, r.reward_id] = r, mark
            continue
        counts["rewards.duplicate"] += 1
        if version(r) > version(known[0]):
            newest[r.unit, r.reward_id] = r, mark
    return [*former, *newest.values()]


def version(r: Reward) -> tuple[float, float, str, str]:
    return (r.ts, r.value, r.metric, r.experiment or "")


def wanting(r: Reward) -> list[str]:
    return [name for name, spec in BY_NAME.items() if r.experiment in (None, name) and r.metric in spec.metrics]


def reward_horizon_s(r: Reward) -> float:
    return max(BY_NAME[name].metrics[r.metric].window_s + BY_NAME[name].grace_s for name in wanting(r))


def attribute(r: Reward, mark: float, lives: dict[tuple[str, str], list[Life]]) -> str:
    """Give the reward to the lives it belongs to; what becomes of it once nothing can come for it."""
    found = set()
    for name in wanting(r):
        spec = BY_NAME[name]
        metric = spec.metrics[r.metric]
        for life in reversed(lives[r.unit, name]):
            began, ends = life.first.ts - spec.clock_skew_s, life.first.ts + metric.window_s + spec.grace_s
            if began <= r.ts <= ends and mark <= ends + spec.grace_s:
                if life.crossed:
                    found.add("excluded")
                elif r.ts > life.first.ts + metric.window_s:
                    found.add("late")
                else:
                    found.add("applied")
                    life.applied[list(spec.metrics).index(r.metric)].append((r.ts, r.reward_id, floor(r.value + 0.5)))
                break
    return next((outcome for outcome in ("applied", "late", "excluded") if outcome in found), "unmatched")


def definition(exposed: Log, rewarded: Log) -> tuple[dict[CellName, list[int]], dict[str, int]]:
    """Sums of cells and counters when everything has been forgotten, from logs in which nothing is."""
    counts: Counter[str] = Counter()
    lives = lives_of(exposed, counts)
    for r, mark in rewards_of(rewarded, counts):
        counts[f"rewards.{attribute(r, mark, lives)}"] += 1
    sums: dict[CellName, list[int]] = {}
    for (_, name), mine in lives.items():
        spec = BY_NAME[name]
        for life in mine:
            if life.crossed:
                continue
            x, y = life.first, [0] * len(spec.metrics)
            for j, metric in enumerate(spec.metrics.values()):
                if j in life.applied:
                    y[j] = max(life.applied[j])[2] if metric.aggregate == "last" else max(v for _, _, v in life.applied[j])
            cell = CellName(name, "", x.arm, False, int(x.ts // spec.period_s))
            row, layout = sums.setdefault(cell, layout_of(len(y)).empty()), layout_of(len(y))
            w, at = inverse_propensity(x.propensity), [0] * len(y)
            layout.enter(row, w)
            for j, value in enumerate(y):
                layout.change(row, w, at, j, value)
    return {name: row for name, row in sums.items() if any(row)}, {name: n for name, n in counts.items() if n}


def ended(log: Log, last: Exposure | Reward) -> Log:
    """The log, and what tells that all horizons are over."""
    return [*log, events_of([last])]


# -- the law ---------------------------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(logs(exposures), logs(rewards), st.integers(0, 2**32))
def test_what_units_amount_to_is_a_function_of_each_topics_log(exposed: Log, rewarded: Log, seed: int) -> None:
    rng = random.Random(seed)
    exposed = ended(exposed, exposure("end", experiment="one", ts=END_TS))
    rewarded = ended(rewarded, reward("end", 0.0, metric="click", experiment="one", ts=END_TS))
    moments, counters = definition(exposed, rewarded)
    partition = take_anyhow(Partition(SPECS), exposed, rewarded, rng)
    partition.restart()
    partition.take([], [], sweep=100)
    assert partition.moments() == moments
    assert partition.counters() == counters
    assert partition.contradictions() == []
    assert [key for key in partition.stored if key > b"\x01"] == [b"end"], "nothing else is left"


@settings(max_examples=300)
@given(logs(exposures), logs(rewards), st.integers(0, 2**32))
def test_the_audit_calls_any_two_ways_to_take_the_same_logs_equal(exposed: Log, rewarded: Log, seed: int) -> None:
    """Also in the middle: every record, of what no event can concern any more nothing."""
    rng = random.Random(seed)
    one, other = (take_anyhow(Partition(SPECS), exposed, rewarded, rng) for _ in range(2))
    found = compared(one, other)
    assert found.equal, found.differences
    assert one.moments() == other.moments()
