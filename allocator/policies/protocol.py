"""What every policy is: parameters with domains, and weights from posteriors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from allocator.errors import ArgumentError
from allocator.evidence import Evidence
from allocator.objective import Objective
from allocator.posterior import Posteriors
from allocator.quadrature import FloatArray

__all__ = ["Context", "Policy", "normalise"]


@dataclass(frozen=True)
class Context:
    """What a policy may look at besides the posteriors of the objective.

    Parameters
    ----------
    objective : makes samples of moments and posteriors of samples, for policies that weigh or part the evidence.
    evidence : training moments by segment and by period.
    metrics : every metric's posteriors, by name.
    control : the control's place in the order of arms.
    segment : the segment whose weights are wanted; None for those of the whole experiment.
    now : seconds since the epoch.
    period_s : length of a period of `evidence`, in seconds.
    """

    objective: Objective
    evidence: Evidence
    metrics: Mapping[str, Posteriors]
    control: int
    segment: str | None
    now: float
    period_s: float


class Policy(Protocol):
    """From posteriors to unconstrained weights; floor, maximum shift and dead-band come after, in `constraints`.

    A policy is a frozen dataclass whose fields are the parameters a spec may set. It checks them when it is made
    (ArgumentError) and keeps no state, so that the same posteriors give the same weights.
    """

    def weights(self, posteriors: Posteriors, context: Context | None = None) -> FloatArray:
        """Shape (arms,), non-negative, sums to 1. Policies that need the context raise ArgumentError without it."""


def normalise(weights: FloatArray) -> FloatArray:
    """`weights` over their sum. ArgumentError unless they are finite, non-negative and not all zero."""
    total = float(weights.sum())
    if not (np.all(weights >= 0) and 0.0 < total < np.inf):
        raise ArgumentError("weights", weights.tolist(), "finite numbers of at least 0, not all 0")
    return weights / total
