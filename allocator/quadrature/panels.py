"""Panels for Gauss-Legendre on a line with several posteriors on it, and the rule inside a panel.

A panel at x may be as wide as w · min over arms of s · max(1, `GROWTH` · distance from its centre in s): narrow where some arm
has its mass, geometrically wider away from it. So a wide posterior beside a narrow one costs a few panels, not thousands, and the
tails of a Student t cost their logarithm. w is `WIDTH` for up to `FEW` arms and falls as K^-0.22: the product of K distribution
functions is steeper than each and has K times their error, together about K^3.5, where a narrower panel gains as width^16.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt
from numpy.polynomial import legendre

__all__ = ["CUMULATE", "NODES", "WEIGHTS", "FloatArray", "at_nodes", "panels"]

FloatArray = npt.NDArray[np.float64]

NODES = 8
WIDTH = 1.25
FEW = 10
GROWTH = 0.5
"""With these the error of P(best) stays below 1e-10, see `tests/bench/quadrature.py`."""

_MARKS = np.array([-27.0, -9.0, -3.0, 0.0, 3.0, 9.0, 27.0])


def _rule(nodes: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Gauss-Legendre on [0, 1]: nodes, weights, and the (nodes, nodes) matrix from values to running integrals at the nodes."""
    x, w = legendre.leggauss(nodes)
    basis = np.array([legendre.legval(x, row) for row in np.eye(nodes)])
    integral = np.array([legendre.legval(x, legendre.legint(row, lbnd=-1)) for row in np.eye(nodes)])
    norm = (2 * np.arange(nodes) + 1) / 2
    running = integral.T @ (norm[:, None] * basis * w)
    return (x + 1) / 2, w / 2, running / 2


_X, WEIGHTS, _RUNNING = _rule(NODES)
CUMULATE = np.ascontiguousarray(np.concatenate([_RUNNING.T, WEIGHTS[:, None]], axis=1))
"""(NODES, NODES + 1): values in a panel of width 1 times this are the running integrals at its nodes, then its mass."""


def panels(centre: FloatArray, scale: FloatArray, low: float, high: float) -> FloatArray:
    """Borders of panels from `low` to `high`, ascending, for posteriors with these centres and scales, shape (arms,).

    Every arm marks the width it wants at a few points. What is allowed at a mark is the least of what any arm wants there, each
    growing with the distance: two running minima over the sorted marks. Borders are where the integral of 1 / width, by
    trapezoids, reaches whole numbers.
    """
    offsets, widths = _marks(max(0, int(math.log((high - low) / (_MARKS[-1] * float(scale.min())), 3.0))))
    marks = (centre[:, None] + scale[:, None] * offsets).ravel()
    order = marks.argsort()
    x, width = marks[order], (scale[:, None] * widths).ravel()[order]
    np.minimum(np.maximum(x, low, out=x), high, out=x)  # marks beyond the ends come to allow more than their arm's others do
    x[0], x[-1] = low, high
    growth = GROWTH * x
    from_left = np.minimum.accumulate(width - growth) + growth
    from_right = np.minimum.accumulate((width + growth)[::-1])[::-1] - growth
    rate = 1.0 / np.minimum(from_left, from_right)
    count = np.zeros(len(x))
    ((rate[1:] + rate[:-1]) * (x[1:] - x[:-1])).cumsum(out=count[1:])
    n = int(count[-1] / (2.0 * WIDTH * min(1.0, FEW / len(centre)) ** 0.22)) + 1
    return np.asarray(np.interp(np.arange(n + 1) * (count[-1] / n), count, x))


@cache
def _marks(further: int) -> tuple[FloatArray, FloatArray]:
    """Where an arm marks widths, and which, in its scales; so many marks further out, thrice as far each time, on wide grids."""
    outer = _MARKS[-1] * 3.0 ** np.arange(1, further + 1)
    offsets = np.concatenate([-outer[::-1], _MARKS, outer])
    return offsets, 1.0 + GROWTH * np.maximum(np.abs(offsets) - 3.0, 0.0)


def at_nodes(borders: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Widths of the panels, shape (panels,), positions of all nodes and weights of all nodes, shape (panels * NODES,) each."""
    width = borders[1:] - borders[:-1]
    column = width[:, None]
    return width, (borders[:-1, None] + column * _X).ravel(), (column * WEIGHTS).ravel()
