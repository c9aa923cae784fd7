"""What traffic follows: a number a unit, made of its metrics, and the family of posteriors for its mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from allocator.experiment import Experiment, Metric
from allocator.moments import Moments
from allocator.posterior import Posteriors, posteriors
from allocator.samples import Samples, samples_of

__all__ = ["Objective"]


@dataclass(frozen=True, slots=True)
class Objective:
    """One metric as the objective.

    Parameters
    ----------
    metric : its declaration: type, direction, resolution, prior.
    index : its place in the moments.
    arms : names, in the spec's order.
    """

    metric: Metric
    index: int
    arms: tuple[str, ...]

    @classmethod
    def of(cls, experiment: Experiment, name: str | None = None) -> Objective:
        """The experiment's objective, or another of its metrics seen as one."""
        name = name or experiment.objective
        return cls(experiment.metrics[name], experiment.metric_names.index(name), experiment.arm_ids)

    def samples(self, moments: Sequence[Moments]) -> Samples:
        """The objective of every arm's moments."""
        return samples_of(self.metric, self.index, moments)

    def posteriors(self, samples: Samples) -> Posteriors:
        """What the samples say about each arm's mean."""
        return posteriors(self.metric, self.arms, samples)
