"""The moments of every arm, seen as samples of one number a unit: what posteriors are made of.

Floats begin here. Every difference is taken in integers first, about a common origin, so nothing cancels however large the
numbers are; from here on samples may be discounted and merged, which integers could not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from allocator.experiment import Metric
from allocator.moments import Moments
from allocator.quadrature import FloatArray

__all__ = ["Samples", "samples_of"]


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


def samples_of(metric: Metric, j: int, moments: Sequence[Moments]) -> Samples:
    """The metric, `j` its place in every arm's moments, in natural units.

    The origin is the mean of all units in whole steps; 0 for a binary metric, whose totals are successes.
    """
    binary = metric.type == "binary"
    resolution = 1.0 if binary else metric.resolution
    n = sum(m.n for m in moments)
    origin = sum(m.sum(j) for m in moments) // n if n and not binary else 0
    return Samples(
        n=np.array([float(m.n) for m in moments]),
        total=np.array([float(m.sum(j) - m.n * origin) for m in moments]) * resolution,
        squares=np.array([_squares(m, j) for m in moments]) * resolution**2,
        origin=origin * resolution,
    )


def _squares(m: Moments, j: int) -> float:
    return (m.n * m.sum_squares(j) - m.sum(j) ** 2) / m.n if m.n else 0.0
