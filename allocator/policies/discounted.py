"""Discounted Thompson: what is long ago counts less, so that traffic follows arms whose worth drifts.

Raj & Kalyani (2017), "Taming non-stationary bandits: a Bayesian approach"; discounting as in Garivier & Moulines (2011). Here by
period of exposure time, not by event: moments are kept by period, and so a batch, a restart or another order changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from allocator.policies.aged import aged_posteriors
from allocator.policies.domains import require_number
from allocator.policies.protocol import Context, needed, normalise
from allocator.posterior import Posteriors
from allocator.quadrature import FloatArray

__all__ = ["DiscountedThompson"]


@dataclass(frozen=True, slots=True)
class DiscountedThompson:
    """P(best) with the units of a period counted γ^age times, age in periods.

    About 1 / (1 - γ) periods are in force. An arm without units of late is as good as new, and looked at again.

    Parameters
    ----------
    gamma : in (0, 1], what a unit keeps of its worth from one period to the next; 1 is plain Thompson.
    """

    gamma: float = 0.9

    def __post_init__(self) -> None:
        require_number("gamma", self.gamma, "a number above 0, at most 1", lambda x: 0.0 < x <= 1.0)

    def weights(self, posteriors: Posteriors, context: Context | None = None) -> FloatArray:
        """Shape (arms,), positive, sums to 1. Needs the context, with evidence by period."""
        return normalise(aged_posteriors(needed(context), lambda age: self.gamma**age).prob_best())
