"""A spec compiled for the fold: what an experiment wants from an exposure, and of each metric."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from math import floor, inf

from allocator.covariates import CovariateColumns
from allocator.decide import slices_of
from allocator.delay import lag_edges
from allocator.experiment import OTHER_SEGMENT, Experiment
from allocator.moments import STEPS_MAX, Layout, layout_of
from allocator.phases import phase_key, phases_of

__all__ = ["ROUNDING_S", "MetricPlan", "Plan"]

ROUNDING_S = 1.0
"""More than sums of times can be off: what is kept is kept so much longer than anybody can ask for it."""


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
    grace_s: float
    horizon_s: float
    """The window and the grace: how long after its exposure a reward may be, and how far behind its topic."""
    keep_s: float
    """How long after its `ts` a reward is kept for the experiment: so long the exposure of its life may come."""
    incremental: bool
    """Whether a further reward changes the unit's value in a way that needs no look at the earlier ones, and nothing else."""
    lagged: bool
    """Whether the lags of its rewards are counted."""
    cap: int | None
    """In steps: what the unit's rewards make is cut off there, in size. A cut one does not say what it was."""
    reported: int | None
    """Place in the moments of the indicator that the unit has a reward, where others are excluded."""
    lag_bounds: tuple[float, ...]
    """What parts the bins of lags: `allocator.delay.lag_edges` without the first and the last."""

    @classmethod
    def of(cls, name: str, experiment: Experiment) -> MetricPlan:
        metric = experiment.metrics[name]
        steps = 1.0 / metric.resolution
        binary = metric.type == "binary"
        adds = metric.missing == "zero" and (binary or metric.aggregate == "sum")
        most = 1.0 if binary else STEPS_MAX / steps
        skew_s, grace_s = experiment.clock_skew_s, experiment.grace_s
        return cls(
            index=experiment.metric_names.index(name),
            steps_per_one=steps,
            window_s=metric.window_s,
            aggregate=metric.aggregate,
            least=-most if metric.type == "value" else 0.0,
            most=most,
            whole=metric.type != "value",
            layout=layout_of(len(experiment.columns)),
            clock_skew_s=skew_s,
            grace_s=grace_s,
            horizon_s=metric.window_s + grace_s,
            keep_s=max(m.window_s for m in experiment.metrics.values()) + grace_s + skew_s + ROUNDING_S,
            incremental=adds and metric.cap is None,
            lagged=adds,
            cap=None if metric.cap is None else floor(metric.cap * steps + 0.5),
            reported=experiment.reported.get(name),
            lag_bounds=tuple(lag_edges(metric.window_s)[1:-1].tolist()),
        )

    def accepts(self, value: float) -> bool:
        """Whether the value is in the metric's domain."""
        return self.least <= value <= self.most and not (self.whole and value % 1)

    def quantise(self, value: float) -> int:
        """Steps of the resolution, halves up. The value is in the domain."""
        return floor(value * self.steps_per_one + 0.5)

    def after(self, former: int, value: float) -> int:
        """What one more value makes of a unit's, in steps, where `incremental`."""
        steps = floor(value * self.steps_per_one + 0.5)
        return former + steps if self.aggregate == "sum" else max(former, steps)


@dataclass(slots=True)
class Plan:
    """One phase of an experiment. `segments` empty: the segments of exposures are ignored."""

    key: str
    """Its `allocator.phases.phase_key`."""
    name: str
    """The experiment's."""
    since: float
    until: float
    """Exposures count here by their `ts`, from `since` on and before `until`."""
    arms: frozenset[str]
    segments: frozenset[str]
    metrics: dict[str, MetricPlan]
    layout: Layout
    period_s: float
    horizon_s: float
    """The longest window and the grace: how long a unit's life goes on, and how far behind its topic an exposure may be."""
    grace_s: float
    keep_s: float
    """How long after its `ts` an exposure is kept: so long a reward of its life may come. Longer than rewards before it are."""
    covariates: CovariateColumns | None
    counts_versions: bool
    """Whether units are counted by weights version: the segments have no weights, and versions, of their own."""

    @classmethod
    def phases(cls, experiment: Experiment) -> Iterator[Plan]:
        """Of every phase of an experiment, in order."""
        phases = phases_of(experiment)
        for phase, after in zip_longest(phases, phases[1:]):
            yield cls.of(phase, inf if after is None else after.since)

    @classmethod
    def of(cls, experiment: Experiment, until: float = inf) -> Plan:
        grace_s = experiment.grace_s
        metrics = {name: MetricPlan.of(name, experiment) for name in experiment.metrics}
        horizon_s = max(m.horizon_s for m in metrics.values())
        return cls(
            key=phase_key(experiment),
            name=experiment.experiment,
            since=experiment.since,
            until=until,
            arms=frozenset(experiment.arm_ids),
            segments=frozenset(experiment.segments),
            metrics=metrics,
            layout=layout_of(len(experiment.columns)),
            period_s=experiment.period_s,
            horizon_s=horizon_s,
            grace_s=grace_s,
            keep_s=horizon_s + grace_s + 2 * ROUNDING_S,
            covariates=CovariateColumns.of(experiment),
            counts_versions=len(slices_of(experiment)) == 1,
        )

    def period(self, ts: float) -> int:
        """The one that an exposure is of: from its first moment on and before the next one's, to the last bit."""
        period = int(ts // self.period_s)
        return period - 1 if ts < period * self.period_s else period + (ts >= (period + 1) * self.period_s)

    def segment(self, exposed: str | None) -> str:
        """The segment an exposure is counted in."""
        return exposed if exposed is not None and exposed in self.segments else OTHER_SEGMENT if self.segments else ""
