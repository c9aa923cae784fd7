"""Ever-miscoverage under peeking and adaptive allocation: how often a 95 % interval misses the truth at any of its looks.

The world of shared numbers: batched Thompson, 100 batches of 100 units, three equal arms of rate .1, floor 2 %, a look after
every batch. `coverage(method, runs, seed)` says in which share of the runs the method's interval ever missed, with its standard
error; a method valid at any time stays below alpha, the naive interval does not. Runs are vectorised, so 4000 of them take
seconds.

An interval misses the truth exactly when the e-process behind it reaches 1/alpha at the truth, which is what is evaluated here;
that the intervals of the library are those sets is a unit test. Of a lift both parts are asked, which is more than its interval
can miss.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import log, sqrt

import numpy as np
import numpy.typing as npt

from allocator.inference import asymptotic, bernoulli, empirical_bernstein
from allocator.inference.boundaries import best_rho, normal_log_mixture
from allocator.inference.lifts import DIFFERENCE_SHARE
from allocator.inference.period_sums import PeriodSums
from allocator.inference.pseudo_outcomes import Contrast, residuals
from allocator.quadrature import FloatArray

__all__ = ["ALPHA", "INVALID", "METHODS", "World", "at_end", "coverage", "play"]

ALPHA = 0.05
CHUNK = 500
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class World:
    """A batched Thompson experiment on binary rewards, or on values.

    Parameters
    ----------
    rates : of the arms; arm 0 is control.
    batches, size : batches of units; weights move between batches.
    floor : share every arm has at least.
    batches_per_period : more than 1 makes propensities differ within a period.
    drift : rates are multiplied by 1 + drift · sin, one wave over the run.
    sigma : above 0, rewards are log-normal with this σ and the rates as means, and Thompson's posteriors are normal.
    """

    rates: tuple[float, ...] = (0.1, 0.1, 0.1)
    batches: int = 100
    size: int = 100
    floor: float = 0.02
    batches_per_period: int = 1
    drift: float = 0.0
    sigma: float = 0.0

    def factor(self, batch: int) -> float:
        """What every rate is multiplied by in a batch."""
        return 1.0 + self.drift * float(np.sin(2 * np.pi * batch / self.batches))

    @property
    def average_factors(self) -> FloatArray:
        """Running mean of the factors at the end of each period, shape (periods, 1)."""
        factors = np.array([self.factor(t) for t in range(self.batches)])
        running = np.cumsum(factors) / np.arange(1, self.batches + 1)
        return running[self.batches_per_period - 1 :: self.batches_per_period, None]


def coverage(method: str, runs: int = 4000, seed: int = 0, world: World = World()) -> tuple[float, float]:
    """Share of runs in which `method` (a name of `METHODS` or `INVALID`) ever missed, and its standard error."""
    missed = [
        (METHODS | INVALID)[method](play(world, min(CHUNK, runs - start), (seed, start)), world)
        for start in range(0, runs, CHUNK)
    ]
    share = float(np.concatenate(missed).mean())
    return share, sqrt(share * (1 - share) / runs)


def at_end(estimator: str, runs: int = 4000, seed: int = 0, world: World = World()) -> tuple[float, float, float]:
    """Relative bias of arm 1's mean after the last batch, its standard error, and how often estimate ± 1.96 se held the truth.

    `estimator` is "sample mean", "ipw" (weighted outcomes) or "aipw" (with a predictable model).
    """
    estimates, held = [], []
    for start in range(0, runs, CHUNK):
        sums = play(world, min(CHUNK, runs - start), (seed, start))
        truth = float(_truth(world, Contrast())[-1, 1])
        estimate, se = _estimate(estimator, sums)
        estimates.append(estimate / truth - 1)
        held.append(np.abs(estimate - truth) <= 1.96 * se)
    bias = np.concatenate(estimates)
    return float(bias.mean()), float(bias.std()) / sqrt(runs), float(np.concatenate(held).mean())


@lru_cache(maxsize=16)
def play(world: World, runs: int, seed: tuple[int, int]) -> PeriodSums:
    """Sums of shape (runs, periods, arms). Thompson's shares are by quadrature on a grid; whatever they err, units are drawn with
    them, so that they are the true propensities.
    """
    rng = np.random.default_rng(seed)
    arms, rates = len(world.rates), np.array(world.rates)
    n, y, y2, w = np.zeros((4, runs, world.batches, arms))
    for t in range(world.batches):
        mean, sd, log_density = _posterior(n[:, :t].sum(axis=1), y[:, :t].sum(axis=1), y2[:, :t].sum(axis=1), world)
        shares = world.floor + (1 - arms * world.floor) * _prob_best(mean, sd, log_density)
        n[:, t], w[:, t] = rng.multinomial(world.size, shares), 1 / shares
        y[:, t], y2[:, t] = _rewards(rng, n[:, t].astype(int), rates * world.factor(t), world)
    sums = (n, y, y2, w * n, w * w * n, w * y, w * w * y, w * w * y2)
    periods = (runs, world.batches // world.batches_per_period, world.batches_per_period, arms)
    return PeriodSums(*(x.reshape(periods).sum(axis=2) for x in sums), present=np.ones(arms, dtype=bool))


def _rewards(rng: np.random.Generator, n: npt.NDArray[np.int_], means: FloatArray, world: World) -> tuple[FloatArray, FloatArray]:
    """Sums of the rewards of so many units, and of their squares; shape (runs, arms)."""
    if not world.sigma:
        successes = rng.binomial(n, means).astype(float)
        return successes, successes
    values = rng.lognormal(-(world.sigma**2) / 2, world.sigma, (len(n), world.size))
    ends = np.cumsum(n, axis=1)

    def by_arm(x: FloatArray) -> FloatArray:
        running = np.concatenate([np.zeros((len(n), 1)), np.cumsum(x, axis=1)], axis=1)
        return np.diff(np.take_along_axis(running, ends, axis=1), axis=1, prepend=0.0)

    return means * by_arm(values), means**2 * by_arm(values**2)


Density = Callable[[FloatArray], FloatArray]


def _posterior(n: FloatArray, y: FloatArray, y2: FloatArray, world: World) -> tuple[FloatArray, FloatArray, Density]:
    """Mean, standard deviation, shape (runs, arms), and ln of the density but for a constant: Beta from a flat prior, or normal
    with the variance seen, from one unit of mean 1 and variance 1.
    """
    if not world.sigma:
        a, b = 1 + y, 1 + n - y
        mean = a / (a + b)
        sd = np.sqrt(mean * (1 - mean) / (a + b + 1))
        return mean, sd, lambda x: (a - 1)[..., None] * np.log(x) + (b - 1)[..., None] * np.log1p(-x)
    mean = (1 + y) / (1 + n)
    sd = np.sqrt(np.maximum((2 + y2) / (1 + n) - mean**2, 1e-9) / (1 + n))
    return mean, sd, lambda x: -0.5 * ((x - mean[..., None]) / sd[..., None]) ** 2


def _prob_best(mean: FloatArray, sd: FloatArray, log_density: Density, nodes: int = 129) -> FloatArray:
    """P(best), shape (runs, arms), on one grid a run."""
    low, high = np.maximum((mean - 6 * sd).min(axis=1), 1e-9), (mean + 6 * sd).max(axis=1)
    if (mean < 1).all():
        high = np.minimum(high, 1 - 1e-9)
    x = (low[:, None] + (high - low)[:, None] * np.linspace(0, 1, nodes))[:, None, :]
    density = log_density(x)
    density = np.exp(density - density.max(axis=2, keepdims=True))
    density /= density.sum(axis=2, keepdims=True)
    below = np.cumsum(density, axis=2) - density / 2
    best = [(density[:, k] * np.prod(np.delete(below, k, axis=1), axis=1)).sum(axis=1) for k in range(mean.shape[1])]
    p = np.stack(best, axis=1)
    return p / p.sum(axis=1, keepdims=True)


def _estimate(estimator: str, sums: PeriodSums) -> tuple[FloatArray, FloatArray]:
    """Arm 1's mean and its standard error, shape (runs,)."""
    n, units = sums.n.sum(axis=-2)[..., 1], sums.units.sum(axis=-2)[..., 0]
    if estimator == "sample mean":
        rate = sums.y.sum(axis=-2)[..., 1] / n
        return rate, np.sqrt(rate * (1 - rate) / n)
    if estimator == "ipw":
        total, squares = sums.wy, sums.w2y2
    else:
        found = residuals(sums, first=0.5)
        total = found.total + found.model * sums.units
        squares = found.squares + 2 * found.model * found.total + found.model**2 * sums.units
    mean = total.sum(axis=-2)[..., 1] / units
    return mean, np.sqrt(squares.sum(axis=-2)[..., 1] / units - mean**2) / np.sqrt(units)


