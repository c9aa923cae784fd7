"""Thompson sampling as the papers play it: a draw from every posterior for every unit, and the largest draw is served.

Written without the allocator, so that it can contradict it; vectorised over runs, so that a decision a unit over a million units
takes a minute. A batch shares its posteriors, as with batched feedback. Bernoulli arms, Beta(1, 1) priors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from allocator.quadrature import FloatArray
from allocator.simulate import Estimate

__all__ = ["Retiring", "mean_regret", "thompson"]


@dataclass(frozen=True, slots=True)
class Retiring:
    """In each step, with probability `rate`, one arm is replaced by a new one of rate ~ Beta(a, b)."""

    rate: float
    a: float
    b: float


def mean_regret(regret: FloatArray) -> Estimate:
    """Over runs, shape (runs,)."""
    return Estimate(float(regret.mean()), float(regret.std(ddof=1) / len(regret) ** 0.5))


def thompson(
    rates: Callable[[int], FloatArray] | FloatArray,
    *,
    runs: int,
    horizon: int,
    batch: int,
    seed: int,
    retiring: Retiring | None = None,
    window: int | None = None,
) -> FloatArray:
    """True regret of each run, shape (runs,).

    Parameters
    ----------
    rates : shape (arms,), or a function of the step; drawn from `retiring`'s prior in each run if there is one.
    window : only the last so many units count; None: all.
    """
    rng = np.random.default_rng(seed)
    at = rates if callable(rates) else lambda _step: rates
    arms = len(at(0))
    truth = np.tile(at(0), (runs, 1)) if retiring is None else rng.beta(retiring.a, retiring.b, (runs, arms))
    a, b = np.ones((runs, arms)), np.ones((runs, arms))
    regret, rows = np.zeros(runs), np.arange(runs)[:, None]
    served, rewards = np.zeros((2, runs, horizon), dtype=np.int8) if window else np.zeros((2, runs, 0), dtype=np.int8)
    for start in range(0, horizon, batch):
        units = min(batch, horizon - start)
        arm = rng.beta(a[:, None, :], b[:, None, :], (runs, units, arms)).argmax(axis=2)
        if retiring is None:
            steps = np.stack([at(step) for step in range(start, start + units)])[None].repeat(runs, axis=0)
            kept = np.ones(arm.shape, dtype=bool)
        else:
            steps, kept = _retire(rng, retiring, truth, arm, a, b)
        mine = np.take_along_axis(steps, arm[:, :, None], axis=2)[:, :, 0]
        regret += (steps.max(axis=2) - mine).sum(axis=1)
        reward = rng.random(arm.shape) < mine
        np.add.at(a, (rows.repeat(units, axis=1), arm), reward & kept)
        np.add.at(b, (rows.repeat(units, axis=1), arm), ~reward & kept)
        if window:
            served[:, start : start + units], rewards[:, start : start + units] = arm, reward
            gone = slice(max(0, start - window), max(0, start + units - window))
            old = served[:, gone]
            np.add.at(a, (rows.repeat(old.shape[1], axis=1), old), -rewards[:, gone].astype(float))
            np.add.at(b, (rows.repeat(old.shape[1], axis=1), old), rewards[:, gone].astype(float) - 1.0)
    return regret


def _retire(
    rng: np.random.Generator, retiring: Retiring, truth: FloatArray, arm: FloatArray, a: FloatArray, b: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Rates at each step of the batch, and which units count after it. Changes `truth`, and `a` and `b` of new arms."""
    runs, units = arm.shape
    steps, kept = truth[:, None, :].repeat(units, axis=1), np.ones(arm.shape, dtype=bool)
    for run, step in np.argwhere(rng.random((runs, units)) < retiring.rate):
        k = rng.integers(truth.shape[1])
        truth[run, k] = rng.beta(retiring.a, retiring.b)
        steps[run, step:, k] = truth[run, k]
        kept[run, :step] &= arm[run, :step] != k
        a[run, k] = b[run, k] = 1.0
    return steps, kept
