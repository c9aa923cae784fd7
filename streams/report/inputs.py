"""What a report is made of: spec, sums, weights and decisions as they were read, and what several parts derive from them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.health import HealthCheck
from allocator.inference import Observations
from allocator.moments import Moments
from allocator.policies import Context
from allocator.posterior import Posteriors
from allocator.standardise import comparable_posteriors
from allocator.weights import Weights
from streams.allocate.totals import Totals
from streams.health import health_of
from streams.holdback import HoldbackState, read_holdback
from streams.records import Decision

__all__ = ["Inputs", "number"]

PERIODS_MAX = 1e15
"""A time at which every period is over."""


@dataclass(frozen=True)
class Inputs:
    """One experiment as it is at `now`, in seconds since the epoch.

    Parameters
    ----------
    evidence, held_back, counters : of its sums.
    by_segment : training moments by segment, period and arm.
    weights : in force, by segment; those of the experiment under None.
    decisions : of the experiment as a whole, oldest first.
    cautions : what whoever read them has to say.
    """

    experiment: Experiment
    evidence: Evidence
    by_segment: Mapping[str, Mapping[int, Mapping[str, Moments]]]
    held_back: Moments
    counters: Mapping[str, int]
    weights: Mapping[str | None, Weights]
    decisions: Sequence[Decision]
    now: float
    health: Sequence[HealthCheck] = ()
    holdback: HoldbackState | None = None
    cautions: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, experiment: Experiment, totals: Totals, weights: Sequence[Weights], decisions: Sequence[Decision], now: float
    ) -> Inputs:
        """From what was read of the topics."""
        whole = next((each for each in weights if each.segment is None), None)
        return cls(
            experiment=experiment,
            evidence=totals.training(experiment),
            by_segment=totals.by_segment(experiment),
            held_back=totals.held_back(experiment),
            counters=totals.counters(),
            weights={each.segment: each for each in weights},
            decisions=decisions,
            now=now,
            health=health_of(experiment, totals, decisions, whole, now).checks,
            holdback=read_holdback(experiment, totals, now),
        )

    @cached_property
    def context(self) -> Context:
        """Of a decision for the whole experiment."""
        return Context.of(self.experiment, self.evidence, self.now)

    @cached_property
    def posteriors(self) -> Posteriors:
        """Of the objective, comparable between arms."""
        return comparable_posteriors(self.experiment, self.evidence, self.now)

    @cached_property
    def others(self) -> tuple[str, ...]:
        """Every arm but control."""
        return tuple(arm for arm in self.experiment.arm_ids if arm != self.experiment.control)

    def observed(self, metric: str) -> tuple[Observations, bool]:
        """The metric's units whose rewards are all in; all units, and True, while there are none such."""
        finished = Observations.of(self.experiment, metric, self.evidence, self.now)
        if any(moments.n for moments in finished.totals()):
            return finished, False
        return Observations.of(self.experiment, metric, self.evidence, PERIODS_MAX), True

    def observed_by_segment(self, metric: str) -> dict[str, Observations]:
        """The same periods of every segment, by name."""
        experiment, (whole, _) = self.experiment, self.observed(metric)
        periods = list(self.evidence.by_period)[: len(whole.periods)]  # those that are over come first
        zero = Moments.zero(len(experiment.columns))
        return {
            segment: replace(
                whole,
                periods=[{arm: cells.get(period, {}).get(arm, zero) for arm in experiment.arm_ids} for period in periods],
            )
            for segment, cells in sorted(self.by_segment.items())
        }


def number(value: float) -> float | None:
    """None for nan and infinities, which JSON does not have."""
    return float(value) if math.isfinite(value) else None