# -- whether each run ever missed: arm 1's mean, its difference from arm 0, or its lift ------------------------------------------


def _ever(excluded: BoolArray) -> BoolArray:
    return excluded[..., 1].any(axis=-1)


def _exceeds(log_e: FloatArray, alpha: float = ALPHA) -> BoolArray:
    return log_e >= -log(alpha)


def _truth(world: World, contrast: Contrast) -> FloatArray:
    rates = np.array(world.rates)
    return contrast.signed(world.average_factors * rates)


def _naive(sums: PeriodSums, world: World, *, difference: bool) -> BoolArray:
    n, y, y2 = (np.cumsum(x, axis=-2) for x in (sums.n, sums.y, sums.y2))
    rate = np.divide(y, n, out=np.full(n.shape, np.nan), where=n > 0)
    variance = np.maximum(y2 / np.maximum(n, 1) - rate**2, 0.0) / np.maximum(n, 1)
    contrast = Contrast(0) if difference else Contrast()
    error = contrast.signed(rate) - _truth(world, contrast)
    return _ever(np.abs(error) > 1.96 * np.sqrt(contrast.combined(variance, variance)))


def _naive_aipw(sums: PeriodSums, world: World) -> BoolArray:
    """The estimate ± 1.96 standard errors, at every look from 1000 units on."""
    found, t = residuals(sums, first=0.5), np.cumsum(sums.units, axis=-2)
    total = np.cumsum(found.total + found.model * sums.units, axis=-2)
    squares = np.cumsum(found.squares + 2 * found.model * found.total + found.model**2 * sums.units, axis=-2)
    mean = total / t
    se = np.sqrt(np.maximum(squares / t - mean**2, 0.0) / t)
    return _ever((np.abs(mean - _truth(world, Contrast())) > 1.96 * se)[..., _looks_before_1000(world) :, :])


