"""A metric made of others as sums over periods of one number a unit, of which every interval can be had.

The number is the node's linearisation: with f its value, ∇f its gradient and μ the means of the columns,

    z = f(μ_k) + ∇f(μ_k) · (y - μ_k)       for a unit of arm k

whose mean over the units is f(μ_k), and whose variance is what the delta method says (`allocator.metric_tree`). μ_k are the
augmented estimates of the means over all units, so propensities are allowed for; a sum is z itself, and nothing is approximated.
Σ y_j y_k, which z² asks for, is in the moments; Σ w² y_j y_k is not. In its place

    Σ y_j y_k √(Σ w² y_j² · Σ w² y_k² / (Σ y_j² · Σ y_k²))

which is exact where units of a cell (arm and period) have one propensity, or one metric is in it; it keeps the matrix positive
semi-definite, and errs only as far as products go along with propensities within a period.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from allocator.inference import asymptotic
from allocator.inference.period_sums import Periods, PeriodSums, middle, period_sums
from allocator.inference.pseudo_outcomes import Contrast
from allocator.metric_tree import Node
from allocator.moments import Moments, layout_of
from allocator.quadrature import FloatArray

__all__ = ["Linearised", "estimated_means", "linearised"]


@dataclass(frozen=True, slots=True, eq=False)
class Linearised:
    """A node at each arm's means.

    Parameters
    ----------
    value : shape (arms,); nan where it is not defined.
    gradient : shape (arms, columns), of the columns of the moments.
    sums : of z; an arm whose value is not defined is not present in any period.
    """

    value: FloatArray
    gradient: FloatArray
    sums: PeriodSums


def linearised(node: Node, resolutions: Sequence[float], arms: Sequence[str], periods: Periods) -> Linearised:
    """See the module's docstring. ArgumentError as `period_sums`."""
    columns = node.columns
    origins = [round(middle(resolutions[j], j, periods) / resolutions[j]) for j in columns]
    each = [
        period_sums(resolutions[j], j, arms, periods, steps * resolutions[j]) for j, steps in zip(columns, origins, strict=True)
    ]
    start = np.zeros(len(resolutions))
    start[list(columns)] = [sums.origin for sums in each]
    means = np.repeat(start[None, :], len(arms), axis=0)
    if node.linear is None:
        means[:, list(columns)] = np.stack([_estimated(sums) for sums in each], axis=1)
    value, gradient = node.at(means)
    origin = float(node.at(start)[0])
    known = np.isfinite(value) & np.isfinite(gradient).all(axis=1) & np.isfinite(origin)
    slope = np.where(known[:, None], gradient[:, list(columns)], 0.0)
    moved = np.where(known[:, None], means - start, 0.0)[:, list(columns)]
    shift = np.where(known, value - origin, 0.0) - (slope * moved).sum(axis=1)
    y, y2, wy, w2y, w2y2 = _of_sum(slope, each, _products(resolutions, columns, origins, arms, periods))
    base = each[0]
    sums = PeriodSums(
        n=base.n,
        y=y + shift * base.n,
        y2=y2 + 2 * shift * y + shift**2 * base.n,
        w=base.w,
        w2=base.w2,
        wy=wy + shift * base.w,
        w2y=w2y + shift * base.w2,
        w2y2=w2y2 + 2 * shift * w2y + shift**2 * base.w2,
        present=base.present & known,
        origin=origin if np.isfinite(origin) else 0.0,
    )
    return Linearised(np.where(known, value, np.nan), gradient, sums)


def estimated_means(columns: Sequence[int], resolutions: Sequence[float], arms: Sequence[str], periods: Periods) -> FloatArray:
    """Every arm's means over all units, augmented, of some columns of the moments; shape (arms, all columns), others nan."""
    means = np.full((len(arms), len(resolutions)), np.nan)
    for j in columns:
        means[:, j] = _estimated(period_sums(resolutions[j], j, arms, periods, middle(resolutions[j], j, periods)))
    return means


def _estimated(sums: PeriodSums) -> FloatArray:
    return np.asarray(asymptotic.of_contrast(sums, Contrast()).mean[-1] + sums.origin)


def _of_sum(slope: FloatArray, each: Sequence[PeriodSums], products: FloatArray) -> tuple[FloatArray, ...]:
    """Σ z, Σ z², Σ w z, Σ w² z and Σ w² z² of z = slope · y, shapes (periods, arms)."""
    y, wy, w2y = (np.asarray(sum(slope[:, a] * getattr(sums, of) for a, sums in enumerate(each))) for of in ("y", "wy", "w2y"))
    y2, w2y2 = np.zeros(y.shape), np.zeros(y.shape)
    for a, mine in enumerate(each):
        y2 += slope[:, a] ** 2 * mine.y2
        w2y2 += slope[:, a] ** 2 * mine.w2y2
        for b, other in enumerate(each[:a]):
            both = 2 * slope[:, a] * slope[:, b] * products[a, b]
            squares = mine.y2 * other.y2
            weight = np.divide(mine.w2y2 * other.w2y2, squares, out=np.zeros(y.shape), where=squares > 0)
            y2 += both
            w2y2 += both * np.sqrt(np.maximum(weight, 0.0))
    return y, np.maximum(y2, 0.0), wy, w2y, np.maximum(w2y2, 0.0)


def _products(
    resolutions: Sequence[float], columns: Sequence[int], origins: Sequence[int], arms: Sequence[str], periods: Periods
) -> FloatArray:
    """Σ (y_j - origin_j)(y_k - origin_k), shape (columns, columns, periods, arms), natural units; k before j, others 0."""
    out = np.zeros((len(columns), len(columns), max(len(periods), 1), len(arms)))
    for p, cell in enumerate(periods):
        for k, arm in enumerate(arms):
            if arm in cell:
                for a, j in enumerate(columns):
                    for b, i in enumerate(columns[:a]):
                        exact = _product(cell[arm], j, i, origins[a], origins[b])
                        out[a, b, p, k] = float(exact) * resolutions[j] * resolutions[i]
    return out


def _product(m: Moments, j: int, k: int, origin_j: int, origin_k: int) -> int:
    crossed = m.sums[layout_of(m.metrics).cross[j][k]]
    return crossed - origin_j * m.sum(k) - origin_k * m.sum(j) + origin_j * origin_k * m.n
