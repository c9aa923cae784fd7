"""The holdback as the API and the command line show it: how many are held back, and what allocating has done to each metric."""

from __future__ import annotations

from math import isfinite

from msgspec import Struct

from allocator.experiment import Experiment
from allocator.holdback import HoldbackEffect, holdback_effect
from streams.allocate.totals import Totals

__all__ = ["HoldbackMetric", "HoldbackPeriod", "HoldbackState", "read_holdback"]


class HoldbackPeriod(Struct, frozen=True, kw_only=True):
    """One period of exposures by itself; `se` is the standard error of its effect."""

    start: float
    allocated: int
    held_back: int
    effect: float
    se: float | None


class HoldbackMetric(Struct, frozen=True, kw_only=True):
    """A unit as allocated less one held back, in the metric's natural unit; None where nothing is known yet, see `refusal`.

    `gain` is the effect times the units allocated. Both intervals hold at any time, with probability 0.95.
    """

    effect: float | None
    interval: tuple[float, float] | None
    gain: float | None
    gain_interval: tuple[float, float] | None
    allocated: int
    held_back: int
    periods: list[HoldbackPeriod]
    method: str
    assumptions: tuple[str, ...]
    refusal: str = ""


class HoldbackState(Struct, frozen=True, kw_only=True):
    """Units so far, of which a metric counts those whose rewards are all in; and every metric by name."""

    allocated: int
    held_back: int
    metrics: dict[str, HoldbackMetric]


def read_holdback(experiment: Experiment, totals: Totals, now: float) -> HoldbackState | None:
    """None if nobody is or was held back. Of the metrics that every unit counts in: `allocator.holdback` says of which."""
    cohorts = totals.cohorts(experiment)
    allocated, held_back = cohorts.units
    if not experiment.holdback and not held_back:
        return None
    names = (name for name in experiment.metrics if name not in experiment.reported)
    found = {name: _metric(holdback_effect(experiment, name, cohorts, now)) for name in names}
    return HoldbackState(allocated=allocated, held_back=held_back, metrics=found)


def _metric(found: HoldbackEffect) -> HoldbackMetric:
    effect = found.effect
    periods = [
        HoldbackPeriod(start=p.start, allocated=p.allocated, held_back=p.held_back, effect=p.effect, se=_known(p.se))
        for p in found.periods
    ]
    return HoldbackMetric(
        effect=_known(effect.estimate),
        interval=_both(effect.low, effect.high),
        gain=_known(found.gain),
        gain_interval=_both(found.gain_low, found.gain_high),
        allocated=found.allocated,
        held_back=found.held_back,
        periods=periods,
        method=effect.method,
        assumptions=(*effect.assumptions, *found.gain_assumptions),
        refusal=effect.refusal,
    )


def _known(value: float) -> float | None:
    return value if isfinite(value) else None


def _both(low: float, high: float) -> tuple[float, float] | None:
    return (low, high) if isfinite(low) and isfinite(high) else None
