"""The moments are a function of the set of events: not of their order, their duplication, the chunks, or restarts."""

from __future__ import annotations

import random
from collections import defaultdict
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.moments import inverse_propensity, layout_of
from streams.join.cells import CellName
from streams.records import Exposure, Reward
from tests.folding import Partition, experiment

CAP = 2
SPECS = [
    experiment(
        "one",
        arms=["a", "b", "c"],
        metrics={
            "click": {"type": "binary", "window": "100s"},
            "spend": {"type": "value", "window": "50s", "resolution": 0.25},
            "last": {"type": "value", "window": "100s", "aggregate": "last", "resolution": 1},
            "peak": {"type": "value", "window": "100s", "aggregate": "max", "resolution": 1},
        },
        objective="click",
        segments=["pro"],
        period="60s",
        covariates=[{"name": "age", "resolution": 0.5}, {"name": "spent", "resolution": 1}],
    ),
    experiment(
        "two",
        metrics={"spend": {"type": "value", "window": "80s", "resolution": 1, "cap": CAP, "missing": "excluded"}},
        objective="spend",
        period="1h",
    ),
]
WINDOWS = {("one", "click"): 100, ("one", "spend"): 50, ("one", "last"): 100, ("one", "peak"): 100, ("two", "spend"): 80}
STEPS = {("one", "spend"): 4}
SKEW_S = 5

times = st.integers(1000, 1200).map(float)
units = st.sampled_from(["u", "v"])
exposures = st.builds(
    Exposure,
    experiment=st.sampled_from(["one", "two"]),
    unit=units,
    arm=st.sampled_from(["a", "a", "a", "b"]),
    propensity=st.sampled_from([1.0, 0.5, 0.25, 0.3]),
    ts=times,
    exposure_id=st.sampled_from(["x1", "x2", "x3"]),
    segment=st.sampled_from([None, "pro", "unheard-of"]),
    holdback=st.just(False),
    covariates=st.sampled_from(
        [{}, {"age": 7.3, "spent": -2}, {"age": 7.3, "spent": "much"}, {"spent": 1e300, "other": 1}, {"age": 1, "spent": 4}]
    ),
)
rewards = st.builds(
    Reward,
    unit=units,
    metric=st.sampled_from(["click", "spend", "last", "peak"]),
    value=st.sampled_from([0.0, 1.0, 2.25, -3.0]),
    ts=times,
    reward_id=st.sampled_from(["r1", "r2", "r3", "r4"]),
    experiment=st.sampled_from([None, "one", "two"]),
)
events = st.lists(exposures | rewards, max_size=14)


def usable(r: Reward) -> bool:
    """Whether some experiment takes the value."""
    return any(accepts(e, r) for e in ("one", "two"))


def accepts(name: str, r: Reward) -> bool:
    if r.experiment not in (None, name) or (name, r.metric) not in WINDOWS:
        return False
    return r.metric != "click" or r.value in (0.0, 1.0)


def oracle(items: list[Exposure | Reward]) -> dict[CellName, list[int]]:
    """The definition, written the slow way: sets, sorted, summed as fractions."""
    first: dict[tuple[str, str], Exposure] = {}
    arms = defaultdict(set)
    newest: dict[tuple[str, str], Reward] = {}
    for e in items:
        if isinstance(e, Exposure):
            arms[e.unit, e.experiment].add(e.arm)
            known = first.get((e.unit, e.experiment))
            if known is None or order(e) < order(known):
                first[e.unit, e.experiment] = e
        elif usable(e):
            known = newest.get((e.unit, e.reward_id))
            if known is None or version(e) > version(known):
                newest[e.unit, e.reward_id] = e
    sums: dict[CellName, list[Fraction]] = {}
    for (unit, name), x in first.items():
        spec = SPECS[0] if name == "one" else SPECS[1]
        if len(arms[unit, name]) > 1:
            continue
        y = [Fraction(0)] * len(spec.metrics)
        for j, metric in enumerate(spec.metrics):
            seen = sorted(
                (r.ts, r.reward_id, Fraction(r.value))
                for (u, _), r in newest.items()
                if u == unit and r.metric == metric and accepts(name, r) and x.ts - SKEW_S <= r.ts <= x.ts + WINDOWS[name, metric]
            )
            steps = [(v * STEPS.get((name, metric), 1) + Fraction(1, 2)).__floor__() for _, _, v in seen]
            if steps:
                y[j] = {"click": max, "peak": max, "last": lambda s: s[-1]}.get(metric, sum)(steps)
            if name == "two":
                y = [max(Fraction(-CAP), min(Fraction(CAP), y[j])), Fraction(bool(steps))]
        y += [Fraction(v) for v in covariates(x)]
        cell = CellName(name, segment(x), x.arm, False, int(x.ts // spec.period_s))
        w = inverse_propensity(x.propensity)
        m = len(y)
        cross = [y[j] * y[k] for j in range(m) for k in range(j, m)]
        row = [1, *y, *cross, w, w * w, *(w * v for v in y), *(w * w * v for v in y), *(w * w * v * v for v in y)]
        sums[cell] = [a + b for a, b in zip(sums.get(cell, [0] * layout_of(m).length), row, strict=True)]
    return {name: [int(v) for v in row] for name, row in sums.items()}


def order(x: Exposure) -> tuple[float, str, str, int, list[int]]:
    return (x.ts, x.exposure_id, segment(x), inverse_propensity(x.propensity), covariates(x))


def covariates(x: Exposure) -> list[int]:
    """Age in halves, money spent in wholes, and whether either is missing."""
    if x.experiment == "two":
        return []
    known = {name: v for name, v in x.covariates.items() if not isinstance(v, str) and abs(v) < 1e9}
    return [
        (Fraction(known.get("age", 0)) * 2 + Fraction(1, 2)).__floor__(),
        (Fraction(known.get("spent", 0)) + Fraction(1, 2)).__floor__(),
        int(not known.keys() >= {"age", "spent"}),
    ]


def version(r: Reward) -> tuple[float, float, str, str]:
    return (r.ts, r.value, r.metric, r.experiment or "")


def segment(x: Exposure) -> str:
    if x.experiment == "two":
        return ""
    return "pro" if x.segment == "pro" else "other"


@settings(max_examples=400, deadline=None)
@given(events, st.randoms(use_true_random=False))
def test_any_order_duplication_chunking_and_restart_gives_the_moments_of_the_set(
    items: list[Exposure | Reward], rng: random.Random
) -> None:
    wanted = oracle(items)
    for _ in range(3):
        shuffled = [*items, *rng.choices(items, k=rng.randrange(4))] if items else []
        rng.shuffle(shuffled)
        partition = Partition(SPECS)
        at = 0
        while at < len(shuffled):
            step = rng.choice([1, 2, 5, 100])
            partition.chunk(*shuffled[at : at + step])
            at += step
            if rng.random() < 0.3:
                partition.restart()
        assert partition.moments() == wanted
        assert partition.contradictions() == []
        assert sum(partition.counters().values()) == len(shuffled)
        assert all(n > 0 for n in partition.counters().values())
