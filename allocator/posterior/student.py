"""Means of values with unknown variance: mean + scale · t(dof) an arm."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import scipy  # scipy.special loads when first used: the command line starts in half the time

from allocator.posterior.protocol import tails
from allocator.quadrature import Contest, Even, FloatArray, Students, contest

__all__ = ["StudentPosteriors"]


@dataclass(frozen=True, eq=False)
class StudentPosteriors:
    """mean + scale · t(dof) an arm: what is known of a normal mean whose variance is estimated too.

    Parameters
    ----------
    arms : names.
    mean, scale : shape (arms,), scale ≥ 0; all nan where no arm has a unit and the prior has no scale.
    dof : shape (arms,), > 0: degrees of freedom.
    down : whether the lowest mean is the best.
    """

    method: ClassVar[str] = "Student t posterior of a mean, variance unknown"
    assumptions: ClassVar[tuple[str, ...]] = (
        "units are independent",
        "each arm's mean and variance are the same for every unit",
        "values are normal, or units enough for their mean to be",
    )

    arms: tuple[str, ...]
    mean: FloatArray
    scale: FloatArray
    dof: FloatArray
    down: bool = False

    @property
    def sd(self) -> FloatArray:
        """scale √(dof / (dof - 2)), shape (arms,); inf for 2 degrees of freedom or fewer."""
        excess = np.maximum(self.dof - 2.0, 0.0)
        return self.scale * np.sqrt(np.divide(self.dof, excess, out=np.full_like(excess, np.inf), where=excess > 0.0))

    def interval(self, level: float = 0.95) -> FloatArray:
        """Equal-tailed, shape (arms, 2). ArgumentError unless 0 < level < 1."""
        half = scipy.special.stdtrit(self.dof, tails(level)[1]) * self.scale
        return np.stack([self.mean - half, self.mean + half], axis=1)

    def prob_best(self) -> FloatArray:
        """See `Posteriors`."""
        return self._contest.prob_best

    def prob_beats(self, control: int) -> FloatArray:
        """See `Posteriors`."""
        return self._contest.prob_beats(control)

    def expected_loss(self) -> FloatArray:
        """See `Posteriors`; infinite for 1 degree of freedom or fewer, where this gives a finite number."""
        return self._contest.expected_loss(self.mean)

    @cached_property
    def _contest(self) -> Contest | Even:
        if not np.all(np.isfinite(self.mean) & np.isfinite(self.scale)):
            return Even(len(self.arms))
        return contest(Students(self.mean, self.scale, self.dof), self.down)
