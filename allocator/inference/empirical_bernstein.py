"""Means of bounded values at any time, without any other assumption: empirical-Bernstein confidence sequences.

Values are in [0, 1] here. For X_t ≥ x̂_t - c, with x̂_t and c fixed before unit t and conditional mean μ_t,

    exp(λ Σ (X - μ) - ψ(cλ) / c² Σ (X - x̂)²),   ψ(λ) = -ln(1 - λ) - λ,   0 ≤ λ < 1/c

is a non-negative supermartingale (Fan, Grama & Liu 2015; Howard et al. 2021, Theorem 4), and so is its average over λ, the
gamma-exponential mixture of `boundaries` at s = Σ (X - μ), v = Σ (X - x̂)². It is evidence that the running mean of μ_t is
above a value; evidence that it is below one comes from the mirrored values 1 - y. An interval spends alpha/2 on each.

Three choices of X, from the sums of `period_sums` alone, with everything predicted from earlier periods:

- own units: X = y over the arm's units, c = 1. Needs no propensities; under drift it speaks of the units the arm was given.
- weighted: X = w 1_k y for a mean, c = 1; w 1_k y + w 1_c (1 - y) - 1 for a difference, c = 2. It has a least value however large
  w is, so no least propensity is needed (Waudby-Smith, Wu, Ramdas, Karampatziakis & Mineiro, arXiv 2210.10768).
- augmented: see `pseudo_outcomes`; c = 1 / least propensity. Less variance, worth its larger c from some thousand units on.

What is predicted before the first period ends is a guess: 0, ½ or 1, each its own supermartingale. The evidence is the average
over the guesses, and over weighted and augmented; an average of e-processes is one. That costs at most ln 4 in the exponent
while the data are few, and little later. Guessing ½ alone would leave a rate of .01 with 25 times its variance in the first
period.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np

from allocator.errors import ArgumentError
from allocator.inference.boundaries import gamma_exponential_log_mixture, log_threshold
from allocator.inference.period_sums import PeriodSums
from allocator.inference.pseudo_outcomes import Contrast, before, residuals
from allocator.inference.roots import bisect
from allocator.quadrature import FloatArray

__all__ = ["Evidence", "TwoSided", "augmented", "of_contrast", "of_own_units", "weighted"]

GUESSES = (0.0, 0.5, 1.0)
RHO = 10.0
"""Narrowest near Σ (X - x̂)² = 80 c²: a few hundred units."""
RHO_AUGMENTED = 40.0
"""Over c: the variance of augmented outcomes grows like c, hence their number of units per c² shrinks like 1 / c."""
PPM = 1e-6
"""Shares are rounded to whole parts per million: a propensity may be that much below the floor."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """That a running mean lies above a value. Arrays over looks, the end of each period: shape (..., periods, columns).

    Parameters
    ----------
    n : pseudo-outcomes.
    total : Σ X.
    squares : Σ (X - x̂)².
    c : X - x̂ ≥ -c.
    rho : in units of c².
    """

    n: FloatArray
    total: FloatArray
    squares: FloatArray
    c: float
    rho: float

    def log_e(self, mean: FloatArray) -> FloatArray:
        """ln of the e-process of "the running mean is at most `mean`"."""
        return gamma_exponential_log_mixture(self.total - self.n * mean, self.squares, self.rho * self.c**2, self.c)

    def last(self) -> Evidence:
        """At the last look alone; shape (..., 1, columns)."""
        return Evidence(self.n[..., -1:, :], self.total[..., -1:, :], self.squares[..., -1:, :], self.c, self.rho)


@dataclass(frozen=True, slots=True, eq=False)
class TwoSided:
    """Evidence of some kinds that a running mean θ is above a value, and that -θ is; within [least, most]."""

    above: tuple[Evidence, ...]
    below: tuple[Evidence, ...]
    least: float
    most: float

    def log_e(self, mean: float | FloatArray) -> FloatArray:
        """ln of the e-process of "the running mean is `mean`": half the larger of the two sides."""
        at = np.asarray(mean, dtype=np.float64)
        return np.maximum(_average(self.above, at), _average(self.below, -at)) - log(2)

    def interval(self, alpha: float) -> tuple[FloatArray, FloatArray]:
        """Low and high at every look; they hold for all looks together with probability 1 - alpha.

        low > high where no value is left, which for contrasts happens with probability alpha at most, or with wrong propensities.
        """
        low = _lowest(self.above, self.least, self.most, alpha / 2)
        high = -_lowest(self.below, -self.most, -self.least, alpha / 2)
        return low, high

    def last(self) -> TwoSided:
        """At the last look alone."""
        return TwoSided(tuple(e.last() for e in self.above), tuple(e.last() for e in self.below), self.least, self.most)


def of_own_units(sums: PeriodSums) -> TwoSided:
    """Every arm's mean from its own units; `sums` in [0, 1]."""
    n, y, n_before, y_before = np.cumsum(sums.n, axis=-2), np.cumsum(sums.y, axis=-2), before(sums.n), before(sums.y)
    above, below = [], []
    for guess in GUESSES:
        centre = (y_before + guess) / (n_before + 1)
        squares = np.cumsum(np.maximum(sums.y2 - 2 * centre * sums.y + centre**2 * sums.n, 0.0), axis=-2)
        above.append(Evidence(n, y, squares, 1.0, RHO))
        below.append(Evidence(n, -y, squares, 1.0, RHO))
    return TwoSided(tuple(above), tuple(below), 0.0, 1.0)


