"""Evidence by age: every period's samples, weighed by how long ago it was. What discounting and sliding windows share.

A period is a bucket of exposure time. The current one has age 0, the one before it age 1, and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from allocator.errors import ArgumentError
from allocator.moments import Moments
from allocator.policies.protocol import Context
from allocator.posterior import Posteriors
from allocator.samples import Samples

__all__ = ["aged_posteriors", "pooled"]


def aged_posteriors(context: Context, weight: Callable[[int], float]) -> Posteriors:
    """Posteriors of the objective, a unit of a period counting as much as `weight` (age in periods) says; 0 leaves it out.

    Raises
    ------
    ArgumentError : the evidence has units but no periods.
    """
    objective, periods = context.objective, context.evidence.by_period
    if not periods and any(m.n for m in context.evidence.total):
        raise ArgumentError("periods", "none", "moments by period: this policy weighs them by age")
    current = int(context.now // context.period_s)
    weights = {period: weight(max(0, current - period)) for period in periods}
    counted = [(context.samples_of_period(period), w) for period, w in weights.items() if w > 0.0]
    if not counted:
        return objective.posteriors(objective.samples([Moments.zero(context.evidence.metrics)] * len(context.evidence.arms)))
    return objective.posteriors(pooled(counted))


def pooled(parts: Sequence[tuple[Samples, float]]) -> Samples:
    """All parts as one, a unit of each counting as much as its weight says (> 0)."""
    origin = parts[0][0].origin
    n = np.sum([w * part.n for part, w in parts], axis=0)
    total = np.sum([w * (part.total + part.n * (part.origin - origin)) for part, w in parts], axis=0)
    mean = np.divide(total, n, out=np.zeros_like(total), where=n > 0)
    squares = np.zeros_like(total)
    for part, w in parts:
        own = np.divide(part.total, part.n, out=np.zeros_like(total), where=part.n > 0) + (part.origin - origin)
        squares += w * (part.squares + part.n * (own - mean) ** 2)
    return Samples(n=n, total=total, squares=squares, origin=origin)
