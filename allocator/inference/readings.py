"""A contrast at the last look, by each method, in natural units, and the results made of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.inference import asymptotic, bernoulli, empirical_bernstein
from allocator.inference.estimate import Estimate, Quantity
from allocator.inference.observations import Method, Observations
from allocator.inference.p_values import always_valid
from allocator.inference.pseudo_outcomes import Contrast
from allocator.inference.statements import Statement
from allocator.quadrature import FloatArray

__all__ = ["Readings", "against_control", "of_contrast", "of_rates"]

CONTRADICTION = "no value agrees with the evidence: propensities or bounds are probably not what they were"


@dataclass(frozen=True, slots=True)
class Readings:
    """Arrays of shape (arms,).

    Parameters
    ----------
    estimate, low, high : as in `Estimate`.
    log_e : ln of the e-process of "it is 0".
    n : units.
    refusals : as in `Estimate`.
    """

    estimate: FloatArray
    low: FloatArray
    high: FloatArray
    log_e: FloatArray
    n: FloatArray
    refusals: list[str]


def of_contrast(observations: Observations, contrast: Contrast, alpha: float, method: Method, units_min: float) -> Readings:
    """By empirical Bernstein or asymptotically. The estimate is the mean of the AIPW outcomes."""
    sums = observations.sums()
    shift = 0.0 if contrast.is_difference else sums.origin
    running = asymptotic.of_contrast(sums, contrast, units_min)
    n, estimate = running.n[-1], running.mean[-1] + shift
    if method == "asymptotic":
        low, high = (end[-1] + shift for end in running.interval(alpha))
        return Readings(estimate, low, high, running.log_e(-shift)[-1], n, asymptotic.refusals(running, units_min))
    shares, least, span = observations.shares()
    least = 0.0 if contrast.is_difference else least
    evidence = empirical_bernstein.of_contrast(shares, contrast, observations.propensity_min).last()
    low, high = (end[-1] for end in evidence.interval(alpha))
    nothing = low > high
    low, high = (least + span * np.where(nothing, whole, end) for whole, end in ((evidence.least, low), (evidence.most, high)))
    log_e = np.where(nothing, 0.0, evidence.log_e(-least / span)[-1])
    return Readings(
        np.clip(estimate, low, high), low, high, log_e, n, [CONTRADICTION if none else "" for none in nothing.tolist()]
    )


def of_rates(observations: Observations, control: int, alpha: float, *, ratio: bool) -> Readings:
    """By the joint Beta-mixture: the difference from control's rate, or the ratio to it less 1."""
    s, f = observations.counts()
    n = s + f
    rate = np.divide(s, n, out=np.full(n.shape, np.nan), where=n > 0)
    interval = bernoulli.ratio_interval if ratio else bernoulli.difference_interval
    low, high = interval(s, f, s[control], f[control], alpha)
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = rate / rate[control] if ratio else rate - rate[control]
    log_e = bernoulli.log_e_equal(s, f, s[control], f[control])
    shift = 1.0 if ratio else 0.0
    return Readings(estimate - shift, low - shift, high - shift, log_e, n + n[control], [""] * len(n))


def against_control(
    quantity: Quantity, observations: Observations, control: int, alpha: float, found: Readings, statement: Statement
) -> tuple[Estimate, ...]:
    """The readings of every arm but control, as results."""
    title, assumptions = statement
    estimates = []
    for k, arm in enumerate(observations.arms):
        if k == control:
            continue
        p_value, e_value = always_valid(float(found.log_e[k]))
        estimate = Estimate(
            arm=arm,
            quantity=quantity,
            estimate=float(found.estimate[k]),
            low=float(found.low[k]),
            high=float(found.high[k]),
            alpha=alpha,
            n=int(found.n[k]),
            method=title,
            assumptions=assumptions,
            p_value=p_value,
            e_value=e_value,
            against=observations.arms[control],
            metric=observations.name,
            refusal=found.refusals[k],
        )
        estimates.append(estimate)
    return tuple(estimates)
