"""Each arm's mean with an interval valid at any time."""

from __future__ import annotations

import numpy as np

from allocator.errors import ArgumentError
from allocator.inference import asymptotic, bernoulli, empirical_bernstein, readings
from allocator.inference.asymptotic import UNITS_MIN
from allocator.inference.boundaries import log_threshold
from allocator.inference.estimate import Estimate
from allocator.inference.observations import Method, Observations
from allocator.inference.pseudo_outcomes import Contrast
from allocator.inference.statements import of_mean

__all__ = ["means"]


def means(
    observations: Observations,
    *,
    alpha: float = 0.05,
    method: Method | None = None,
    over_all: bool = False,
    units_min: float = UNITS_MIN,
) -> tuple[Estimate, ...]:
    """Each arm's mean, in the order of the arms. Adaptive allocation does no harm.

    Parameters
    ----------
    alpha : probability that an arm's interval ever misses its mean.
    method : None for beta-mixture if binary, else empirical-bernstein if there are bounds, else asymptotic.
    over_all : False: the mean of the arm's own units, which needs no propensities. True: the mean had every unit of the
        experiment got the arm, which can be compared between arms where means drift, and for which beta-mixture does not serve.
    units_min : effective units that the asymptotic method demands of an arm.

    Raises
    ------
    ArgumentError : an argument is outside its domain, or contradicts the moments.
    """
    log_threshold(alpha)
    chosen = observations.method(method, steady=not over_all)
    if over_all and chosen == "beta-mixture":
        raise ArgumentError("method", chosen, "empirical-bernstein or asymptotic for the mean over all units")
    if over_all:
        found = readings.of_contrast(observations, Contrast(), alpha, chosen, units_min)
    else:
        found = _of_own_units(observations, alpha, chosen, units_min)
    title, assumptions = of_mean(chosen, observations, over_all=over_all)
    return tuple(
        Estimate(
            arm=arm,
            quantity="mean",
            estimate=float(found.estimate[k]),
            low=float(found.low[k]),
            high=float(found.high[k]),
            alpha=alpha,
            n=int(found.n[k]),
            method=title,
            assumptions=assumptions,
            metric=observations.name,
            refusal=found.refusals[k],
        )
        for k, arm in enumerate(observations.arms)
    )


def _of_own_units(observations: Observations, alpha: float, method: Method, units_min: float) -> readings.Readings:
    sums = observations.sums()
    refusals = [""] * len(observations.arms)
    if method == "beta-mixture":
        low, high = bernoulli.rate_interval(*observations.counts(), alpha)
    elif method == "empirical-bernstein":
        shares, least, span = observations.shares()
        low, high = (least + span * end[-1] for end in empirical_bernstein.of_own_units(shares).last().interval(alpha))
    else:
        running = asymptotic.of_own_units(sums, units_min)
        low, high = (end[-1] + sums.origin for end in running.interval(alpha))
        refusals = asymptotic.refusals(running, units_min)
    estimate = observations.averages()
    return readings.Readings(estimate, low, high, np.zeros(len(estimate)), sums.n.sum(axis=-2), refusals)
