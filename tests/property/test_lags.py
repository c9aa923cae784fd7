"""Lags are those of the events, however these are cut into chunks and however often the worker dies."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from allocator.delay import LAG_BINS, lag_edges
from streams.records import Exposure, Reward
from tests.folding import Partition, events_of, experiment, exposure, reward, take_anyhow

WINDOW_S, PERIOD_S, BEGIN = 100.0, 25.0, 1000.0
METRICS = {
    "good": {"type": "binary", "window": WINDOW_S},
    "spend": {"type": "value", "resolution": 0.5, "window": WINDOW_S},
    "most": {"type": "value", "resolution": 0.5, "window": WINDOW_S, "aggregate": "max"},
}
CHAT = experiment(metrics=METRICS, objective="good", period=PERIOD_S, grace="1h", clock_skew="5s")
OTHER = experiment("other", metrics=METRICS, objective="good", period=PERIOD_S, grace="1h", clock_skew="5s")

Counts = dict[tuple[str, int], dict[str, list[list[int]]]]


@st.composite
def logs(draw: st.DrawFn) -> tuple[list[Exposure], list[Reward]]:
    """Units in one experiment or two; of each metric at most one reward, in time or not, that names an experiment or none."""
    exposures, rewards = [], []
    for n in range(draw(st.integers(1, 12))):
        unit, ts = f"u{n}", BEGIN + draw(st.integers(0, 99))
        for name in draw(st.sampled_from([["chat"], ["chat", "other"]])):
            held = draw(st.integers(0, 4)) == 0
            arm = draw(st.sampled_from("ab"))
            exposures.append(exposure(unit, arm, float(ts), experiment=name, holdback=held, exposure_id=f"x-{unit}-{name}"))
        for metric in METRICS:
            if draw(st.booleans()):
                value = float(draw(st.sampled_from([0.0, 1.0])))
                at = float(ts + draw(st.integers(-7, 104)))
                of = draw(st.sampled_from(["chat", None]))
                rewards.append(reward(unit, value, at, metric=metric, experiment=of, reward_id=f"r-{unit}-{metric}"))
    again = draw(st.lists(st.sampled_from(rewards), max_size=3)) if rewards else []
    return draw(st.permutations(exposures)), draw(st.permutations([*rewards, *again]))


def counted(exposures: list[Exposure], rewards: list[Reward]) -> Counts:
    """The definition, event by event."""
    edges, found = lag_edges(WINDOW_S), {}
    once = {r.reward_id: r for r in rewards}.values()
    for x in exposures:
        for r in once:
            lag = r.ts - x.ts
            counts = r.unit == x.unit and r.experiment in {None, x.experiment} and r.value and -5 <= lag <= WINDOW_S
            if not counts or x.holdback or r.metric == "most":
                continue
            j = list(METRICS).index(r.metric)
            rows = found.setdefault((x.experiment, int(x.ts // PERIOD_S)), {}).setdefault(x.arm, np.zeros((2, LAG_BINS), int))
            rows[j, max(0, int(np.searchsorted(edges, lag)) - 1)] += 1
    return {at: {arm: [_row(row) for row in rows] for arm, rows in arms.items()} for at, arms in found.items()}


def _row(row: np.ndarray) -> list[int]:  # type: ignore[type-arg]
    return row.tolist() if row.any() else []


def lags_of(partition: Partition) -> Counts:
    found: Counts = {}
    for cell, name in enumerate(partition.fold.cells.names):
        if rows := partition.fold.lags.of_cell(cell):
            dense = [[row.get(i, 0) for i in range(LAG_BINS)] if row else [] for row in (*rows, {}, {})]
            found.setdefault((name.experiment, name.period), {})[name.arm] = dense[:2]
    return found


@given(logs(), st.integers(0, 10_000), st.integers(1, 5))
def test_lags_are_those_of_a_slow_count(log: tuple[list[Exposure], list[Reward]], seed: int, size: int) -> None:
    exposures, rewards = log
    xs, rs = ([events_of(part[i : i + size]) for i in range(0, len(part), size)] for part in log)
    made = take_anyhow(Partition([CHAT, OTHER]), xs, rs, random.Random(seed))
    assert lags_of(made) == counted(exposures, rewards)
    made.restart()
    assert lags_of(made) == counted(exposures, rewards)