def _looks_before_1000(world: World) -> int:
    return 1000 // world.size // world.batches_per_period - 1


def _beta_mean(sums: PeriodSums, world: World) -> BoolArray:
    s, n = np.cumsum(sums.y, axis=-2), np.cumsum(sums.n, axis=-2)
    return _ever(_exceeds(bernoulli.log_e(s, n - s, np.array(world.rates))))


def _beta_pair(sums: PeriodSums, world: World) -> BoolArray:
    s, n = np.cumsum(sums.y, axis=-2), np.cumsum(sums.n, axis=-2)
    each = bernoulli.log_e(s, n - s, np.array(world.rates))
    return _ever(_exceeds(each + each[..., 0, None]))


def _bounded_mean(sums: PeriodSums, world: World) -> BoolArray:
    return _ever(_exceeds(empirical_bernstein.of_own_units(sums).log_e(np.array(world.rates))))


def _bounded(sums: PeriodSums, world: World, *, contrast: Contrast, floor: bool = True, alpha: float = ALPHA) -> BoolArray:
    evidence = empirical_bernstein.of_contrast(sums, contrast, world.floor if floor else None)
    return _ever(_exceeds(evidence.log_e(_truth(world, contrast)), alpha))


def _limit_mean(sums: PeriodSums, world: World) -> BoolArray:
    return _ever(_exceeds(asymptotic.of_own_units(sums).log_e(np.array(world.rates))))


def _limit(sums: PeriodSums, world: World, *, contrast: Contrast, units_min: float = 100.0, alpha: float = ALPHA) -> BoolArray:
    return _ever(_exceeds(asymptotic.of_contrast(sums, contrast, units_min).log_e(_truth(world, contrast)), alpha))


def _plain_limit(sums: PeriodSums, world: World) -> BoolArray:
    """The recipe without `asymptotic`'s rules: the variance that the outcomes show, from 1000 units on."""
    found, contrast, first = residuals(sums, first=0.5), Contrast(0), _looks_before_1000(world)
    period = contrast.signed(found.total) + sums.units * contrast.signed(found.model - _truth(world, Contrast()))
    variance = np.cumsum(contrast.combined(found.squares, found.squares), axis=-2)[:, first:]
    log_e = normal_log_mixture(np.cumsum(period, axis=-2)[:, first:], variance, best_rho(variance[:, :1] + 1e-9))
    return _ever(_exceeds(log_e))


def _lift(part: Callable[..., BoolArray]) -> Callable[[PeriodSums, World], BoolArray]:
    def missed(sums: PeriodSums, world: World) -> BoolArray:
        difference = part(sums, world, contrast=Contrast(0), alpha=DIFFERENCE_SHARE * ALPHA)
        return difference | part(sums, world, contrast=Contrast.of_control(0), alpha=(1 - DIFFERENCE_SHARE) * ALPHA)

    return missed


INVALID: dict[str, Callable[[PeriodSums, World], BoolArray]] = {
    "naive mean": lambda sums, world: _naive(sums, world, difference=False),
    "naive aipw mean": _naive_aipw,
    "naive difference": lambda sums, world: _naive(sums, world, difference=True),
    "plain asymptotic difference": _plain_limit,
}
"""For the contrast: intervals that do not hold under peeking or with few units."""

METHODS: dict[str, Callable[[PeriodSums, World], BoolArray]] = {
    "beta-mixture mean": _beta_mean,
    "beta-mixture difference and lift": _beta_pair,
    "empirical-bernstein mean": _bounded_mean,
    "empirical-bernstein difference": lambda sums, world: _bounded(sums, world, contrast=Contrast(0)),
    "empirical-bernstein difference without a floor": lambda sums, world: _bounded(
        sums, world, contrast=Contrast(0), floor=False
    ),
    "empirical-bernstein lift": _lift(_bounded),
    "asymptotic mean": _limit_mean,
    "asymptotic difference": lambda sums, world: _limit(sums, world, contrast=Contrast(0)),
    "asymptotic lift": _lift(_limit),
}
