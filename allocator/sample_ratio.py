"""Whether arms get the units that their logged propensities promise, asked where a stage is about to be left.

The verdict is that of `check_inverse_propensities` on all training units, which is valid however often it is asked. What that
check takes for granted, that every arm it judges had a share for every unit, does not hold for an arm that was added later,
that has no share now, or that was evicted and let back: such arms count among the units and are not judged. What one arm loses
is still found, in the others, which then seem to have too many.

The evidence of the arms judged is divided by the number of all arms, so that leaving some out, whatever the reason, can only make
an alarm less likely: P(ever an alarm) ≤ α.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from allocator.errors import ArgumentError
from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.moments import PROPENSITY_MIN, Moments
from allocator.weights import PPM

__all__ = ["ALPHA", "sample_ratio_clean"]

ALPHA = 0.001
"""Probability of a false alarm over the whole life of an experiment."""


def sample_ratio_clean(experiment: Experiment, evidence: Evidence, served: Collection[str], alpha: float = ALPHA) -> bool:
    """False if the units are proven not to follow the propensities.

    Parameters
    ----------
    served : arms that have a share now.
    """
    let_back = {arm for arms in experiment.overruled.values() for arm in arms}
    judged = [arm for arm in experiment.arm_ids if arm in served and arm not in let_back and _from_the_start(evidence, arm)]
    totals = _totals(evidence)
    if not judged or not any(moments.n for moments in totals.values()):
        return True
    e = _evidence(totals, experiment, alpha)
    return math.fsum(e[arm] for arm in judged) / len(experiment.arms) < 1 / alpha


def _totals(evidence: Evidence) -> dict[str, Moments]:
    """By arm; those that were removed are units too."""
    removed: dict[str, list[Sequence[int]]] = {}
    for sums in evidence.segments.values():
        for arm in sums.keys() - set(evidence.arms):
            removed.setdefault(arm, []).append(sums[arm])
    known = dict(zip(evidence.arms, evidence.total, strict=True))
    return known | {arm: Moments.total(evidence.metrics, removed[arm]) for arm in sorted(removed)}


def _evidence(totals: dict[str, Moments], experiment: Experiment, alpha: float) -> dict[str, float]:
    from allocator.inference.propensity import check_inverse_propensities  # noqa: PLC0415  inference is built on decisions

    arms, moments = list(totals), list(totals.values())
    least = max(PROPENSITY_MIN, experiment.constraints.floor - 0.5 / PPM)
    try:
        check = check_inverse_propensities(arms, moments, least, alpha)
    except ArgumentError:  # the floor was lower once: then only the least that the join takes is known
        check = check_inverse_propensities(arms, moments, PROPENSITY_MIN, alpha)
    return dict(zip(check.arms, check.arm_e, strict=True))


def _from_the_start(evidence: Evidence, arm: str) -> bool:
    """Whether it has units in the first period, or there are no periods to tell by."""
    if not evidence.periods:
        return True
    cell = evidence.periods[min(evidence.periods)].get(arm)
    return cell is not None and cell[0] > 0
