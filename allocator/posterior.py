"""What the moments of every arm say about one metric: a posterior of its mean, an arm.

`posteriors_of` picks the family from the metric's type. A family knows its means, its intervals and the probability that
each arm is the best; policies see nothing else, so a new family needs no new policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import scipy  # scipy.special loads when first used: the command line starts in half the time

from allocator.experiment import Metric
from allocator.moments import Moments
from allocator.quadrature import FloatArray, prob_best_beta, prob_best_normal
from allocator.samples import Samples, samples_of

__all__ = ["BetaPosteriors", "NormalPosteriors", "Posteriors", "posteriors", "posteriors_of"]

PRIOR_A = PRIOR_B = 1.0
"""Beta(1, 1): every rate is as likely as any other."""


class Posteriors(Protocol):
    """One posterior an arm, of the mean of one metric in natural units."""

    @property
    def arms(self) -> tuple[str, ...]:
        """Arm names, in the order of every array."""

    @property
    def mean(self) -> FloatArray:
        """Posterior means, shape (arms,); nan where nothing at all is known."""

    def interval(self, level: float = 0.95) -> FloatArray:
        """Equal-tailed credible intervals, shape (arms, 2); nan where nothing at all is known."""

    def prob_best(self) -> FloatArray:
        """P(arm has the best mean), shape (arms,), > 0, sum 1 within 5e-9. Best is least for direction "down"."""


@dataclass(frozen=True, eq=False)
class BetaPosteriors:
    """Rates: Beta(a, b) an arm.

    Parameters
    ----------
    arms : names.
    a, b : shape (arms,), > 0.
    down : whether the lowest rate is the best.
    """

    arms: tuple[str, ...]
    a: FloatArray
    b: FloatArray
    down: bool = False

    @property
    def mean(self) -> FloatArray:
        """a / (a + b), shape (arms,)."""
        return self.a / (self.a + self.b)

    def interval(self, level: float = 0.95) -> FloatArray:
        """Equal-tailed, shape (arms, 2)."""
        tails = np.array([(1 - level) / 2, (1 + level) / 2])
        return np.asarray(scipy.special.betaincinv(self.a[:, None], self.b[:, None], tails))

    def prob_best(self) -> FloatArray:
        """See `Posteriors`."""
        return self._prob_best

    @cached_property
    def _prob_best(self) -> FloatArray:
        return prob_best_beta(self.b, self.a) if self.down else prob_best_beta(self.a, self.b)


@dataclass(frozen=True, eq=False)
class NormalPosteriors:
    """Means of values or counts: normal(mean, sd²) an arm.

    Parameters
    ----------
    arms : names.
    mean, sd : shape (arms,), sd ≥ 0; all nan where no arm has a unit.
    down : whether the lowest mean is the best.
    """

    arms: tuple[str, ...]
    mean: FloatArray
    sd: FloatArray
    down: bool = False

    def interval(self, level: float = 0.95) -> FloatArray:
        """Equal-tailed, shape (arms, 2)."""
        half = float(scipy.special.ndtri((1 + level) / 2)) * self.sd
        return np.stack([self.mean - half, self.mean + half], axis=1)

    def prob_best(self) -> FloatArray:
        """See `Posteriors`."""
        return self._prob_best

    @cached_property
    def _prob_best(self) -> FloatArray:
        if not np.all(np.isfinite(self.mean)):
            return np.full(len(self.arms), 1 / len(self.arms))
        return prob_best_normal(-self.mean if self.down else self.mean, self.sd)


def posteriors_of(metric: Metric, j: int, arms: Sequence[str], moments: Sequence[Moments]) -> Posteriors:
    """The posteriors of metric `j` (its place in the moments), arm by arm."""
    return posteriors(metric, arms, samples_of(metric, j, moments))


def posteriors(metric: Metric, arms: Sequence[str], samples: Samples) -> Posteriors:
    """The posteriors of a metric's mean, arm by arm.

    Binary: Beta(1 + successes, 1 + failures). Value and count: see `_normal`.
    """
    down = metric.direction == "down"
    if metric.type == "binary":
        return BetaPosteriors(tuple(arms), PRIOR_A + samples.total, PRIOR_B + (samples.n - samples.total), down)
    return _normal(tuple(arms), samples, down)


def _normal(arms: tuple[str, ...], samples: Samples, down: bool) -> NormalPosteriors:
    """Unknown mean and variance under a unit-information prior (Kass & Wasserman 1995).

    The prior is worth one unit whose mean M and variance V are those of all arms' units together, which needs no scale from
    the owner and keeps an arm whose few values agree from looking certain. The conjugate posterior of the mean is a Student t
    (Murphy 2007, §3); here a normal with its moments: mean (n ȳ + M) / (n + 1), variance σ² / (n + 1) with
    σ² = (V + Σ(y - ȳ)² + n / (n + 1) (ȳ - M)²) / (n + 1).
    """
    n, total = samples.n, samples.total
    units = float(n.sum())
    if units == 0:
        unknown = np.full(len(arms), np.nan)
        return NormalPosteriors(arms, unknown, unknown, down)
    each = np.divide(total, n, out=np.zeros_like(total), where=n > 0)
    middle = float(total.sum()) / units
    pooled = float((samples.squares + n * (each - middle) ** 2).sum()) / units
    mean = (total + middle) / (n + 1)
    variance = (pooled + samples.squares + n / (n + 1) * (each - middle) ** 2) / (n + 1) ** 2
    return NormalPosteriors(arms, samples.origin + mean, np.sqrt(variance), down)
