"""Regret of Thompson sampling in the worlds of the papers: the bare policy, its constraints switched off.

"Through decide" is the simulator with production's decisions: P(best) by quadrature as weights, units drawn by them. Where a
paper decides at every unit of a million, the same policy is played by `each_unit`, draw by draw; rows that are played both ways
show that the two are one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from allocator.experiment import Experiment
from allocator.quadrature import FloatArray
from allocator.simulate import Outcome, Plan, load_world, simulate
from allocator.spec import load_experiment
from tests.reproduce.each_unit import Retiring, mean_regret, thompson
from tests.reproduce.rows import Answer, Row, Study

__all__ = ["DRIFT", "LOW_CLICKS", "OFF", "STUDIES", "bernoulli", "outcome"]

OFF = {"floor": 0, "warmup": 0, "max_shift": 1, "dead_band": 0}
"""Constraints that do nothing."""
LOW_CLICKS = (0.1, *[0.05] * 3, *[0.02] * 3, *[0.01] * 3)
DRIFT = ({"rates": (0.5, 0.3, 0.4)}, {"at": 3000, "rates": (0.5, 0.3, 0.9)}, {"at": 5000, "rates": (0.5, 0.3, 0.4)})
WINDOW = 1000
SECTION = "Policies: true regret"
CHAPELLE_LI = "Chapelle & Li 2011"


def bernoulli(arms: int, policy: str | Mapping[str, Any] = "thompson", **fields: Any) -> Experiment:
    """One binary metric, no constraints, so many arms."""
    spec = {"experiment": "paper", "arms": [f"arm-{k}" for k in range(arms)], "metrics": {"click": "binary"}, "policy": policy}
    return load_experiment({**spec, "constraints": OFF, **fields})


def rates(of: Sequence[float]) -> dict[str, Any]:
    """A world's `arms` for `bernoulli`."""
    return {f"arm-{k}": {"click": rate} for k, rate in enumerate(of)}


def outcome(experiment: Experiment, world: Mapping[str, Any], plan: Plan, runs: int, baseline: str | None = None) -> Outcome:
    """The simulator's, in this process."""
    return simulate(experiment, load_world(world, experiment), plan, runs, baseline)


# -- Chapelle & Li, Table 1 ------------------------------------------------------------------------------------------------------

TABLE_1 = {1: 9105, 3: 9199, 10: 9049, 32: 9451, 100: 11550, 316: 21594, 1000: 59256}
"""δ, steps between two updates → regret of Thompson at T = 1e6."""
RETIRING = Retiring(rate=1e-3, a=4, b=4)


def table_1_decide(runs: int, seed: int, *, delay: int, horizon: int = 1_000_000) -> Answer:
    """Ten items, of which one retires with probability 1e-3 a step; feedback every `delay` steps."""
    world = {"arms": {"*": {"click": {"beta": [4, 4]}}}, "retire": RETIRING.rate}
    return {f"{delay}": outcome(bernoulli(10), world, Plan(horizon, delay, seed), runs).final_regret}


def table_1_each(runs: int, seed: int, *, delay: int, horizon: int = 1_000_000) -> Answer:
    """The same, draw by draw."""
    regret = thompson(np.zeros(10), runs=runs, horizon=horizon, batch=delay, seed=seed, retiring=RETIRING)
    return {f"{delay}": mean_regret(regret)}


def _table_1() -> list[Study]:
    through = {100: (16, 90.0), 316: (24, 45.0), 1000: (40, 25.0)}
    draws = {1: (16, 35.0), 3: (16, 20.0), 10: (16, 15.0), 32: (16, 10.0)}
    studies = []
    for delay, published in TABLE_1.items():
        decides = delay in through
        runs, seconds = (through if decides else draws)[delay]
        what = f"regret at T = 1e6, ten items that retire, feedback every {delay} steps"
        row = Row(f"{delay}", what, published, 0.1 * published, f"{CHAPELLE_LI}, Table 1, Thompson", "V")
        compute = partial(table_1_decide if decides else table_1_each, delay=delay)
        how = "through decide" if decides else "draw by draw"
        studies.append(Study(f"table-1-{delay}", SECTION, how, (row,), compute, runs, 2 if delay == 1000 else 0, seconds))
    return studies


# -- Chapelle & Li, Figure 1 -----------------------------------------------------------------------------------------------------


def figure_1(runs: int, seed: int, *, gap: float, horizon: int = 1_000_000) -> Answer:
    """K = 10, the best rate .5, the others .5 - gap, updates every 100 units."""
    world = {"arms": rates([0.5, *[0.5 - gap] * 9])}
    return {f"{gap}": outcome(bernoulli(10), world, Plan(horizon, 100, seed), runs).final_regret}


def figure_1_each(runs: int, seed: int, *, gap: float, horizon: int = 1_000_000) -> Answer:
    """The same, draw by draw."""
    means = np.array([0.5, *[0.5 - gap] * 9])
    return {f"{gap}": mean_regret(thompson(means, runs=runs, horizon=horizon, batch=100, seed=seed))}


SELDOM = (
    "With ε = .02 about one run in a hundred hardly serves the best arm for a long time and loses several thousand, by either "
    "way of playing; the error of the mean is theirs."
)


