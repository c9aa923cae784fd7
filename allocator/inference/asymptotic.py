"""Means of values without a bound, at any time, in the limit of many units: asymptotic confidence sequences.

Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2024), "Time-uniform central limit theory and asymptotic confidence sequences",
Annals of Statistics 52(6), arXiv 2103.06476: sums of martingale differences with a little more than a variance stay within the
normal mixture's curve at their estimated variance, with probability 1 - alpha in the limit of a late first look.

Few units are far from that limit: where an arm was starved, the plain recipe misses up to a quarter of the time. Three rules keep
what is simulated below alpha, down to rates of .01 and up to lognormal values with σ = 1.5 (tests/reproduce/coverage.py):

- No interval until the arm, and control, are worth `units_min` equally weighted units: (Σ w)² / Σ w² (Kish 1965). Nor while all
  values seen are equal: nothing is known of a spread that was never seen.
- The variance is the larger of two: what the pseudo-outcomes show, Σ w² (y - m)², and Σ w² times the variance of a value. The
  first one is small just when an arm had few high values by chance, that is when its estimate is low too.
- The variance of a value is the arm's own, or that drawn by `VARIANCE_UNITS` units' weight towards that of all arms, if larger.

The curve is tuned to twice the variance at the first look that qualifies, so it has no unit and needs no scale from the owner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from allocator.errors import ArgumentError
from allocator.inference.boundaries import best_rho, normal_bound, normal_log_mixture
from allocator.inference.period_sums import PeriodSums
from allocator.inference.pseudo_outcomes import Contrast, residuals
from allocator.quadrature import FloatArray

__all__ = ["UNITS_MIN", "Running", "of_contrast", "of_own_units", "refusals"]

UNITS_MIN = 100.0
"""Effective units an arm needs before it gets an interval."""
VARIANCE_UNITS = 1000.0
"""Units' weight with which an arm's variance is drawn up to that of all arms."""
TUNED_AT = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Running:
    """A running mean with the variance of its sum. Arrays over looks, the end of each period: shape (..., periods, columns).

    Parameters
    ----------
    n : terms.
    total, variance : the sum, and the estimated variance of it.
    effective : effective units of the arm, or of the lesser of arm and control.
    qualified : whether there may be an interval; once so, always.
    rho : see `boundaries.normal_bound`; shape (..., 1, columns).
    """

    n: FloatArray
    total: FloatArray
    variance: FloatArray
    effective: FloatArray
    qualified: npt.NDArray[np.bool_]
    rho: FloatArray

    @property
    def mean(self) -> FloatArray:
        """total / n; nan without terms."""
        return np.divide(self.total, self.n, out=np.full_like(self.total, np.nan), where=self.n > 0)

    def log_e(self, mean: float | FloatArray) -> FloatArray:
        """ln of the asymptotic e-process of "the running mean is `mean`"; 0 where not qualified."""
        evidence = normal_log_mixture(self.total - self.n * mean, np.where(self.qualified, self.variance, 1.0), self.rho)
        return np.where(self.qualified, evidence, 0.0)

    def interval(self, alpha: float) -> tuple[FloatArray, FloatArray]:
        """Low and high at every look; infinite where not qualified."""
        bound = normal_bound(np.where(self.qualified, self.variance, 1.0), alpha, self.rho)
        radius = np.divide(bound, self.n, out=np.full(bound.shape, np.inf), where=self.qualified)
        middle = np.where(self.qualified, self.mean, 0.0)
        return middle - radius, middle + radius


def of_own_units(sums: PeriodSums, units_min: float = UNITS_MIN) -> Running:
    """Every arm's mean from its own units, for means that are steady. ArgumentError: `units_min` below 2."""
    n, y = np.cumsum(sums.n, axis=-2), np.cumsum(sums.y, axis=-2)
    return _running(n, y, n * _value_variance(sums), n, units_min)


def of_contrast(sums: PeriodSums, contrast: Contrast, units_min: float = UNITS_MIN) -> Running:
    """A mean or difference under adaptive allocation, from augmented pseudo-outcomes. ArgumentError: `units_min` below 2."""
    found = residuals(sums, first=None)
    period = contrast.signed(found.total) + sums.units * contrast.signed(found.model)

    def running(values: FloatArray) -> FloatArray:
        return np.asarray(np.cumsum(contrast.counted(sums, values), axis=-2))

    def of_control(values: FloatArray) -> FloatArray:
        return values[..., contrast.control, None] if contrast.control is not None else values

    def variance_of(squares: FloatArray, w2: FloatArray, value_variance: FloatArray) -> FloatArray:
        return np.maximum(running(squares), running(w2) * value_variance)

    def effective_of(w: FloatArray, w2: FloatArray) -> FloatArray:
        w, w2 = running(w), running(w2)
        return np.divide(w * w, w2, out=np.zeros_like(w), where=w2 > 0)

    spread = _value_variance(sums)
    variance = contrast.arm * variance_of(found.squares, sums.w2, spread)
    effective = effective_of(sums.w, sums.w2) if contrast.arm else np.full(variance.shape, np.inf)
    if contrast.control is not None:
        variance = variance + variance_of(of_control(found.squares), of_control(sums.w2), of_control(spread))
        effective = np.minimum(effective, effective_of(of_control(sums.w), of_control(sums.w2)))
    return _running(running(sums.units), running(period), variance, effective, units_min)


def refusals(running: Running, units_min: float = UNITS_MIN) -> list[str]:
    """Why each column has no interval at the last look; empty where it has one."""
    return [
        ""
        if qualified
        else f"worth {effective:.0f} equally weighted units, {units_min:g} are demanded of every arm in it"
        if effective < units_min
        else "all values so far are equal"
        for qualified, effective in zip(running.qualified[-1].tolist(), running.effective[-1].tolist(), strict=True)
    ]


def _running(n: FloatArray, total: FloatArray, variance: FloatArray, effective: FloatArray, units_min: float) -> Running:
    """With the first look that qualifies found, and the curve tuned to it."""
    if not units_min >= 2:
        raise ArgumentError("units_min", units_min, "at least 2")
    qualified = np.maximum.accumulate((effective >= units_min) & (variance > 0), axis=-2)
    first = np.argmax(qualified, axis=-2)[..., None, :]
    start = np.take_along_axis(np.where(qualified, variance, 1.0), first, axis=-2)
    return Running(n, total, variance, effective, qualified, best_rho(TUNED_AT * start))


def _value_variance(sums: PeriodSums) -> FloatArray:
    """The third rule: variance of a value at every look, shape (..., periods, arms)."""
    n, y, y2 = (np.cumsum(x, axis=-2) for x in (sums.n, sums.y, sums.y2))
    own = _variance(n, y, y2)
    of_all = _variance(*(x.sum(axis=-1, keepdims=True) for x in (n, y, y2)))
    return np.asarray(np.maximum(own, (n * own + VARIANCE_UNITS * of_all) / (n + VARIANCE_UNITS)))


def _variance(n: FloatArray, y: FloatArray, y2: FloatArray) -> FloatArray:
    most = np.maximum(n, 1.0)
    return np.asarray(np.maximum(y2 - y * y / most, 0.0) / most)
