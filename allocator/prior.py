"""What is known of a metric before the first unit: pseudo-units with a mean and, where the type leaves it open, an sd.

The defaults are weakly informative, one or two units' worth:

    binary   mean ½, units 2                Beta(1, 1): every rate is as likely as any other (Bayes 1763)
    value    units 1, mean and sd open      a unit like all arms' units together (unit information, Kass & Wasserman 1995)
    count    mean open, units open          one event at the rate of all arms together, of dispersion 1 (Poisson)

An open (None) mean or sd is that of all arms' units together, so the prior needs no scale from the owner; it then draws arms
together and says nothing of where they are.

A prior may borrow from an earlier experiment. Its units then count at a discount a in [0, 1], its likelihood to the power of a
(power prior, Ibrahim & Chen 2000): a = 1 believes that nothing has changed, 0 that nothing carries over. What is borrowed is
plain numbers in the spec, so that a decision needs no other experiment; `allocator.borrow` puts them there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeGuard

import numpy as np

from allocator.errors import ArgumentError
from allocator.experiment import Metric, MetricType, Prior
from allocator.moments import Moments
from allocator.quadrature import FloatArray

__all__ = ["PseudoUnits", "borrowed_prior", "default_prior", "prior_errors", "pseudo_units"]

LEAST, MOST = 1e-9, 1e100
"""Numbers above 0 lie between these, so that their products and squares are finite."""

_DEFAULTS: dict[MetricType, Prior] = {
    "binary": Prior(mean=0.5, units=2.0),
    "value": Prior(units=1.0),
    "count": Prior(),
}


def default_prior(kind: MetricType) -> Prior:
    """The prior of a metric whose spec says nothing."""
    return _DEFAULTS[kind]


def borrowed_prior(metric: Metric, j: int, moments: Moments, discount: float) -> Prior:
    """The metric's own prior and, at a discount, the units of an earlier experiment: of one arm, or of several added up.

    Parameters
    ----------
    metric : its declaration here; the earlier experiment measured it with the same type and resolution.
    j : its place in the earlier experiment's moments.
    moments : what the earlier experiment counted.
    discount : in [0, 1], what one of its units is worth.

    Returns
    -------
    The metric's own prior where that leaves nothing to borrow. Where its own prior is open it takes what is borrowed; open units
    are one event.

    Raises
    ------
    ArgumentError : `discount` is outside [0, 1], or the moments have no place `j`.
    """
    if not 0 <= j < moments.metrics:
        raise ArgumentError("j", j, f"the place of a metric, from 0 to {moments.metrics - 1}")
    if not 0.0 <= discount <= 1.0:
        raise ArgumentError("discount", discount, "a number between 0 and 1")
    own = metric.prior or default_prior(metric.type)
    units = discount * moments.n
    if units == 0.0:
        return own
    count, resolution = metric.type == "count", 1.0 if metric.type == "binary" else metric.resolution
    n, total = moments.n, moments.sum(j)
    mean, variance = total / n * resolution, (n * moments.sum_squares(j) - total * total) / (n * n) * resolution**2
    own_mean = (max(mean, 1.0 / n) if count else mean) if own.mean is None else own.mean
    own_units = 1.0 / own_mean if own.units is None else own.units
    own_variance = (own_mean if count else variance) if own.sd is None else own.sd**2
    both = own_units + units
    together = own_mean + (mean - own_mean) * (units / both)
    if metric.type == "binary":
        return Prior(mean=together, units=both)
    apart = own_units * units / both * (mean - own_mean) ** 2
    sd = math.sqrt((own_units * own_variance + units * variance + apart) / both)
    return Prior(mean=together, units=both, sd=sd if sd > 0.0 else None)


@dataclass(frozen=True, slots=True)
class PseudoUnits:
    """Priors of all arms; each array has shape (arms,), or () where the arms have one prior.

    Parameters
    ----------
    units, mean, sd : as in `Prior`; nan where open.
    """

    units: FloatArray
    mean: FloatArray
    sd: FloatArray


def pseudo_units(metric: Metric, arms: Sequence[str]) -> PseudoUnits:
    """The metric's priors, arm by arm where the spec names arms. ArgumentError names a field that is outside its domain."""
    common = metric.prior or default_prior(metric.type)
    if not metric.arm_priors:
        return _of_one(metric.type, common)
    each = [_of_one(metric.type, metric.arm_priors.get(arm, common)) for arm in arms]
    return PseudoUnits(*(np.array(column) for column in zip(*((p.units, p.mean, p.sd) for p in each), strict=True)))


@lru_cache(maxsize=1024)
def _of_one(kind: MetricType, prior: Prior) -> PseudoUnits:
    for error in prior_errors(kind, prior):
        raise error
    return PseudoUnits(_floats(prior.units), _floats(prior.mean), _floats(prior.sd))


def _floats(value: float | None) -> FloatArray:
    array = np.asarray(value, dtype=np.float64)  # None becomes nan
    array.flags.writeable = False  # it is kept
    return array


def prior_errors(kind: MetricType, prior: Prior) -> Iterator[ArgumentError]:
    """What is outside its domain for a metric of this type; ArgumentError names the field."""
    units, mean, sd = prior.units, prior.mean, prior.sd
    if not (units is None and kind == "count") and not _positive(units):
        yield ArgumentError("units", units, f"a number of at least {LEAST:g}")
    if kind == "binary" and not (_positive(mean) and mean < 1.0):
        yield ArgumentError("mean", mean, "a rate above 0 and below 1")
    if kind == "binary" and sd is not None:
        yield ArgumentError("sd", sd, "nothing: a rate has no spread of its own")
    if kind == "count" and mean is not None and not _positive(mean):
        yield ArgumentError("mean", mean, f"a number of at least {LEAST:g}")
    if kind == "value" and mean is not None and not abs(mean) < MOST:
        yield ArgumentError("mean", mean, "a finite number")
    if kind != "binary" and sd is not None and not _positive(sd):
        yield ArgumentError("sd", sd, f"a number of at least {LEAST:g}")


def _positive(value: float | None) -> TypeGuard[float]:
    return value is not None and LEAST <= value < MOST
