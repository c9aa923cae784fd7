"""What traffic follows: a number a unit, made of its metrics, and the posteriors of its mean.

Three forms: a metric, a sum of metrics with weights, a ratio of two. All make samples of moments and posteriors of samples, so a
policy may weigh or part the evidence without knowing the form. `Objective.of` is the one place that reads a spec.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from allocator.errors import ArgumentError
from allocator.experiment import Experiment, Metric
from allocator.moments import Moments
from allocator.posterior import Posteriors, posteriors
from allocator.posterior.student import StudentPosteriors
from allocator.samples import Samples, samples_of, samples_of_ratio, samples_of_sum

__all__ = ["LinearObjective", "MetricObjective", "Objective", "RatioObjective"]


class Objective(ABC):
    """A number a unit and what is known of its mean.

    Parameters
    ----------
    metric : type, direction and prior, as if the number had been observed as a metric.
    arms : names, in the spec's order.
    """

    metric: Metric
    arms: tuple[str, ...]

    @abstractmethod
    def samples(self, moments: Sequence[Moments]) -> Samples:
        """The objective of every arm's moments."""

    @abstractmethod
    def posteriors(self, samples: Samples) -> Posteriors:
        """What the samples say about each arm's mean."""

    @staticmethod
    def of(experiment: Experiment, name: str | None = None) -> MetricObjective:
        """The experiment's objective, or another of its metrics seen as one."""
        name = name or experiment.objective
        return MetricObjective(experiment.metrics[name], experiment.metric_names.index(name), experiment.arm_ids)


@dataclass(frozen=True)
class MetricObjective(Objective):
    """One metric.

    Parameters
    ----------
    metric : its declaration.
    index : its place in the moments.
    arms : names, in the spec's order.
    """

    metric: Metric
    index: int
    arms: tuple[str, ...]

    def samples(self, moments: Sequence[Moments]) -> Samples:
        """See `Objective`."""
        return samples_of(self.metric, self.index, moments)

    def posteriors(self, samples: Samples) -> Posteriors:
        """See `Objective`."""
        return posteriors(self.metric, self.arms, samples)


@dataclass(frozen=True)
class LinearObjective(Objective):
    """Σ c_j y_j over metrics: an overall evaluation criterion. The weights may change after the fact, the moments stay.

    Parameters
    ----------
    weights : place in the moments → c_j times the metric's resolution.
    metric : type value; its direction and prior are those of the sum.
    arms : names, in the spec's order.
    """

    weights: Mapping[int, float]
    metric: Metric
    arms: tuple[str, ...]

    @classmethod
    def over(cls, experiment: Experiment, weights: Mapping[str, float], metric: Metric | None = None) -> LinearObjective:
        """The sum of metrics by name, per natural unit of each; `metric` says direction and prior, by default up and weak.

        Raises
        ------
        ArgumentError : no weight, one that is not finite, an unknown metric, or a `metric` of another type than value.
        """
        metric = metric or Metric(type="value")
        if not weights:
            raise ArgumentError("weights", dict(weights), "a weight for at least one metric")
        for name, weight in weights.items():
            _check_name("weights", name, experiment)
            if not math.isfinite(weight):
                raise ArgumentError("weights", {name: weight}, "finite numbers")
        _check_value(metric)
        steps = {experiment.metric_names.index(name): w * _resolution(experiment, name) for name, w in weights.items()}
        return cls(steps, metric, experiment.arm_ids)

    def samples(self, moments: Sequence[Moments]) -> Samples:
        """See `Objective`."""
        return samples_of_sum(self.weights, moments)

    def posteriors(self, samples: Samples) -> Posteriors:
        """See `Objective`."""
        return posteriors(self.metric, self.arms, samples)


@dataclass(frozen=True)
class RatioObjective(Objective):
    """Σ y_j / Σ y_k, such as clicks a view where the unit is a user with many views. By the delta method, see `samples_of_ratio`.

    Parameters
    ----------
    numerator, denominator : places in the moments; values of the denominator are not negative.
    scale : resolution of the numerator over that of the denominator.
    metric : type value; its direction and prior are those of the ratio, a unit being one with an average denominator.
    arms : names, in the spec's order.
    """

    numerator: int
    denominator: int
    scale: float
    metric: Metric
    arms: tuple[str, ...]

    @classmethod
    def over(cls, experiment: Experiment, numerator: str, denominator: str, metric: Metric | None = None) -> RatioObjective:
        """The ratio of two metrics by name; `metric` says direction and prior, by default up and weak.

        Raises
        ------
        ArgumentError : an unknown metric, or a `metric` of another type than value.
        """
        metric = metric or Metric(type="value")
        _check_name("numerator", numerator, experiment)
        _check_name("denominator", denominator, experiment)
        _check_value(metric)
        j, k = experiment.metric_names.index(numerator), experiment.metric_names.index(denominator)
        scale = _resolution(experiment, numerator) / _resolution(experiment, denominator)
        return cls(j, k, scale, metric, experiment.arm_ids)

    def samples(self, moments: Sequence[Moments]) -> Samples:
        """See `Objective`."""
        return samples_of_ratio(self.numerator, self.denominator, moments, self.scale)

    def posteriors(self, samples: Samples) -> Posteriors:
        """See `Objective`."""
        found = posteriors(self.metric, self.arms, samples)
        assert isinstance(found, StudentPosteriors)  # the type is value
        return replace(found, method=RATIO_METHOD, assumptions=RATIO_ASSUMPTIONS)


RATIO_METHOD = "Student t posterior of a ratio of means, by the delta method"
RATIO_ASSUMPTIONS = (
    "units are independent",
    "each arm's means and covariances are the same for every unit",
    "units enough for the mean denominator to be nearly certain, and for the ratio to be normal",
)


def _resolution(experiment: Experiment, name: str) -> float:
    metric = experiment.metrics[name]
    return 1.0 if metric.type == "binary" else metric.resolution


def _check_name(argument: str, name: str, experiment: Experiment) -> None:
    if name not in experiment.metrics:
        raise ArgumentError(argument, name, f"a metric: one of {', '.join(experiment.metrics)}")


def _check_value(metric: Metric) -> None:
    if metric.type != "value":
        raise ArgumentError("metric", metric.type, "type value")
