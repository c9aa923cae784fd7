"""Exploration sampling: traffic for choosing the best arm at the end, in batches.

Kasy & Sautmann (2021), "Adaptive treatment assignment in experiments for policy choice", Econometrica 89(1), §3.2: the limit of
top-two draws within a batch. The share that goes to arms other than the best is what tells them apart fastest as the experiment
grows; the leader's share ends at a half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.policies.protocol import Context, normalise
from allocator.posterior import Posteriors
from allocator.quadrature import FloatArray

__all__ = ["ExplorationSampling"]


@dataclass(frozen=True, slots=True)
class ExplorationSampling:
    """Weights proportional to p_k (1 - p_k), p = P(best). No parameters. With two arms always an even split."""

    def weights(self, posteriors: Posteriors, context: Context | None = None) -> FloatArray:
        """Shape (arms,), positive, sums to 1."""
        p = normalise(posteriors.prob_best())
        if len(p) == 1:
            return p
        others = 1.0 - p
        leader = int(np.argmax(p))
        others[leader] = np.delete(p, leader).sum()  # 1 - p would cancel where the leader is nearly sure
        return normalise(p * others)
