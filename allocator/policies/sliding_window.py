"""Sliding-window Thompson: only the newest periods count, so that an arm that has changed is known as it is now.

Trovò, Paladino, Restelli & Gatti (2020), "Sliding-window Thompson sampling for non-stationary environments"; windows as in
Garivier & Moulines (2011). Whole periods of exposure time are dropped, because moments are kept by period.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from allocator.durations import parse_duration
from allocator.errors import ArgumentError
from allocator.policies.aged import aged_posteriors
from allocator.policies.protocol import Context, needed, normalise
from allocator.posterior import Posteriors
from allocator.quadrature import FloatArray

__all__ = ["SlidingWindowThompson"]


@dataclass(frozen=True, slots=True)
class SlidingWindowThompson:
    """P(best) from the periods younger than the window: the current one, and those before it of an age below it.

    Parameters
    ----------
    window : seconds, or a text such as ``7d``; rounded up to whole periods. Choose several times the spec's `period`, for the
        oldest one drops out all at once.
    """

    window: float | str = "7d"

    def __post_init__(self) -> None:
        try:
            parse_duration(self.window)
        except ArgumentError as error:
            raise ArgumentError("window", self.window, error.expected) from error

    def weights(self, posteriors: Posteriors, context: Context | None = None) -> FloatArray:
        """Shape (arms,), positive, sums to 1. Needs the context, with evidence by period."""
        context = needed(context)
        whole = math.ceil(parse_duration(self.window) / context.period_s)
        return normalise(aged_posteriors(context, lambda age: float(age < whole)).prob_best())
