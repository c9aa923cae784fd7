"""Top-two Thompson sampling: traffic for finding the best arm, not for earning while looking.

Russo (2016), "Simple Bayesian algorithms for best arm identification". A draw from Thompson is used with probability β, else
drawn again until another arm comes: the leader is told from its nearest challenger as fast as possible.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.policies.domains import require_number
from allocator.policies.protocol import Context, normalise
from allocator.posterior import Posteriors
from allocator.quadrature import FloatArray

__all__ = ["TopTwoThompson"]


@dataclass(frozen=True, slots=True)
class TopTwoThompson:
    """ψ_k = p_k (β + (1-β) Σ_{j≠k} p_j / (1-p_j)), the closed form of the two draws, p = P(best).

    With two arms and β = ½ this is always an even split.

    Parameters
    ----------
    beta : in (0, 1], share of the leader in the long run; 1 is plain Thompson.
    """

    beta: float = 0.5

    def __post_init__(self) -> None:
        require_number("beta", self.beta, "a number above 0, at most 1", lambda x: 0.0 < x <= 1.0)

    def weights(self, posteriors: Posteriors, context: Context | None = None) -> FloatArray:
        """Shape (arms,), positive, sums to 1."""
        p = normalise(posteriors.prob_best())
        if len(p) == 1:
            return p
        others = p.sum() - p
        leader = int(np.argmax(p))
        others[leader] = np.delete(p, leader).sum()  # 1 - p would cancel where the leader is nearly sure
        odds = p / others
        elsewhere = odds.sum() - odds
        elsewhere[leader] = np.delete(odds, leader).sum()
        return normalise(p * (self.beta + (1.0 - self.beta) * elsewhere))
