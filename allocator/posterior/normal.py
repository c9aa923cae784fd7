"""Means by their normal limit: normal(mean, sd²) an arm."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import scipy  # scipy.special loads when first used: the command line starts in half the time

from allocator.errors import ArgumentError
from allocator.posterior.domain import check_shape, known, tails
from allocator.quadrature import Contest, Even, FloatArray, Normals, contest

__all__ = ["NormalPosteriors"]


@dataclass(frozen=True, eq=False)
class NormalPosteriors:
    """normal(mean, sd²) an arm: for estimates with a standard error, however they were made.

    Parameters
    ----------
    arms : names.
    mean, sd : shape (arms,), sd ≥ 0; all nan where no arm has a unit.
    down : whether the lowest mean is the best.

    Raises
    ------
    ArgumentError : shapes differ, or a value is outside its domain.
    """

    method: ClassVar[str] = "normal posterior of a mean"
    assumptions: ClassVar[tuple[str, ...]] = ("estimates are normal: units enough", "standard errors are known")

    arms: tuple[str, ...]
    mean: FloatArray
    sd: FloatArray
    down: bool = False

    def __post_init__(self) -> None:
        check_shape(self.arms, mean=self.mean, sd=self.sd)
        if self.sd.min() < 0.0:
            raise ArgumentError("sd", self.sd.tolist(), "numbers of at least 0")

    def interval(self, level: float = 0.95) -> FloatArray:
        """Equal-tailed, shape (arms, 2). ArgumentError unless 0 < level < 1."""
        half = float(scipy.special.ndtri(tails(level)[1])) * self.sd
        return np.stack([self.mean - half, self.mean + half], axis=1)

    def prob_best(self) -> FloatArray:
        """See `Posteriors`."""
        return self._contest.prob_best

    def prob_beats(self, control: int) -> FloatArray:
        """See `Posteriors`."""
        return self._contest.prob_beats(control)

    def expected_loss(self) -> FloatArray:
        """See `Posteriors`."""
        return self._contest.expected_loss(-self.mean if self.down else self.mean)

    @cached_property
    def _contest(self) -> Contest | Even:
        if not known(mean=self.mean, sd=self.sd):
            return Even(len(self.arms))
        return contest(Normals(self.mean, self.sd), self.down)
