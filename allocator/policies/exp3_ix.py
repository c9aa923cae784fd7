"""Exp3-IX: exponential weights on importance-weighted losses. The baseline that assumes nothing about how rewards come about.

Neu (2015), "Explore no more: improved high-probability regret bounds for non-stochastic bandits", NIPS, Theorem 1 and its anytime
form: weights ∝ exp(-η L̃_k), L̃_k = Σ ℓ / (p + γ) over the units of arm k, η = 2γ = sqrt(ln K / (K t)).

The γ in the denominator ("implicit exploration") changes with every unit, and sums kept at exposure cannot know it. It is put
in afterwards, from the sums Σ wℓ and Σ w²ℓ with w = 1/p: since ℓ / (p + γ) = wℓ / (1 + γw),

    L̃_k ≈ (Σ wℓ)² / (Σ wℓ + γ Σ w²ℓ),

exact where the propensity was constant, and by Jensen's inequality never above the exact sum: it errs, as γ itself does, towards
exploring more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.errors import ArgumentError
from allocator.moments import WEIGHT_UNIT, layout_of
from allocator.objective import MetricObjective
from allocator.policies.domains import require_number
from allocator.policies.protocol import Context, needed, normalise
from allocator.posterior import Posteriors
from allocator.quadrature import FloatArray

__all__ = ["Exp3IX"]


@dataclass(frozen=True, slots=True)
class Exp3IX:
    """Exponential weights on importance-weighted losses, the loss being how far a unit's reward is from the best possible.

    Parameters
    ----------
    rate : > 0, times the learning rate of the source.
    low, high : least and largest value of the objective, in its natural units; needed unless it is binary. Rewards beyond void
        the guarantee, nothing more.
    """

    rate: float = 1.0
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        require_number("rate", self.rate, "a finite number above 0", lambda x: x > 0.0)
        if (self.low is None) != (self.high is None):
            raise ArgumentError("low" if self.low is None else "high", None, "both bounds, low and high, or neither")
        if self.low is not None:
            require_number("low", self.low, "a finite number", lambda _: True)
            require_number("high", self.high, f"a finite number above low, {self.low}", lambda x: x > float(self.low or 0.0))

    def weights(self, posteriors: Posteriors, context: Context | None = None) -> FloatArray:
        """Shape (arms,), sums to 1. Needs the context. ArgumentError without bounds for an objective that is not binary."""
        context = needed(context)
        objective, arms, moments = context.objective, len(posteriors.arms), context.moments
        if not isinstance(objective, MetricObjective):
            raise ArgumentError("name", "exp3-ix", "another policy: this one needs a single metric as the objective")
        metric = objective.metric
        if self.high is None and metric.type != "binary":
            raise ArgumentError("high", None, "the least and the largest value of the objective, low and high")
        low, high = self.low or 0.0, 1.0 if self.high is None else self.high
        units = sum(m.n for m in moments)
        if arms == 1 or units == 0:
            return np.full(arms, 1 / arms)
        layout, j, step = layout_of(context.evidence.metrics), objective.index, metric.resolution

        def losses(weights: int, rewards: int, unit: int) -> FloatArray:
            """Σ w^i ℓ an arm, w^i being `unit` in whole numbers: of sums of weights and of weighted rewards."""
            ones = np.array([m.sums[weights] / unit for m in moments])
            values = np.array([m.sums[rewards] / unit for m in moments]) * step
            short = values - low * ones if metric.direction == "down" else high * ones - values
            return np.maximum(short / (high - low), 0.0)

        first = losses(layout.w, layout.wy + j, WEIGHT_UNIT)
        second = losses(layout.w2, layout.w2y + j, WEIGHT_UNIT**2)
        eta = self.rate * float(np.sqrt(np.log(arms) / (arms * units)))
        total = np.divide(first**2, first + eta / 2 * second, out=np.zeros(arms), where=first > 0.0)
        return normalise(np.exp(-eta * (total - total.min())))
