"""Thompson sampling: an arm's weight is the probability that it is the best arm.

Thompson (1933); for delayed, batched feedback Chapelle & Li (2011). Earns while it learns, and robust to both delay and
batches; slow to finish: to pick a winner fast see `top_two`.
"""

from __future__ import annotations

from dataclasses import dataclass

from allocator.policies.domains import require_number
from allocator.policies.protocol import Context, normalise
from allocator.posterior import Posteriors
from allocator.quadrature import FloatArray

__all__ = ["Thompson"]


@dataclass(frozen=True, slots=True)
class Thompson:
    """Weights proportional to P(best), by quadrature.

    Parameters
    ----------
    temper : in (0, 1], exponent on P(best); below 1 explores more.
    """

    temper: float = 1.0

    def __post_init__(self) -> None:
        require_number("temper", self.temper, "a number above 0, at most 1", lambda x: 0.0 < x <= 1.0)

    def weights(self, posteriors: Posteriors, context: Context | None = None) -> FloatArray:
        """Shape (arms,), positive, sums to 1."""
        p = posteriors.prob_best()
        return normalise(p if self.temper == 1.0 else p**self.temper)
