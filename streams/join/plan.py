"""A spec compiled for the fold: what an experiment wants from an exposure, and of each metric."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

from allocator.experiment import OTHER_SEGMENT, Experiment, Metric
from allocator.moments import STEPS_MAX, Layout, layout_of

__all__ = ["MetricPlan", "Plan"]


@dataclass(frozen=True, slots=True)
class MetricPlan:
    """One metric of one experiment. `index` is its place in the moments; values from `least` to `most` are its domain."""

    index: int
    steps_per_one: float
    window_s: float
    aggregate: str
    least: float
    most: float
    whole: bool
    layout: Layout
    clock_skew_s: float
    horizon_s: float
    """How long after a reward's `ts` the unit's record is of use to it: the window and the grace."""
    incremental: bool
    """Whether a further reward changes the unit's value in a way that needs no look at the earlier ones."""

    @classmethod
    def of(cls, index: int, metric: Metric, experiment: Experiment) -> MetricPlan:
        steps = 1.0 / metric.resolution
        binary = metric.type == "binary"
        most = 1.0 if binary else STEPS_MAX / steps
        return cls(
            index=index,
            steps_per_one=steps,
            window_s=metric.window_s,
            aggregate=metric.aggregate,
            least=-most if metric.type == "value" else 0.0,
            most=most,
            whole=metric.type != "value",
            layout=layout_of(len(experiment.metrics)),
            clock_skew_s=experiment.clock_skew_s,
            horizon_s=metric.window_s + experiment.grace_s,
            incremental=binary or metric.aggregate == "sum",
        )

    def accepts(self, value: float) -> bool:
        """Whether the value is in the metric's domain."""
        return self.least <= value <= self.most and not (self.whole and value % 1)

    def quantise(self, value: float) -> int:
        """Steps of the resolution, halves up. The value is in the domain."""
        return floor(value * self.steps_per_one + 0.5)


@dataclass(slots=True)
class Plan:
    """One experiment. `segments` empty: the segments of exposures are ignored."""

    name: str
    arms: frozenset[str]
    segments: frozenset[str]
    metrics: dict[str, MetricPlan]
    layout: Layout
    period_s: float
    horizon_s: float
    """How long after its `ts` an exposure is of use."""

    @classmethod
    def of(cls, experiment: Experiment) -> Plan:
        metrics = {name: MetricPlan.of(j, metric, experiment) for j, (name, metric) in enumerate(experiment.metrics.items())}
        return cls(
            name=experiment.experiment,
            arms=frozenset(experiment.arm_ids),
            segments=frozenset(experiment.segments),
            metrics=metrics,
            layout=layout_of(len(metrics)),
            period_s=experiment.period_s,
            horizon_s=max(m.horizon_s for m in metrics.values()),
        )

    def segment(self, exposed: str | None) -> str:
        """The segment an exposure is counted in."""
        return exposed if exposed is not None and exposed in self.segments else OTHER_SEGMENT if self.segments else ""
