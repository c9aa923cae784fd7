"""A spec compiled for the fold: what an experiment wants from an exposure, and from a reward of each metric."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import floor

from allocator.moments import STEPS_MAX, Layout, layout_of
from allocator.spec import Experiment, Metric

__all__ = ["OTHER_SEGMENT", "Kind", "MetricPlan", "Plan"]

OTHER_SEGMENT = "other"
"""Where exposures of an undeclared segment are counted, if the spec declares any."""


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
    clock_skew_s: float
    incremental: bool
    """Whether a further reward changes the unit's value in a way that needs no look at the earlier ones."""

    @classmethod
    def of(cls, index: int, metric: Metric, clock_skew_s: float) -> MetricPlan:
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
            clock_skew_s=clock_skew_s,
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
    window_max_s: float
    cell_ids: dict[tuple[str, str, bool, int], int] = field(default_factory=dict)
    """Cell by (segment, arm, holdback, period): what the fold has met under this spec."""

    @classmethod
    def of(cls, experiment: Experiment) -> Plan:
        skew_s = experiment.clock_skew_s
        metrics = {name: MetricPlan.of(j, metric, skew_s) for j, (name, metric) in enumerate(experiment.metrics.items())}
        return cls(
            name=experiment.experiment,
            arms=frozenset(experiment.arm_ids),
            segments=frozenset(experiment.segments),
            metrics=metrics,
            layout=layout_of(len(metrics)),
            period_s=experiment.period_s,
            window_max_s=max(m.window_s for m in experiment.metrics.values()),
        )

    def segment(self, exposed: str | None) -> str:
        """The segment an exposure is counted in."""
        return exposed if exposed is not None and exposed in self.segments else OTHER_SEGMENT if self.segments else ""


@dataclass(slots=True)
class Kind:
    """What rewards are of: a metric, in one experiment or (`experiment` "") in all that declare it.

    Interned to a small number in unit records. `wanted_by` maps an experiment to what it does with the metric; `least`,
    `most` and `whole` bound the values that any of them takes.
    """

    metric: str
    experiment: str
    wanted_by: dict[str, MetricPlan] = field(default_factory=dict)
    window_s: float = 0.0
    least: float = 0.0
    most: float = 0.0
    whole: bool = False

    def refresh(self, plans: Iterable[Plan]) -> None:
        """Take over who wants the metric now."""
        self.wanted_by = {
            plan.name: plan.metrics[self.metric]
            for plan in plans
            if self.metric in plan.metrics and self.experiment in ("", plan.name)
        }
        wanted = self.wanted_by.values()
        self.window_s = max((m.window_s for m in wanted), default=0.0)
        self.least = min((m.least for m in wanted), default=0.0)
        self.most = max((m.most for m in wanted), default=0.0)
        self.whole = all(m.whole for m in wanted)

    def domain(self) -> str:
        """The values somebody takes, in words."""
        if not self.whole:
            return f"a number of at most {self.most:g} in size"
        return "0 or 1" if self.most == 1.0 else "a whole number that is not negative"
