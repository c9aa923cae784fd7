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

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from allocator.inference import asymptotic
from allocator.inference.period_sums import Periods, PeriodSums, middle, period_sums
from allocator.inference.pseudo_outcomes import Contrast
from allocator.metric_tree import Node
from allocator.moments import Moments, layout_of
from allocator.quadrature import FloatArray

__all__ = ["estimated_means", "linearised", "of_sets"]


def linearised(
    node: Node,
    resolutions: Sequence[float],
    arms: Sequence[str],
    periods: Periods,
    estimate: Callable[[PeriodSums], FloatArray] | None = None,
) -> PeriodSums:
    """Of z. An arm where the node's value is not defined is not present in any period.

    Parameters
    ----------
    resolutions : natural units a step, of every column of the moments.
    estimate : every arm's mean of a column, shape (arms,), which the interval to be made is around. None: the augmented one.

    Raises
    ------
    ArgumentError : as `period_sums`.
    """
    columns = list(node.columns)
    centres = np.zeros(len(resolutions))
    centres[columns] = [middle(resolutions[j], j, periods) for j in columns]
    steps = [round(centres[j] / resolutions[j]) for j in columns]
    each = [period_sums(resolutions[j], j, arms, periods, centres[j]) for j in columns]
    start = np.zeros(len(resolutions))
    start[columns] = [sums.origin for sums in each]
    means, origin = np.repeat(start[None, :], len(arms), axis=0), float(node.at(start)[0])
    if node.linear is None:
        means[:, columns] = np.stack([(estimate or _estimated)(sums) for sums in each], axis=1)
        origin = float(node.at(centres)[0])
    value, gradient = node.at(means)
    known = np.isfinite(value) & np.isfinite(gradient).all(axis=1) & np.isfinite(origin)
    slope, away = (np.where(known[:, None], found, 0.0)[:, columns] for found in (gradient, means - start))
    shift = np.where(known, value - origin, 0.0) - (slope * away).sum(axis=1)
    found = _of_sum(slope, each, _products(resolutions, columns, steps, arms, periods))
    return _shifted(found, shift, each[0].present & known, origin if np.isfinite(origin) else 0.0)


def of_sets(node: Node, resolutions: Sequence[float], sets: Sequence[Moments]) -> PeriodSums:
    """Of z, over any sets of units; shape (sets,). Σ w z / Σ w and the origin make f at the means Σ w y / Σ w (Hájek 1971).

    A set where the node's value is not defined has no units.
    """
    names = tuple(map(str, range(len(sets))))
    found = linearised(node, resolutions, names, [dict(zip(names, sets, strict=True))], _weighted)
    arrays = {
        name: np.where(found.present, getattr(found, name), 0.0)[0] for name in ("n", "y", "y2", "w", "w2", "wy", "w2y", "w2y2")
    }
    return PeriodSums(**arrays, present=found.present[0], origin=found.origin)


def estimated_means(columns: Sequence[int], resolutions: Sequence[float], arms: Sequence[str], periods: Periods) -> FloatArray:
    """Every arm's means over all units, augmented, of some columns of the moments; shape (arms, all columns), others nan."""
    means = np.full((len(arms), len(resolutions)), np.nan)
    for j in columns:
        means[:, j] = _estimated(period_sums(resolutions[j], j, arms, periods, middle(resolutions[j], j, periods)))
    return means


def _estimated(sums: PeriodSums) -> FloatArray:
    return np.asarray(asymptotic.of_contrast(sums, Contrast()).mean[-1] + sums.origin)


def _weighted(sums: PeriodSums) -> FloatArray:
    wy, w = sums.wy.sum(axis=-2), sums.w.sum(axis=-2)
    return np.asarray(np.divide(wy, w, out=np.full(w.shape, np.nan), where=w > 0) + sums.origin)


def _of_sum(slope: FloatArray, each: Sequence[PeriodSums], products: FloatArray) -> PeriodSums:
    """Of slope · y, y counted from the origins of `each`."""
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
    return replace(each[0], y=y, y2=np.maximum(y2, 0.0), wy=wy, w2y=w2y, w2y2=np.maximum(w2y2, 0.0), origin=0.0)


def _shifted(sums: PeriodSums, shift: FloatArray, present: npt.NDArray[np.bool_], origin: float) -> PeriodSums:
    """Every value larger by its arm's `shift`."""
    return replace(
        sums,
        y=sums.y + shift * sums.n,
        y2=sums.y2 + 2 * shift * sums.y + shift**2 * sums.n,
        wy=sums.wy + shift * sums.w,
        w2y=sums.w2y + shift * sums.w2,
        w2y2=sums.w2y2 + 2 * shift * sums.w2y + shift**2 * sums.w2,
        present=present,
        origin=origin,
    )


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
