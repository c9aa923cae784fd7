"""Sample-ratio checks while the weights move: how often each alarms, with nothing lost and with a loss in one arm.

The world: arms whose shares follow their measured rates, floor 2 %, 200 batches of 500 units. All arms are equally good, so the
shares wander for as long as the experiment runs. A chi-square against the first, even split and one against the expected counts,
looked at after each batch, stand beside the e-process.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from allocator.inference.srm import SrmState
from allocator.quadrature import FloatArray

RATE, FLOOR, SIZE, EARLY = 0.1, 0.02, 500, 85

Rate = tuple[float, float]
"""A share of runs, and its standard error."""


@dataclass(frozen=True, slots=True)
class AlarmRates:
    """How many of the runs alarm.

    Parameters
    ----------
    e_process : ever within the run, for `SrmState`.
    early : by batch 85, for `SrmState`.
    median_batch : batch of its alarm, among runs that have one; nan without any.
    right_arm : share of its alarms that name the arm with the loss; nan without any.
    expected_counts : ever, for a chi-square against the expected counts after each batch.
    even_split : at the end, one look, for a chi-square against even shares.
    """

    e_process: Rate
    early: Rate
    median_batch: float
    right_arm: float
    expected_counts: Rate
    even_split: Rate


def simulate(runs: int, seed: int, loss: float = 0.0, arms: int = 4, batches: int = 200, alpha: float = 0.001) -> AlarmRates:
    """`runs` experiments of that many batches; a share `loss` of the second arm's units never becomes known."""
    rng = np.random.default_rng(seed)
    state, successes = SrmState.start([f"arm-{k}" for k in range(arms)], checks=(runs,)), np.zeros((runs, arms))
    limit, peeked = stats.chi2(arms - 1).isf(alpha), np.zeros(runs, dtype=bool)
    found = np.full(runs, np.nan)
    for batch in range(1, batches + 1):
        shares = moving_shares(state.observed, successes)
        counts = rng.multinomial(SIZE, shares)
        counts[:, 1] -= rng.binomial(counts[:, 1], loss)
        successes += rng.binomial(counts, RATE)
        state = state.update(counts, shares)
        found[np.isnan(found) & (state.log_e_peak >= -np.log(alpha))] = batch
        peeked |= ((state.observed - state.expected) ** 2 / state.expected).sum(axis=1) > limit
    even = state.observed.sum(axis=1, keepdims=True) / arms
    static = ((state.observed - even) ** 2 / even).sum(axis=1) > limit
    alarmed = ~np.isnan(found)
    z = (state.observed - state.expected) / np.sqrt(state.variance)
    named = (np.abs(z) * np.where(z < 0, 1 + 1e-9, 1.0)).argmax(axis=1)  # as `SrmState.result` does
    return AlarmRates(
        e_process=_share(alarmed),
        early=_share(found <= EARLY),
        median_batch=float(np.median(found[alarmed])) if alarmed.any() else float("nan"),
        right_arm=float((named[alarmed] == 1).mean()) if alarmed.any() else float("nan"),
        expected_counts=_share(peeked),
        even_split=_share(static),
    )


def null_rates(runs: int, seed: int) -> dict[str, Rate]:
    """For the report: alarms at α = .001 with nothing lost, of the e-process and of the two chi-squares."""
    found = simulate(runs, seed)
    return {"e-process": found.e_process, "expected counts": found.expected_counts, "even split": found.even_split}


def loss_rates(runs: int, seed: int) -> dict[str, Rate]:
    """For the report: a loss of 5 % in one arm found within 200 batches, by batch 85, and among two and ten arms."""
    four, two, ten = (simulate(runs, seed, loss=0.05, arms=arms) for arms in (4, 2, 10))
    return {"found": four.e_process, "by batch 85": four.early, "two arms": two.e_process, "ten arms": ten.e_process}


def moving_shares(units: FloatArray, successes: FloatArray) -> FloatArray:
    """Shares that grow with an arm's rate, e-fold a standard error, as a bandit's do; shape (runs, arms)."""
    rate = (successes + 1) / (units + 1 / RATE)
    se = np.sqrt((rate * (1 - rate) / (units + 1 / RATE)).mean(axis=1, keepdims=True))
    weights = np.exp((rate - rate.mean(axis=1, keepdims=True)) / se)
    return np.asarray(FLOOR + (1 - units.shape[1] * FLOOR) * weights / weights.sum(axis=1, keepdims=True))


def _share(happened: FloatArray) -> Rate:
    p = float(happened.mean())
    return p, float(np.sqrt(p * (1 - p) / len(happened)))


if __name__ == "__main__":
    for name, rate in {**null_rates(2000, seed=1), **loss_rates(2000, seed=2)}.items():
        print(f"{name}: {rate[0]:.4f} ± {rate[1]:.4f}")
