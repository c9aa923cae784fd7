"""The family of a metric's posteriors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from allocator.experiment import Metric, MetricType
from allocator.moments import Moments
from allocator.posterior.beta import beta_posteriors
from allocator.posterior.domain import check_moments, check_samples
from allocator.posterior.gamma import gamma_posteriors
from allocator.posterior.protocol import Posteriors
from allocator.posterior.student import student_posteriors
from allocator.prior import PseudoUnits, pseudo_units
from allocator.samples import Samples, samples_of

__all__ = ["posteriors", "posteriors_of"]


def posteriors_of(metric: Metric, j: int, arms: Sequence[str], moments: Sequence[Moments]) -> Posteriors:
    """The posteriors of metric `j` (its place in the moments), arm by arm.

    Raises
    ------
    ArgumentError : no arm, not one moments an arm, no such place, or a value of the prior is outside its domain.
    """
    check_moments(arms, moments, j)
    return _of_checked(metric, arms, samples_of(metric, j, moments))


def posteriors(metric: Metric, arms: Sequence[str], samples: Samples) -> Posteriors:
    """The posteriors of a metric's mean, arm by arm, under the metric's prior.

    Binary: Beta. Value: Student's t. Count: gamma, over the dispersion. Each family's module says how.

    Raises
    ------
    ArgumentError : no arm, not one sample an arm, or a value of the samples or of the prior is outside its domain.
    """
    check_samples(arms, samples)
    return _of_checked(metric, arms, samples)


def _of_checked(metric: Metric, arms: Sequence[str], samples: Samples) -> Posteriors:
    prior, down = pseudo_units(metric, arms), metric.direction == "down"
    return _OF_TYPE[metric.type](tuple(arms), samples, prior, down)


_OF_TYPE: dict[MetricType, Callable[[tuple[str, ...], Samples, PseudoUnits, bool], Posteriors]] = {
    "binary": beta_posteriors,
    "value": student_posteriors,
    "count": gamma_posteriors,
}
