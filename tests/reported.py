"""A made-up experiment as it would be read from the topics: for the tests of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from allocator.decide import decide_all
from allocator.experiment import Experiment
from allocator.moments import layout_of
from allocator.spec import load_experiment
from allocator.standing import Standing
from streams.allocate.agent import audit_of
from streams.allocate.totals import Totals
from streams.records import COUNTERS, Cell, Partial
from streams.report import Inputs

__all__ = ["DAY_S", "START", "inputs_of", "nothing", "spec"]

DAY_S = 86400.0
START = 20_000
"""The first period, a day."""
COUNTS = {
    "exposures.applied": 24_000,
    "exposures.duplicate": 31,
    "rewards.applied": 9000,
    "rewards.waiting": 12,
    "rewards.late": 3,
}


def spec(**changes: Any) -> Experiment:
    """Two metrics, a bandit with an hour's window."""
    wanted = {
        "experiment": "shop",
        "arms": ["old", "new", "bold"],
        "metrics": {"clicks": {"type": "binary", "window": "1h"}, "cost": {"type": "value", "direction": "down", "window": "1h"}},
        "objective": "clicks",
        "period": "1d",
        "owner": "team-shop",
        "hypothesis": "a new ranker sells more",
        "constraints": {"warmup": 100, "max_shift": 1, "dead_band": 0},
    }
    return load_experiment({**wanted, **changes})


def inputs_of(
    experiment: Experiment,
    rates: Mapping[str, Sequence[float]],
    units: int = 1000,
    days: int = 6,
    seed: int = 0,
    standing: Standing | None = None,
    after_s: float = 0.5 * DAY_S,
    fade: float = 0.0,
) -> Inputs:
    """The first metric is 0 or 1, the second an arm's place × 0.02 above 1; the first covariate knows most of the second.

    `rates`: by segment, of every arm; `units` a segment and day, with the shares in force; `fade`: of the last arm, a day.
    """
    rng, totals, weights, decisions = np.random.default_rng(seed), Totals(), {}, []
    layout, arms = layout_of(len(experiment.columns)), experiment.arm_ids
    for day in range(days):
        now = (START + day) * DAY_S
        for segment, decision in decide_all(experiment, totals.training(experiment), weights, now).items():
            weights[segment] = decision.weights
            if segment is None:
                decisions.append(audit_of(decision, decision.weights, totals))
        cells = []
        for segment, row in rates.items():
            ppm = [arm.ppm for arm in weights.get(segment or None, weights[None]).arms]
            for k, n in enumerate(rng.multinomial(units, np.array(ppm) / 1e6).tolist()):
                sums, w = layout.empty(), round(1e12 / max(ppm[k], 1))
                layout.enter(sums, w, n)
                rate = row[k] - (fade * day if k == len(arms) - 1 else 0.0)
                y, cost = rng.random(n) < rate, rng.normal(1 + 0.02 * k, 0.3, n)
                known = cost - 0.02 * k if experiment.covariates else cost  # of a unit, whatever arm it gets
                cost += rng.normal(0, 0.2, n) if experiment.covariates else 0.0
                for hit, price, before in zip(y.tolist(), cost.tolist(), known.tolist(), strict=True):
                    values = [0] * len(experiment.columns)
                    layout.change(sums, w, values, 0, int(hit))
                    layout.change(sums, w, values, 1, round(price * 1e6))
                    if experiment.covariates:
                        layout.change(sums, w, values, experiment.covariate_places[0], round(before * 1e6))
                cells.append(Cell(segment, arms[k], False, sums))
        if experiment.holdback:
            held = layout.empty()
            layout.enter(held, 1_000_000, units // 10)
            cells.append(Cell("", experiment.control, True, held))
        for cell in cells:
            totals.replace(Partial(experiment=experiment.experiment, partition=0, period=START + day, seq=day + 1, cell=cell))
    totals.replace(Partial(experiment=experiment.experiment, partition=0, period=COUNTERS, seq=99, counters=COUNTS))
    now = (START + days) * DAY_S + after_s
    for segment, decision in decide_all(experiment, totals.training(experiment), weights, now).items():
        weights[segment] = decision.weights
    if standing is not None and None in weights:
        weights[None] = msgspec.structs.replace(weights[None], standing=standing)
    return Inputs.of(experiment, totals, list(weights.values()), decisions, now)


def nothing(experiment: Experiment) -> Inputs:
    """Applied, and no more."""
    return Inputs.of(experiment, Totals(), [], [], START * DAY_S)
