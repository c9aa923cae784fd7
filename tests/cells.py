"""Moments of units given as arrays, for tests of what is derived from them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from allocator.moments import Moments, inverse_propensity, layout_of

__all__ = ["moments_of", "periods_of"]


def moments_of(values: npt.ArrayLike, propensity: npt.ArrayLike) -> Moments:
    """Units with these metric vectors, shape (units, metrics), whole steps, and propensities, shape (units,) or one for all.

    Propensities are few different values; each is quantised as the join does.
    """
    y = np.asarray(values, dtype=np.int64)
    different, which = np.unique(np.broadcast_to(np.asarray(propensity, dtype=np.float64), len(y)), return_inverse=True)
    metrics = y.shape[1]
    total = Moments.zero(metrics)
    for i, p in enumerate(different.tolist()):
        total += _of_one_weight(y[which == i], inverse_propensity(p))
    return total


def _of_one_weight(y: npt.NDArray[np.int64], w: int) -> Moments:
    n, s, cross = len(y), y.sum(axis=0).tolist(), (y.T @ y).tolist()
    m = len(s)
    sums = [0] * layout_of(m).length
    layout = layout_of(m)
    sums[0], sums[layout.w], sums[layout.w2] = n, n * w, n * w * w
    for j in range(m):
        sums[1 + j] = s[j]
        sums[layout.wy + j], sums[layout.w2y + j], sums[layout.w2y2 + j] = w * s[j], w * w * s[j], w * w * cross[j][j]
        for k in range(j, m):
            sums[layout.cross[j][k]] = cross[j][k]
    return Moments(m, tuple(sums))


def periods_of(
    arms: int, period: npt.ArrayLike, arm: npt.ArrayLike, values: npt.ArrayLike, propensity: npt.ArrayLike
) -> list[list[Moments]]:
    """Moments by period and arm; one entry a unit, shapes (units,), values (units, metrics). Periods are numbered from 0."""
    t, k, y, p = np.asarray(period), np.asarray(arm), np.asarray(values), np.asarray(propensity)
    cells = [[(t == period_) & (k == arm_) for arm_ in range(arms)] for period_ in range(int(t.max()) + 1)]
    return [[moments_of(y[cell], p[cell]) for cell in row] for row in cells]