def of_contrast(sums: PeriodSums, contrast: Contrast, propensity_min: float | None) -> TwoSided:
    """A mean or difference under adaptive allocation; `sums` in [0, 1].

    Parameters
    ----------
    propensity_min : least propensity any unit could have had: the floor. None where there is none: weighted evidence alone.

    Raises
    ------
    ArgumentError : `propensity_min` is outside (0, 1], or the sums show a smaller propensity.
    """
    kinds = [weighted(sums, contrast)]
    if propensity_min is not None:
        kinds += [augmented(sums, contrast, propensity_min, guess) for guess in GUESSES]
    least = -1.0 if contrast.is_difference else 0.0
    return TwoSided(tuple(above for above, _ in kinds), tuple(below for _, below in kinds), least, 1.0)


def weighted(sums: PeriodSums, contrast: Contrast, rho: float = RHO) -> tuple[Evidence, Evidence]:
    """Importance-weighted evidence above and below. With rho = 1 and a unit a period, as vw-estimators' `cs.Interval`.

    That predicts x̂ without a bound; here x̂ ≤ c, without which X - x̂ ≥ -c need not hold.
    """
    n = contrast.counted(sums, sums.units)
    up, down = (sums.wy, sums.w2y2), (sums.w - sums.wy, sums.w2 - 2 * sums.w2y + sums.w2y2)
    sides = []
    for (same, same2), (mirrored, mirrored2) in ((up, down), (down, up)):
        total = contrast.counted(sums, contrast.combined(same, mirrored))
        raw = contrast.counted(sums, contrast.combined(same2, mirrored2))
        centre = np.minimum((before(total) + contrast.size / 2) / (before(n) + 1), contrast.size)
        squares = np.maximum(raw - 2 * centre * total + centre**2 * n, 0.0)
        sides.append([np.cumsum(x, axis=-2) for x in (n, total, squares)])
    (n, total, squares), (_, total_below, squares_below) = sides
    shift = (
        n if contrast.is_difference else 0.0
    )  # 1 + θ is what a difference's X is the mean of, 1 - θ is what a mean's mirror is
    c = float(contrast.size)
    return Evidence(n, total - shift, squares, c, rho), Evidence(n, total_below - n, squares_below, c, rho)


def augmented(sums: PeriodSums, contrast: Contrast, propensity_min: float, guess: float) -> tuple[Evidence, Evidence]:
    """Evidence above and below with x̂ the model's own contrast, so that X - x̂ = ± w (y - m) ≥ -c."""
    if not PPM < propensity_min <= 1:
        raise ArgumentError("propensity_min", propensity_min, "a probability above one in a million, or None")
    c = 1 / (propensity_min - PPM)
    if np.any(sums.w2 > c * sums.w * (1 + 1e-9)):
        raise ArgumentError(
            "propensity_min", propensity_min, "at most the least propensity; units with a smaller one were counted"
        )
    found = residuals(sums, guess)
    n = contrast.counted(sums, sums.units)
    period = contrast.signed(found.total) + sums.units * contrast.signed(found.model)
    total = np.cumsum(contrast.counted(sums, period), axis=-2)
    squares = np.cumsum(contrast.counted(sums, contrast.combined(found.squares, found.squares)), axis=-2)
    n = np.cumsum(n, axis=-2)
    rho = RHO_AUGMENTED / c
    return Evidence(n, total, squares, c, rho), Evidence(n, -total, squares, c, rho)


def _average(kinds: tuple[Evidence, ...], mean: FloatArray) -> FloatArray:
    """ln of the mean of their e-processes."""
    logs = np.stack([kind.log_e(mean) for kind in kinds])
    return np.asarray(np.logaddexp.reduce(logs, axis=0) - log(len(kinds)))


def _lowest(kinds: tuple[Evidence, ...], least: float, most: float, alpha: float) -> FloatArray:
    """The largest mean that the evidence excludes; `least` where it excludes none."""
    threshold = log_threshold(alpha)
    shape = kinds[0].total.shape
    return bisect(np.full(shape, most), np.full(shape, least), lambda mean: _average(kinds, mean) >= threshold)
