"""Telling the best arm: the characteristic time of Garivier & Kaufmann, and how long track-and-stop takes."""

from __future__ import annotations

from functools import partial

import numpy as np

from allocator.policies.characteristic_time import Bernoulli, optimal_proportions
from allocator.simulate import Plan
from tests.reproduce.policies import bernoulli, outcome, rates
from tests.reproduce.rows import Answer, Row, Study, exactly

__all__ = ["STUDIES"]

RATES, DELTA = (0.5, 0.45, 0.43, 0.4), 0.1
PROPORTIONS = (0.4165, 0.3903, 0.1362, 0.0570)
HORIZON = 200_000
"""No run comes near."""
SECTION = "Policies: telling the best arm"
SOURCE = "Garivier & Kaufmann 2016"
DRAWN = (
    "The source steers the counts of arms to the proportions at every step (D-tracking); here units are drawn by published "
    "shares, which takes longer. The rest the same, in 240 runs each: 4197 ± 176 by D-tracking, 4837 ± 197 by C-tracking, "
    "4717 ± 186 by drawing."
)


def characteristic(_runs: int, _seed: int) -> Answer:
    """T* and w*, without chance."""
    proportions, time = optimal_proportions(Bernoulli(np.array(RATES)))
    return {"T*": exactly(time), **{f"w*{k}": exactly(proportion) for k, proportion in enumerate(proportions)}}


def stopping_time(runs: int, seed: int, *, batch: int) -> Answer:
    """Units until track-and-stop says that it knows, and how often it is right."""
    experiment = bernoulli(len(RATES), {"name": "track-and-stop", "delta": DELTA})
    plan = Plan(HORIZON, batch, seed, until_decided=True)
    found = outcome(experiment, {"arms": rates(RATES)}, plan, runs)
    return {"time": found.time_to_decision, "right": found.decided_right, "decided": found.decided}


def _characteristic() -> Study:
    time = Row("T*", "T*, rates .5, .45, .43, .4", 989.79, 0.01, f"{SOURCE}, Theorem 1", "S")
    proportions = [
        Row(f"w*{k}", f"w*, share of the arm of rate {rate:g}", published, 1e-3, f"{SOURCE}, Theorem 5", "S")
        for k, (rate, published) in enumerate(zip(RATES, PROPORTIONS, strict=True))
    ]
    return Study("characteristic-time", SECTION, "computed", (time, *proportions), characteristic, 1, 1, 0.1)


def _stopping() -> list[Study]:
    right = Row("right", "named arm is the best", 1 - DELTA, 0.0, "by construction", "C", "≥")
    decided = Row("decided", f"runs that stop within {HORIZON:,} units", 1.0, 0.0, "by construction", "C")
    each = "E[τ], rates .5, .45, .43, .4, δ = .1, B = 1"
    paper = Row("time", each, 4052, 405, f"{SOURCE}, Table 1, 10 % allowed", "R", differs=DRAWN)
    before = Row("time", each, 3860, 2 * 144, "simulated: 3860 ± 144", "S", differs=DRAWN)
    batched = Row("time", each.replace("B = 1", "B = 500"), 5422, 271, "simulated, no error given; 5 % allowed", "S")
    return [
        Study(
            "track-and-stop-1",
            SECTION,
            "through decide",
            (paper, before, right, decided),
            partial(stopping_time, batch=1),
            50,
            0,
            450.0,
        ),
        Study(
            "track-and-stop-500",
            SECTION,
            "through decide",
            (batched, right, decided),
            partial(stopping_time, batch=500),
            600,
            60,
            15.0,
        ),
    ]


STUDIES: tuple[Study, ...] = (_characteristic(), *_stopping())
