"""Per-segment Thompson with partial pooling: every segment has its own weights, as far as its data says that it is different.

The estimator is in `partial_pooling`. It also serves the experiment as a whole better than a sum over segments would: where
segments have weights of their own, an arm's units come from other segments than another's, and plain means compare the
segments (Simpson's paradox).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from allocator.policies.partial_pooling import Pooled, pool
from allocator.policies.protocol import Choice, Context, needed, normalise
from allocator.posterior import NormalPosteriors, Posteriors
from allocator.quadrature import FloatArray

__all__ = ["PerSegment"]


@dataclass(frozen=True, slots=True)
class PerSegment:
    """P(best) in the segment, its arms' means shrunk to those of the experiment; outside of segments, by the arms' common worth.

    No parameters: how far segments are held together is estimated.
    """

    per_segment: ClassVar[bool] = True

    def weights(self, posteriors: Posteriors, context: Context | None = None) -> FloatArray:
        """Shape (arms,), positive, sums to 1. Needs the context, with evidence by segment."""
        return self.choose(posteriors, context).weights

    def choose(self, posteriors: Posteriors, context: Context | None = None) -> Choice:
        """The weights with the posteriors they rest on."""
        context = needed(context)
        fit = context.once(_fitted)
        if fit is None:
            return Choice(normalise(posteriors.prob_best()))
        shrunk = fit.posteriors(context.segment, posteriors.down)
        return Choice(normalise(shrunk.prob_best()), shrunk, fit.note(context.segment))


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """`pooled`, with the names of its rows and columns, and the means' middle in natural units."""

    pooled: Pooled
    segments: dict[str, int]
    arms: tuple[str, ...]
    middle: float

    def posteriors(self, segment: str | None, down: bool) -> NormalPosteriors:
        """At the level of the segment; a segment without units is as the experiment, with more doubt."""
        g = None if segment is None else self.segments.get(segment)
        if g is not None:
            mean, variance = self.pooled.segment(g)
            return NormalPosteriors(self.arms, self.middle + float(self.pooled.level[g]) + mean, np.sqrt(variance), down)
        mean, variance = self.pooled.whole()
        variance = variance if segment is None else variance + self.pooled.spread
        return NormalPosteriors(self.arms, self.middle + mean, np.sqrt(variance), down)

    def note(self, segment: str | None) -> str:
        """How far the segment follows the others."""
        if segment is None:
            return ""
        pooled = self.pooled.shrinkage(self.segments[segment]) if segment in self.segments else 1.0
        return f"{100 * pooled:.3g} % pooled with the other segments"


def _fitted(context: Context) -> _Fit | None:
    """The fit to all segments; None where no unit differs from another."""
    objective, evidence = context.objective, context.evidence
    parts = {name: context.samples(moments) for name, moments in evidence.by_segment.items()}
    n = np.array([part.n for part in parts.values()])
    if not n.any():
        return None
    each = [np.divide(p.total, p.n, out=np.zeros_like(p.total), where=p.n > 0) + p.origin for p in parts.values()]
    mean, units = np.array(each), n.sum(axis=0)
    within = sum(part.squares for part in parts.values()) / np.maximum(units, 1.0)
    sd = objective.posteriors(context.samples(evidence.total)).sd
    variance = np.maximum(within, units * sd**2)  # rates of 0 have no variance within, and yet some doubt
    if not variance.any():
        return None
    variance = np.where(variance > 0.0, variance, variance[variance > 0.0].min())
    pooled = pool(mean, n, variance)
    return _Fit(pooled, {name: g for g, name in enumerate(parts)}, evidence.arms, float(np.average(mean, weights=n)))
