"""What covariates do for one metric of an experiment: each arm's effect with and without CUPED, and the variance that it saves.

By `adjusted_means`, over the periods whose rewards are all in, with the experiment's covariates and, so that units which lack one
do no harm, the indicator that they do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # scipy.special loads when first used: the command line starts in half the time

from allocator.errors import ArgumentError
from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.inference.arguments import require_inside_unit
from allocator.inference.cuped import adjusted_means
from allocator.metric_tree import resolutions_of

__all__ = ["BALANCE_Z", "AdjustedEffect", "adjusted_effects"]

BALANCE_Z = 4.0
"""Standard errors by which an arm's covariates may differ from all units': beyond, chance does not do it."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class AdjustedEffect:
    """An arm's mean less control's, in the metric's unit; intervals are for one look at a time fixed beforehand.

    Parameters
    ----------
    raw, raw_interval : without covariates.
    adjusted, adjusted_interval : with them.
    saved : 1 - (adjusted standard error / raw one)²: with so much of the variance gone, 1 - `saved` of the units do as well.
    balanced : whether the arm's and control's covariates are as all units'. If not, they were not known before exposure, or units
        are lost: do not use the adjustment.
    units : of all arms, in the periods used.
    lacking : share of these units that lack a covariate.
    alpha : level of the intervals is 1 - alpha.
    """

    metric: str
    arm: str
    raw: float
    raw_interval: Interval
    adjusted: float
    adjusted_interval: Interval
    saved: float
    balanced: bool
    units: int
    lacking: float
    alpha: float
    method: str
    assumptions: tuple[str, ...]


def adjusted_effects(
    experiment: Experiment, evidence: Evidence, name: str, now: float, alpha: float = 0.05
) -> tuple[AdjustedEffect, ...]:
    """Of every arm but control, in the spec's order; none where the experiment has no covariates, or no period can be used.

    Parameters
    ----------
    name : an observed metric, the mean of which is over all units.
    now : seconds since the epoch. A period counts once its last unit's window, and the grace for late events, are over.

    Raises
    ------
    ArgumentError : no such metric, one that is made of others or leaves units out, or alpha outside (0, 1).
    """
    require_inside_unit("alpha", alpha)
    if name not in experiment.metrics or name in experiment.reported:
        means = [metric for metric in experiment.metrics if metric not in experiment.reported]
        raise ArgumentError("name", name, f"an observed metric whose mean is over all units: one of {', '.join(means)}")
    over = (now - experiment.metrics[name].window_s - experiment.grace_s) / experiment.period_s
    periods = [cells for period, cells in evidence.by_period.items() if period + 1 <= over]
    places = experiment.covariate_places
    if not places or len(experiment.arms) < 2:
        return ()
    found = adjusted_means(
        experiment.arm_ids,
        experiment.control,
        periods,
        experiment.metric_names.index(name),
        places,
        resolutions_of(experiment),
    )
    if not found.periods_used:
        return ()
    reach = float(scipy.special.ndtri(1 - alpha / 2))
    used = [cells for cells in periods if all(m.n >= 2 for m in cells)]
    lacking = sum(m.sum(places[-1]) for cells in used for m in cells) / found.units_used
    far = np.abs(found.balance_z).max(axis=1) > BALANCE_Z
    base = experiment.arm_ids.index(experiment.control)
    return tuple(
        AdjustedEffect(
            metric=name,
            arm=arm,
            raw=float(found.raw_difference[k]),
            raw_interval=_around(found.raw_difference[k], reach * found.raw_difference_se[k]),
            adjusted=float(found.difference[k]),
            adjusted_interval=_around(found.difference[k], reach * found.difference_se[k]),
            saved=float(found.reduction[k]),
            balanced=not (far[k] or far[base]),
            units=found.units_used,
            lacking=lacking,
            alpha=alpha,
            method=found.method,
            assumptions=found.assumptions,
        )
        for k, arm in enumerate(experiment.arm_ids)
        if k != base
    )


def _around(centre: float, reach: float) -> Interval:
    return float(centre - reach), float(centre + reach)
