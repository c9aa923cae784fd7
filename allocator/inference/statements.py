"""What each method is called in results, and what it assumes: said once, in the words that readers meet."""

from __future__ import annotations

from allocator.inference.observations import Method, Observations

__all__ = ["FIXED", "Statement", "of_difference", "of_lift", "of_mean"]

Statement = tuple[str, tuple[str, ...]]
"""Method, assumptions."""

FINAL = "rewards of the units counted are all in"
STEADY = "an arm's units are independent and have one mean that does not change"
BOUNDED = "every value lies within the declared bounds"
LIMIT = "values have somewhat more than a variance, and alpha is reached in the limit of many units"
PROPENSITIES = "the logged propensities are those that units were assigned with"
PENDING = "rewards that may still come count as 0, and come alike in every arm"
STRAIGHT = "units enough for the metric to be a straight function of the means over what is not known of them (delta method)"
DRIFT = "where means drift, what is meant is their average over all units so far"
OWN_DRIFT = "where an arm's mean drifts, what is meant is its average over the units the arm was given"
FIXED = (
    "the shares of traffic did not depend on the rewards",
    "one look, at a time chosen beforehand: peeking invalidates it",
    "units are independent, and many enough for the normal approximation",
    FINAL,
)


def of_mean(method: Method, observations: Observations, *, over_all: bool) -> Statement:
    """For `means`."""
    if over_all:
        return of_difference(method, observations)
    if method == "beta-mixture":
        return "Beta(1, 1)-mixture confidence sequence", (STEADY, *_common(observations))
    if method == "empirical-bernstein":
        return "empirical-Bernstein confidence sequence of the arm's own units", (BOUNDED, OWN_DRIFT, *_common(observations))
    return "asymptotic confidence sequence of the arm's own units", (STEADY, LIMIT, *_common(observations))


def of_difference(method: Method, observations: Observations) -> Statement:
    """For `differences`."""
    if method == "beta-mixture":
        return "joint Beta(1, 1)-mixture confidence sequence of both rates", (STEADY, *_common(observations))
    if method == "asymptotic":
        return "asymptotic confidence sequence of predictable AIPW outcomes", (PROPENSITIES, LIMIT, DRIFT, *_common(observations))
    least = observations.propensity_min
    if least is None:
        title = "empirical-Bernstein confidence sequence of importance-weighted outcomes"
        return title, (BOUNDED, PROPENSITIES, DRIFT, *_common(observations))
    title = "empirical-Bernstein confidence sequence of importance-weighted and predictable AIPW outcomes"
    return title, (BOUNDED, PROPENSITIES, f"no unit had a propensity below {least:g}", DRIFT, *_common(observations))


def of_lift(method: Method, observations: Observations) -> Statement:
    """For `lifts`."""
    title, assumptions = of_difference(method, observations)
    if method == "beta-mixture":
        return f"range of the ratio over the {title}", assumptions
    return f"difference over control's mean, by union of both: {title}", (*assumptions, "control's mean is above 0")


def _common(observations: Observations) -> tuple[str, ...]:
    """Whatever the method."""
    in_ = FINAL if observations.settled else PENDING
    node = observations.node
    return (in_,) if node is None or node.linear is not None else (STRAIGHT, in_)
