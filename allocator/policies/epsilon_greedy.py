"""ε-greedy: the arm that looks best, and a fixed share for looking. The simplest baseline.

Sutton & Barto (2018), "Reinforcement Learning", §2.2. It looks at means alone, so it goes on exploring arms that are hopeless,
and its weights jump when the leader changes: they are not continuous in the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.policies.domains import require_number
from allocator.policies.protocol import Context, best_is_high
from allocator.posterior import Posteriors
from allocator.quadrature import FloatArray

__all__ = ["EpsilonGreedy"]


@dataclass(frozen=True, slots=True)
class EpsilonGreedy:
    """1 - ε to the arm with the best posterior mean, shared evenly if there are several, and ε / K to every arm.

    Parameters
    ----------
    epsilon : in [0, 1], share that is spread evenly.
    """

    epsilon: float = 0.1

    def __post_init__(self) -> None:
        require_number("epsilon", self.epsilon, "a number between 0 and 1", lambda x: 0.0 <= x <= 1.0)

    def weights(self, posteriors: Posteriors, context: Context | None = None) -> FloatArray:
        """Shape (arms,), at least ε / K, sums to 1; an even split where nothing is known."""
        mean = best_is_high(posteriors)
        best = mean == np.max(mean) if np.all(np.isfinite(mean)) else np.ones(len(mean), dtype=bool)
        return np.asarray((1.0 - self.epsilon) * best / best.sum() + self.epsilon / len(mean))
