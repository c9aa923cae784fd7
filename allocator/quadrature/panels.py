"""Panels for Gauss-Legendre on a line with several posteriors on it, and the rule inside a panel.

A panel at x may be as wide as `WIDTH` · min over arms of s · max(1, `GROWTH` · distance from its centre in s): narrow where some
arm has its mass, geometrically wider away from it. So a wide posterior beside a narrow one costs a few panels, not thousands,
and the tails of a Student t cost their logarithm.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numpy.polynomial import legendre

__all__ = ["CUMULATE", "NODES", "WEIGHTS", "FloatArray", "at_nodes", "panels"]

FloatArray = npt.NDArray[np.float64]

NODES = 8
WIDTH = 1.25
GROWTH = 0.5
"""With these the error of P(best) stays below 1e-10, see `tests/bench/quadrature.py`; √10 of it is gained by WIDTH 1."""

_INNER = 27.0
"""Marks of an arm further out than this many of its scales are laid only where the grid is that much wider than it."""
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
    growing with the distance: two running minima over the sorted marks. Borders are where the integral of 1 / width reaches whole
    numbers.
    """
    offsets = _offsets((high - low) / float(scale.min()))
    marks = (centre[:, None] + scale[:, None] * offsets).ravel()
    wanted = (scale[:, None] * (1.0 + GROWTH * np.maximum(np.abs(offsets) - 3.0, 0.0))).ravel()
    order = marks.argsort(kind="stable")
    first, last = marks[order].searchsorted((low, high))
    inside = order[first:last]
    x, width = np.empty(len(inside) + 2), np.empty(len(inside) + 2)
    x[0], x[1:-1], x[-1] = low, marks[inside], high
    width[0], width[1:-1], width[-1] = np.inf, wanted[inside], np.inf
    growth = GROWTH * x
    from_left = np.minimum.accumulate(width - growth) + growth
    from_right = np.minimum.accumulate((width + growth)[::-1])[::-1] - growth
    rate = 1.0 / np.minimum(from_left, from_right)
    count = np.zeros(len(x))
    ((rate[1:] + rate[:-1]) * np.diff(x)).cumsum(out=count[1:])
    n = int(count[-1] / (2 * WIDTH)) + 1
    return np.asarray(np.interp(np.arange(n + 1) * (count[-1] / n), count, x))


def _offsets(widest: float) -> FloatArray:
    """Where an arm marks widths, in its scales, on a grid that is `widest` scales wide; thrice as far each time."""
    if widest <= 3.0 * _INNER:
        return _MARKS
    outer = _INNER * 3.0 ** np.arange(1, int(np.log(widest / _INNER) / np.log(3.0)) + 1)
    return np.concatenate([-outer[::-1], _MARKS, outer])


def at_nodes(borders: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Widths of the panels, positions of all nodes and weights of all nodes."""
    width = np.diff(borders)
    return width, (borders[:-1, None] + width[:, None] * _X).ravel(), (width[:, None] * WEIGHTS).ravel()
