"""Each arm's relative lift over control, μ_arm / μ_control - 1, valid at any time.

Rates that do not change: the range of the ratio over the joint confidence sequence of both rates, exact (see `bernoulli`).

Everything else: lift = D / μ_c for the difference D and control's mean μ_c over the same units. Each has a confidence sequence,
D at `DIFFERENCE_SHARE` of alpha and μ_c at the rest. By the union bound both hold for ever with probability 1 - alpha, and then
the lift is among the quotients of the two intervals. Unlike the delta method or Fieller's this needs no normal limit of its
own. Nearly all of alpha goes to D, since an error of μ_c only scales the quotient.
"""

from __future__ import annotations

import numpy as np

from allocator.inference import readings
from allocator.inference.asymptotic import UNITS_MIN
from allocator.inference.boundaries import log_threshold
from allocator.inference.estimate import Estimate
from allocator.inference.observations import Method, Observations
from allocator.inference.pseudo_outcomes import Contrast
from allocator.inference.statements import of_lift
from allocator.quadrature import FloatArray

__all__ = ["lifts"]

DIFFERENCE_SHARE = 0.9


def lifts(
    observations: Observations,
    control: str,
    *,
    alpha: float = 0.05,
    method: Method | None = None,
    units_min: float = UNITS_MIN,
) -> tuple[Estimate, ...]:
    """The lift of every other arm, in the order of the arms; arguments and errors as `differences`.

    The p-value is of "the lift is 0": the difference's over `DIFFERENCE_SHARE`, for beta-mixture the difference's. It is 1 where
    control's mean may be negative, as then nothing is a lift.
    """
    log_threshold(alpha)
    c, chosen = observations.control(control), observations.method(method, steady=False)
    if chosen == "beta-mixture":
        found = readings.of_rates(observations, c, alpha, ratio=True)
    else:
        found = _quotients(observations, c, alpha, chosen, units_min)
    return readings.against_control("lift", observations, c, alpha, found, of_lift(chosen, observations))


def _quotients(observations: Observations, control: int, alpha: float, method: Method, units_min: float) -> readings.Readings:
    d = readings.of_contrast(observations, Contrast(control), DIFFERENCE_SHARE * alpha, method, units_min)
    m = readings.of_contrast(observations, Contrast.of_control(control), (1 - DIFFERENCE_SHARE) * alpha, method, units_min)
    never_negative = observations.bounds is not None and observations.bounds[0] >= 0
    least = np.maximum(m.low, 0.0) if never_negative else m.low
    low, high = _quotient_range(d.low, d.high, least, m.high)
    if never_negative:
        low, high = np.maximum(low, -1.0), np.maximum(high, -1.0)
    refusals = list(d.refusals)
    for k in np.flatnonzero(~(least > 0)):
        refusals[k] = refusals[k] or "control's mean may be 0"
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = np.where(m.estimate > 0, d.estimate / m.estimate, np.nan)
    log_e = np.where(least >= 0, d.log_e + np.log(DIFFERENCE_SHARE), 0.0)
    return readings.Readings(np.clip(estimate, low, high), low, high, log_e, d.n, refusals)


def _quotient_range(low: FloatArray, high: FloatArray, least: FloatArray, most: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Of d / m for d in [low, high], m in [least, most] and m > 0; everything where m may be negative."""
    with np.errstate(divide="ignore", invalid="ignore"):
        down = np.where(low >= 0, low / most, np.where(least > 0, low / least, -np.inf))
        up = np.where(high <= 0, high / most, np.where(least > 0, high / least, np.inf))
    down, up = (np.where(np.isnan(end), 0.0, end) for end in (down, up))
    return np.where(least >= 0, down, -np.inf), np.where(least >= 0, up, np.inf)
