"""Covariates: numbers known of a unit before it is served, counted beside its metrics so that CUPED can use them.

They are columns of the moments behind those of the metrics, in whole steps of a resolution as values are. A unit has the
values of its first exposure for its whole life. What is missing, or is no number that fits, counts as 0, and one further column
is 1 for units that lack any: a unit is never lost for it, and an adjustment by that column too is right whatever the reason why
values are missing (the missing-indicator method; Zhao & Ding, "To adjust or not to adjust? Estimating the average treatment
effect in randomized experiments with missing covariates", JASA 2022: what matters is that neither depends on the arm).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor
from typing import Any

from allocator.experiment import Experiment
from allocator.moments import STEPS_MAX

__all__ = ["CovariateColumns"]


@dataclass(frozen=True, slots=True)
class CovariateColumns:
    """How an experiment counts covariates.

    Parameters
    ----------
    first : place of the first in the moments; the others follow, and behind them the indicator of units that lack any.
    names : in the order of the columns.
    steps_per_one : of each.
    """

    first: int
    names: tuple[str, ...]
    steps_per_one: tuple[float, ...]

    @classmethod
    def of(cls, experiment: Experiment) -> CovariateColumns | None:
        """None for an experiment without covariates."""
        if not experiment.covariates:
            return None
        first = len(experiment.columns) - len(experiment.covariates) - 1
        names, resolutions = zip(*((c.name, c.resolution) for c in experiment.covariates), strict=True)
        return cls(first, names, tuple(1.0 / resolution for resolution in resolutions))

    def steps(self, given: Mapping[str, Any]) -> list[int]:
        """What a unit with these covariates has in the columns from `first` on."""
        found, missing = [], 0
        for name, steps in zip(self.names, self.steps_per_one, strict=True):
            value = given.get(name)
            if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= STEPS_MAX / steps:
                found.append(floor(value * steps + 0.5))
            else:
                found.append(0)
                missing = 1
        return [*found, missing]
