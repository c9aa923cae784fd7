"""The family of a metric's posteriors, and its parameters from samples and prior."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from allocator.experiment import Metric
from allocator.moments import Moments
from allocator.posterior.beta import BetaPosteriors
from allocator.posterior.normal import NormalPosteriors
from allocator.posterior.protocol import Posteriors
from allocator.samples import Samples, samples_of

__all__ = ["posteriors", "posteriors_of"]

PRIOR_A = PRIOR_B = 1.0
"""Beta(1, 1): every rate is as likely as any other."""


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
