"""The price of looking any time: half-widths at the last look, as multiples of a fixed-horizon interval's on the same units."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from allocator.inference import asymptotic, bernoulli, empirical_bernstein
from allocator.inference.period_sums import PeriodSums
from allocator.inference.pseudo_outcomes import Contrast
from allocator.quadrature import FloatArray
from tests.reproduce.coverage import ALPHA, World, play

__all__ = ["PRICES", "fixed_split", "price"]

Interval = tuple[FloatArray, FloatArray]


def fixed_split(arms: int, rate: float) -> World:
    """10 000 units in 100 periods at equal shares: the floor leaves Thompson nothing to move."""
    return World(rates=(rate,) * arms, floor=1 / arms)


def price(method: str, world: World, runs: int = 100, seed: int = 1) -> float:
    """Median over runs of the half-width of arm 1's interval, over the half-width of the z interval of the same quantity."""
    sums = play(world, runs, (seed, 0))
    n, y = sums.n.sum(axis=-2), sums.y.sum(axis=-2)
    rate = y / np.maximum(n, 1)
    variance = rate * (1 - rate) / np.maximum(n, 1)
    fixed = 1.96 * np.sqrt(variance[..., 1] + (variance[..., 0] if "difference" in method else 0.0))
    low, high = PRICES[method](sums, world)
    return float(np.median((high - low) / 2 / fixed))


def _last(interval: Interval) -> Interval:
    low, high = interval
    return low[..., -1, 1], high[..., -1, 1]


def _counts(sums: PeriodSums) -> Interval:
    n, y = sums.n.sum(axis=-2), sums.y.sum(axis=-2)
    return y, n - y


def _beta_mean(sums: PeriodSums, world: World) -> Interval:
    s, f = _counts(sums)
    return bernoulli.rate_interval(s[..., 1], f[..., 1], ALPHA)


def _beta_difference(sums: PeriodSums, world: World) -> Interval:
    s, f = _counts(sums)
    return bernoulli.difference_interval(s[..., 1], f[..., 1], s[..., 0], f[..., 0], ALPHA)


def _bounded(sums: PeriodSums, least: float | None) -> Interval:
    return _last(empirical_bernstein.of_contrast(sums, Contrast(0), least).last().interval(ALPHA))


PRICES: dict[str, Callable[[PeriodSums, World], Interval]] = {
    "beta-mixture mean": _beta_mean,
    "empirical-bernstein mean": lambda sums, world: _last(empirical_bernstein.of_own_units(sums).last().interval(ALPHA)),
    "asymptotic mean": lambda sums, world: _last(asymptotic.of_own_units(sums).interval(ALPHA)),
    "beta-mixture difference": _beta_difference,
    "empirical-bernstein difference": lambda sums, world: _bounded(sums, world.floor),
    "empirical-bernstein difference without a floor": lambda sums, world: _bounded(sums, None),
    "asymptotic difference": lambda sums, world: _last(asymptotic.of_contrast(sums, Contrast(0)).interval(ALPHA)),
}
