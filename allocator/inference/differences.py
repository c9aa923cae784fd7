"""Each arm's difference from control under adaptive allocation, valid at any time."""

from __future__ import annotations

from allocator.inference import readings
from allocator.inference.asymptotic import UNITS_MIN
from allocator.inference.boundaries import log_threshold
from allocator.inference.estimate import Estimate
from allocator.inference.observations import Method, Observations
from allocator.inference.pseudo_outcomes import Contrast
from allocator.inference.statements import of_difference

__all__ = ["differences"]


def differences(
    observations: Observations,
    control: str,
    *,
    alpha: float = 0.05,
    method: Method | None = None,
    units_min: float = UNITS_MIN,
) -> tuple[Estimate, ...]:
    """μ_arm - μ_control of every other arm, in the order of the arms.

    Parameters
    ----------
    alpha : probability that an arm's interval ever misses its difference; over several arms see `multiplicity`.
    method : None for empirical-bernstein if there are bounds, else asymptotic. Both hold where means drift while allocation
        moves. beta-mixture is for binary metrics whose rates do not change, and needs neither propensities nor periods.
    units_min : effective units that the asymptotic method demands of the arm and of control.

    Raises
    ------
    ArgumentError : an argument is outside its domain, or contradicts the moments.
    """
    log_threshold(alpha)
    c, chosen = observations.control(control), observations.method(method, steady=False)
    if chosen == "beta-mixture":
        found = readings.of_rates(observations, c, alpha, ratio=False)
    else:
        found = readings.of_contrast(observations, Contrast(c), alpha, chosen, units_min)
    return readings.against_control("difference", observations, c, alpha, found, of_difference(chosen, observations))
