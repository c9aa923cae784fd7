"""A fixed split: a plain A/B test, and the baseline for everything that adapts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from allocator.errors import ArgumentError
from allocator.policies.domains import is_number
from allocator.policies.protocol import Context, normalise
from allocator.posterior import Posteriors
from allocator.quadrature import FloatArray

__all__ = ["Fixed"]


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same weights whatever the data.

    Parameters
    ----------
    shares : arm name → relative weight, finite and ≥ 0, one for every arm and not all 0; None is an even split.
    """

    shares: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if self.shares is None:
            return
        if not isinstance(self.shares, Mapping) or not all(is_number(w) and w >= 0 for w in self.shares.values()):
            raise ArgumentError("shares", self.shares, "a mapping from every arm to a number of at least 0")
        if not any(self.shares.values()):
            raise ArgumentError("shares", self.shares, "at least one number above 0")

    def weights(self, posteriors: Posteriors, context: Context | None = None) -> FloatArray:
        """Shape (arms,), sums to 1. ArgumentError unless `shares` names exactly the arms."""
        if self.shares is None:
            return np.full(len(posteriors.arms), 1 / len(posteriors.arms))
        if set(self.shares) != set(posteriors.arms):
            raise ArgumentError("shares", dict(self.shares), f"a number for each of {', '.join(posteriors.arms)}, and no other")
        return normalise(np.array([float(self.shares[arm]) for arm in posteriors.arms]))
