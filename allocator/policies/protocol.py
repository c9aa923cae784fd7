"""What every policy is: parameters with domains, and weights from posteriors."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from allocator.errors import ArgumentError
from allocator.posterior import Posteriors
from allocator.quadrature import FloatArray

__all__ = ["Policy", "normalise"]


class Policy(Protocol):
    """From posteriors to unconstrained weights; floor, maximum shift and dead-band come after, in `constraints`.

    A policy is a frozen dataclass whose fields are the parameters a spec may set. It checks them when it is made
    (ArgumentError) and keeps no state, so that the same posteriors give the same weights.
    """

    def weights(self, posteriors: Posteriors) -> FloatArray:
        """Shape (arms,), non-negative, sums to 1."""


def normalise(weights: FloatArray) -> FloatArray:
    """`weights` over their sum. ArgumentError unless they are finite, non-negative and not all zero."""
    total = float(weights.sum())
    if not (np.all(weights >= 0) and 0.0 < total < np.inf):
        raise ArgumentError("weights", weights.tolist(), "finite numbers of at least 0, not all 0")
    return weights / total
