"""Mean counts: Gamma(α, β) an arm, conjugate to events and units."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import scipy  # scipy.special loads when first used: the command line starts in half the time

from allocator.posterior.protocol import tails
from allocator.quadrature import Contest, Even, FloatArray, Gammas, contest

__all__ = ["GammaPosteriors"]


@dataclass(frozen=True, eq=False)
class GammaPosteriors:
    """Gamma(α, β) an arm, mean α / β.

    Parameters
    ----------
    arms : names.
    alpha, beta : shape (arms,), > 0: the prior's and the units' events, and units, over the dispersion; all nan where nothing is
        known.
    down : whether the lowest mean is the best.
    """

    method: ClassVar[str] = "gamma posterior of a mean count, over the dispersion"
    assumptions: ClassVar[tuple[str, ...]] = (
        "units are independent",
        "each arm's mean is the same for every unit",
        "the variance of a count is the mean times a dispersion that is known once it is estimated",
    )

    arms: tuple[str, ...]
    alpha: FloatArray
    beta: FloatArray
    down: bool = False

    @property
    def mean(self) -> FloatArray:
        """α / β, shape (arms,)."""
        return self.alpha / self.beta

    @property
    def sd(self) -> FloatArray:
        """√α / β, shape (arms,)."""
        return np.asarray(np.sqrt(self.alpha) / self.beta)

    def interval(self, level: float = 0.95) -> FloatArray:
        """Equal-tailed, shape (arms, 2). ArgumentError unless 0 < level < 1."""
        return np.asarray(scipy.special.gammaincinv(self.alpha[:, None], tails(level)) / self.beta[:, None])

    def prob_best(self) -> FloatArray:
        """See `Posteriors`."""
        return self._contest.prob_best

    def prob_beats(self, control: int) -> FloatArray:
        """See `Posteriors`."""
        return self._contest.prob_beats(control)

    def expected_loss(self) -> FloatArray:
        """See `Posteriors`."""
        return self._contest.expected_loss(self.mean)

    @cached_property
    def _contest(self) -> Contest | Even:
        if not np.all(np.isfinite(self.alpha) & np.isfinite(self.beta)):
            return Even(len(self.arms))
        return contest(Gammas(self.alpha, self.beta), self.down)
