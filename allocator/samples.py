"""The moments of every arm, seen as samples of one number a unit: what posteriors are made of.

The number is a metric, a sum of metrics with weights, or what a ratio of two is made of. Floats begin here. Every difference is
taken in integers first, about a common origin, so nothing cancels however large the numbers are; from here on samples may be
discounted and merged, which integers could not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from allocator.experiment import Metric
from allocator.moments import Moments, layout_of
from allocator.quadrature import FloatArray

__all__ = ["Samples", "samples_of", "samples_of_ratio", "samples_of_sum"]


@dataclass(frozen=True, slots=True)
class Samples:
    """One number a unit, summed up arm by arm.

    Parameters
    ----------
    n : units, shape (arms,), ≥ 0; whole unless discounted.
    total : Σ (y − origin), shape (arms,), natural units.
    squares : Σ (y − ȳ)² about the arm's own mean, shape (arms,), ≥ 0.
    origin : what `total` is counted from, natural units.
    """

    n: FloatArray
    total: FloatArray
    squares: FloatArray
    origin: float = 0.0


def samples_of(metric: Metric, j: int, moments: Sequence[Moments], reported: int | None = None) -> Samples:
    """The metric, `j` its place in every arm's moments, in natural units.

    The origin is the mean of all units in whole steps; 0 for a binary metric, whose totals are successes. With `reported`, the
    place of the indicator that a unit has a value, of the units that have one: others add nothing to Σy and Σy².
    """
    binary = metric.type == "binary"
    resolution = 1.0 if binary else metric.resolution
    rows = [(m.n if reported is None else m.sum(reported), m.sum(j), m.sum_squares(j)) for m in moments]
    units = sum(n for n, _, _ in rows)
    origin = 0 if binary or not units else sum(total for _, total, _ in rows) // units
    n, totals, squares = np.array(
        [(n, total - n * origin, (n * square - total**2) / n if n else 0.0) for n, total, square in rows], dtype=np.float64
    ).T
    return Samples(n=n, total=totals * resolution, squares=squares * resolution**2, origin=origin * resolution)


def samples_of_sum(weights: Mapping[int, float], moments: Sequence[Moments]) -> Samples:
    """Σ w_j y_j a unit: mean w·s / n, squares wᵀSw about it, exact up to the last step.

    Parameters
    ----------
    weights : place in the moments → weight of one step of that metric, finite; at least one.
    """
    ratios = {j: float(w).as_integer_ratio() for j, w in weights.items()}
    scale = max(denominator for _, denominator in ratios.values())  # every denominator is a power of two
    whole = {j: numerator * (scale // denominator) for j, (numerator, denominator) in ratios.items()}
    units = sum(m.n for m in moments)
    sums = [sum(w * m.sum(j) for j, w in whole.items()) for m in moments]
    origin = sum(sums) // units if units else 0
    squares = [
        _squares_of_sum(m, whole, total) / (m.n * scale**2) if m.n else 0.0 for m, total in zip(moments, sums, strict=True)
    ]
    return Samples(
        n=np.array([float(m.n) for m in moments]),
        total=np.array([(total - m.n * origin) / scale for m, total in zip(moments, sums, strict=True)]),
        squares=np.array(squares),
        origin=origin / scale,
    )


def samples_of_ratio(j: int, k: int, moments: Sequence[Moments], scale: float = 1.0) -> Samples:
    """Σ y_j / Σ y_k: the sample whose mean is the ratio, and the variance of whose mean is that of the delta method.

    With d̄ the mean of y_k over all arms' units, n is Σ y_k / d̄, units of an average denominator; total / n is the ratio R, from
    the origin; squares are Σ (y_j - R y_k)² / d̄², so squares / n² is the variance of R to first order (Cochran 1977, §2.11; Deng,
    Knoblich & Lu 2018). Merged or discounted, numerators and denominators stay sums: no mean of ratios of few units appears.

    Parameters
    ----------
    j, k : places of numerator and denominator in the moments. An arm whose denominators do not sum to more than 0 has no units.
    scale : resolution of the numerator over that of the denominator.
    """
    units, above, below = sum(m.n for m in moments), sum(m.sum(j) for m in moments), sum(m.sum(k) for m in moments)
    if below <= 0:
        nothing = np.zeros(len(moments))
        return Samples(n=nothing, total=nothing, squares=nothing)
    n, total, squares = np.zeros((3, len(moments)))
    for i, m in enumerate(moments):
        own_above, own_below = m.sum(j), m.sum(k)
        if own_below > 0:
            n[i] = own_below * units / below
            total[i] = (own_above * below - above * own_below) * units / below**2
            squares[i] = _squares_of_ratio(m, j, k) * units**2 / (own_below * below) ** 2
    return Samples(n=n, total=total * scale, squares=squares * scale**2, origin=above / below * scale)


def _squares_of_sum(m: Moments, weights: Mapping[int, int], total: int) -> int:
    """n Σ (w·y - mean)²."""
    return m.n * sum(w * v * _product(m, j, k) for j, w in weights.items() for k, v in weights.items()) - total**2


def _squares_of_ratio(m: Moments, j: int, k: int) -> int:
    """(Σ y_k)² Σ (y_j - R y_k)² with R = Σ y_j / Σ y_k."""
    above, below = m.sum(j), m.sum(k)
    return below**2 * m.sum_squares(j) - 2 * above * below * _product(m, j, k) + above**2 * m.sum_squares(k)


def _product(m: Moments, j: int, k: int) -> int:
    return m.sums[layout_of(m.metrics).cross[j][k]]
