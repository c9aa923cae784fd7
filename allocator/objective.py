"""What traffic follows: a number a unit, made of its metrics, and the posteriors of its mean.

Four forms: a metric, a sum of metrics with weights, a ratio of two, and any other tree (`allocator.metric_tree`). All make
samples of moments and posteriors of samples, so a policy may weigh or part the evidence without knowing the form. The one place
that reads a spec is `Objective.of`, for the objective and for every other metric that is read out.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from allocator.errors import ArgumentError
from allocator.experiment import Experiment, Metric
from allocator.metric_tree import Node, node_of, resolutions_of, samples_of_node
from allocator.moments import Moments
from allocator.posterior import Posteriors, posteriors
from allocator.posterior.student import StudentPosteriors
from allocator.prior import default_prior
from allocator.samples import Samples, samples_of, samples_of_ratio, samples_of_sum

__all__ = ["LinearObjective", "MetricObjective", "Objective", "RatioObjective", "TreeObjective"]


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
    def of(experiment: Experiment, name: str | None = None) -> Objective:
        """The experiment's objective, or another of its metrics seen as one, observed or derived.

        A sum of one metric with weight 1 and no prior of its own is that metric, to the last bit, whatever its type.

        Raises
        ------
        ArgumentError : the experiment has no such metric.
        """
        node, arms = node_of(experiment, name or experiment.objective), experiment.arm_ids
        leaf = _alone(node)
        if leaf is not None:
            return MetricObjective(leaf.metric, leaf.column, arms, leaf.reported)
        resolutions = resolutions_of(experiment)
        linear = node.linear
        if linear is not None:
            return LinearObjective({column: weight * resolutions[column] for column, weight in linear.items()}, node.metric, arms)
        columns = [part.column for part in node.parts if part.kind == "leaf" and part.reported is None]
        if node.kind == "ratio" and len(columns) == 2:
            above, below = columns
            return RatioObjective(above, below, resolutions[above] / resolutions[below], node.metric, arms)
        return TreeObjective(node, resolutions, arms)


def _alone(node: Node) -> Node | None:
    """The leaf that the node is, with the node's direction; None if it is more than that."""
    if node.kind == "leaf":
        return node
    if node.kind != "sum" or node.weights != (1.0,) or node.metric.prior not in {None, default_prior("value")}:
        return None
    leaf = _alone(node.parts[0])
    return None if leaf is None else replace(leaf, metric=msgspec.structs.replace(leaf.metric, direction=node.metric.direction))


@dataclass(frozen=True)
class MetricObjective(Objective):
    """One metric.

    Parameters
    ----------
    metric : its declaration.
    index : its place in the moments.
    arms : names, in the spec's order.
    reported : place of the indicator that a unit has a value, if the mean is of the units that have one.
    """

    metric: Metric
    index: int
    arms: tuple[str, ...]
    reported: int | None = None

    def samples(self, moments: Sequence[Moments]) -> Samples:
        """See `Objective`."""
        return samples_of(self.metric, self.index, moments, self.reported)

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


@dataclass(frozen=True)
class TreeObjective(Objective):
    """Any function of the metrics' means that `allocator.metric_tree` can say, by the delta method.

    Parameters
    ----------
    node : the root.
    resolutions : natural units a step, of every column of the moments.
    arms : names, in the spec's order.
    """

    node: Node
    resolutions: tuple[float, ...]
    arms: tuple[str, ...]

    @property
    def metric(self) -> Metric:  # type: ignore[override]  # a field of the other forms
        """Type value, with the root's direction and prior."""
        return self.node.metric

    def samples(self, moments: Sequence[Moments]) -> Samples:
        """See `Objective`. Parts of few units, merged, lean towards the mean of what the parts' values are."""
        return samples_of_node(self.node, self.resolutions, moments)

    def posteriors(self, samples: Samples) -> Posteriors:
        """See `Objective`."""
        found = posteriors(self.metric, self.arms, samples)
        assert isinstance(found, StudentPosteriors)  # the type is value
        return replace(found, method=TREE_METHOD, assumptions=TREE_ASSUMPTIONS)


TREE_METHOD = "Student t posterior of a function of means, by the delta method"
TREE_ASSUMPTIONS = (
    "units are independent",
    "each arm's means and covariances are the same for every unit",
    "units enough for the function to be straight over what is not known of the means",
)

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