def _figure_1() -> list[Study]:
    studies = []
    for gap, published, error, runs, draws in ((0.1, 338, 6, 24, 40), (0.02, 1061, 21, 48, 120)):
        what = f"regret at T = 1e6, K = 10, rates .5 and .5 − {gap:g}, updates every 100"
        source, note = f"{CHAPELLE_LI}, Figure 1, simulated: {published} ± {error}", SELDOM if gap == 0.02 else ""
        row = Row(f"{gap}", what, published, 2 * error, source, "S", note=note)
        decided, drawn = partial(figure_1, gap=gap), partial(figure_1_each, gap=gap)
        studies.append(Study(f"figure-1-{gap:g}", SECTION, "through decide", (row,), decided, runs, 0, 4.2 * runs))
        studies.append(Study(f"figure-1-{gap:g}-draws", SECTION, "draw by draw", (row,), drawn, draws, 0, 0.5 * draws))
    return studies


# -- ten arms with few clicks ----------------------------------------------------------------------------------------------------

LOW_CLICK_REGRET = {1: 90.8, 10: 91.5, 100: 91.3, 1000: 107.9}
"""B → regret at T = 20 000."""


def low_clicks_decide(runs: int, seed: int, *, batch: int) -> Answer:
    """Rates .1, .05 × 3, .02 × 3, .01 × 3."""
    plan = Plan(20_000, batch, seed)
    return {f"{batch}": outcome(bernoulli(10), {"arms": rates(LOW_CLICKS)}, plan, runs).final_regret}


def low_clicks_each(runs: int, seed: int, *, batch: int) -> Answer:
    """The same, draw by draw."""
    return {f"{batch}": mean_regret(thompson(np.array(LOW_CLICKS), runs=runs, horizon=20_000, batch=batch, seed=seed))}


def _low_clicks() -> list[Study]:
    plans: list[tuple[str, Callable[..., Answer], int, int, int, float]] = [
        ("draw by draw", low_clicks_each, 1, 400, 0, 15.0),
        ("through decide", low_clicks_decide, 1, 12, 0, 120.0),
        ("through decide", low_clicks_decide, 10, 60, 0, 60.0),
        ("draw by draw", low_clicks_each, 100, 400, 60, 4.0),
        ("through decide", low_clicks_decide, 100, 200, 4, 20.0),
        ("through decide", low_clicks_decide, 1000, 400, 40, 6.0),
    ]
    studies = []
    for how, compute, batch, runs, quick, seconds in plans:
        published = LOW_CLICK_REGRET[batch]
        what = f"regret at T = 20 000, ten low-click arms, B = {batch}"
        row = Row(f"{batch}", what, published, 0.03 * published, "simulated, no error given; 3 % allowed", "S")
        name = f"low-clicks-{batch}" + ("-draws" if compute is low_clicks_each else "")
        studies.append(Study(name, SECTION, how, (row,), partial(compute, batch=batch), runs, quick, seconds))
    return studies


# -- drift -----------------------------------------------------------------------------------------------------------------------

DRIFT_REGRET = {("thompson", 1): 770, ("thompson", 100): 821, ("sliding window", 1): 244, ("sliding window", 100): 315}


def drift_world() -> dict[str, Any]:
    """Rates .5, .3, .4; the third is .9 from step 3000 to 5000."""
    first, *later = DRIFT
    return {"arms": rates(first["rates"]), "changes": [{"at": c["at"], "arms": rates(c["rates"])} for c in later]}


def drift_rates(step: int) -> FloatArray:
    """The same at one step."""
    return np.array(next(stage["rates"] for stage in reversed(DRIFT) if stage.get("at", 0) <= step))


def drift_decide(runs: int, seed: int, *, policy: str, batch: int) -> Answer:
    """T = 10 000; the window's periods are as long as a batch."""
    spec = {"name": "sliding-window-thompson", "window": f"{WINDOW}s"} if policy == "sliding window" else policy
    experiment = bernoulli(3, spec, period=f"{batch}s")
    return {policy: outcome(experiment, drift_world(), Plan(10_000, batch, seed), runs).final_regret}


def drift_each(runs: int, seed: int, *, policy: str, batch: int) -> Answer:
    """The same, draw by draw."""
    window = WINDOW if policy == "sliding window" else None
    regret = thompson(drift_rates, runs=runs, horizon=10_000, batch=batch, seed=seed, window=window)
    return {policy: mean_regret(regret)}


def _drift() -> list[Study]:
    studies = []
    for (policy, batch), published in DRIFT_REGRET.items():
        each = batch == 1
        what = f"regret at T = 10 000, an arm that is best for a while, {policy}, B = {batch}"
        row = Row(policy, what, published, 0.05 * published, "simulated, no error given; 5 % allowed", "S")
        compute = partial(drift_each if each else drift_decide, policy=policy, batch=batch)
        how = "draw by draw" if each else "through decide"
        name = f"drift-{policy.replace(' ', '-')}-{batch}"
        studies.append(Study(name, SECTION, how, (row,), compute, 200, 0 if each else 10, 15.0))
    return studies


STUDIES: tuple[Study, ...] = (*_table_1(), *_figure_1(), *_low_clicks(), *_drift())
