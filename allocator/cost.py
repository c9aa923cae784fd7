"""What an experiment has cost so far: units that did not get the best arm, times how much worse their arm may be.

The regret of the units counted is Σ_k n_k (best mean - μ_k). With simultaneous intervals for all means, at any time and together
with probability 1 - alpha, no more than

    Σ_k n_k (max_{j ≠ k} high_j - low_k)⁺        over arms j that may be chosen

(high and low change places where less is better). Each arm's interval is at alpha / arms; by the union bound they hold together.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from allocator.errors import ArgumentError
from allocator.inference import Observations, means

__all__ = ["ArmCost", "Cost", "cost_so_far"]


@dataclass(frozen=True, slots=True)
class ArmCost:
    """What one arm's units cost against the best arm, in the metric's unit, summed over its units.

    Parameters
    ----------
    units : that were counted on the arm.
    estimate : units × (best estimate - the arm's); nan without an estimate.
    most : the bound; infinite without an interval.
    """

    arm: str
    units: int
    estimate: float
    most: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What all arms' units cost, and those held back on control, which are listed last if there are any.

    Parameters
    ----------
    estimate, most : of all units; a unit: see `units`.
    """

    arms: tuple[ArmCost, ...]
    held_back: ArmCost | None
    units: int
    estimate: float
    most: float
    alpha: float
    method: str
    assumptions: tuple[str, ...]


def cost_so_far(
    observations: Observations,
    units: Sequence[int],
    control: str,
    held_back: int = 0,
    alpha: float = 0.05,
    barred: Collection[str] = (),
) -> Cost:
    """The cost of the units so far.

    Parameters
    ----------
    observations : of the objective, for the means.
    units : an arm, in the order of `observations.arms`; those whose rewards are not in yet cost as much.
    control, held_back : units held back on that arm.
    barred : arms that may not be chosen: the best is among the others, and one of these can have cost less than nothing.

    Raises
    ------
    ArgumentError : not one number an arm, an unknown control, alpha outside its domain.
    """
    arms = observations.arms
    if len(units) != len(arms):
        raise ArgumentError("units", list(units), f"one number for each of {len(arms)} arms")
    c = observations.control(control)
    found = means(observations, alpha=alpha / len(arms))
    sign = 1.0 if observations.metric.direction == "up" else -1.0
    mean = sign * np.array([each.estimate for each in found])
    ends = sign * np.array([(each.low, each.high) for each in found])
    low, high = ends.min(axis=1), ends.max(axis=1)
    free = np.array([arm not in barred for arm in arms])
    best = np.max(mean[free], initial=-np.inf, where=np.isfinite(mean[free])) if np.isfinite(mean[free]).any() else np.nan
    rival = np.array([np.max(np.delete(high, k), initial=-np.inf, where=np.delete(free, k)) for k in range(len(arms))])
    each_estimate, each_most = best - mean, np.maximum(rival - low, 0.0)

    def cost(k: int, n: int) -> ArmCost:
        if n == 0:
            return ArmCost(arms[k], 0, 0.0, 0.0)
        return ArmCost(arms[k], n, n * float(each_estimate[k]), n * float(each_most[k]))

    rows = tuple(cost(k, n) for k, n in enumerate(units))
    kept = cost(c, held_back) if held_back else None
    every = (*rows, kept) if kept else rows
    return Cost(
        arms=rows,
        held_back=kept,
        units=sum(row.units for row in every),
        estimate=sum(row.estimate for row in every),
        most=sum(row.most for row in every),
        alpha=alpha,
        method=f"units × difference to the best mean, bounded by {found[0].method} of each mean at {alpha:g} / {len(arms)}",
        assumptions=found[0].assumptions,
    )
