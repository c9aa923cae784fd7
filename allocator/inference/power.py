"""Power, sample size and least detectable effect of arms against control, looked at once, and the time that traffic takes.

With N units in all, shares q_0 (control) and q_k, baseline b, effect d and a unit's variance v (`baselines`), the estimate of d
has the variance s² / N, s² = v(b) / q_0 + v(b + d) / q_k. A test at α on `sides` sides finds it with

    power = Φ(|d| √N / s - z),  z = Φ⁻¹(1 - α / sides),  hence  N = s² (z + Φ⁻¹(power))² / d²

(Fleiss, Levin & Paik 2003, ch. 4, without continuity correction; Lehr 1992 is the rule of thumb 16 v / d²). A significant
difference in the wrong direction is no find, so the far tail does not count. Variances are not pooled, as in an interval of the
difference. The least detectable effect solves the same equation for d.

Several arms against one control: each comparison at α / comparisons (Bonferroni; Dunn 1961), power for each alone, and the arm
with the least share rules. What bandits need is simulated, see `policy_power`; looking early is `guardrail_power`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import scipy  # scipy.special loads when first used: the command line starts in half the time

from allocator.inference.baselines import Baseline, check_effect, checked, is_finite, is_positive

__all__ = ["Design", "Duration", "Plan", "Traffic", "detectable_effect", "duration", "even_shares", "power_of", "sample_size"]

Direction = Literal["up", "down"]
INDEPENDENT = "Units are independent, and their shares are fixed beforehand."
EXPECTED_MIN = 10
"""Successes, failures or events an arm should have for the normal approximation."""
UNITS_MIN = 30
"""Units an arm below which a Student's t would ask for visibly more."""
DOUBLINGS_MAX = 200


@dataclass(frozen=True, slots=True)
class Design:
    """How arms are compared with control.

    Parameters
    ----------
    shares : of all units, control first, each > 0, at least two, sum at most 1. What is missing to 1 goes to arms outside of the
        comparison.
    alpha : chance of a false find over all comparisons together, in (0, 0.5].
    power : to be reached by each comparison alone, in (alpha, 1).
    two_sided : whether both directions are looked at.
    comparisons : number that alpha is divided by; None: one for every arm but control. 1: no correction.
    """

    shares: tuple[float, ...] = (0.5, 0.5)
    alpha: float = 0.05
    power: float = 0.8
    two_sided: bool = True
    comparisons: int | None = None

    def __post_init__(self) -> None:
        positive = all(is_finite(share) and share > 0 for share in self.shares)
        fits = positive and len(self.shares) >= 2 and math.fsum(self.shares) <= 1 + 1e-9
        checked("shares", self.shares, "at least two shares above 0, control first, with a sum of at most 1", fits)
        checked("alpha", self.alpha, "a number above 0, at most 0.5", is_finite(self.alpha) and 0 < self.alpha <= 0.5)
        reachable = is_finite(self.power) and self.alpha < self.power < 1
        checked("power", self.power, f"a number above alpha, {self.alpha:g}, and below 1", reachable)
        whole = self.comparisons is None or (type(self.comparisons) is int and self.comparisons >= 1)
        checked("comparisons", self.comparisons, "a whole number of at least 1", whole)

    @property
    def divisor(self) -> int:
        """How many comparisons share alpha."""
        return len(self.shares) - 1 if self.comparisons is None else self.comparisons

    @property
    def alpha_each(self) -> float:
        """Of one comparison, on both sides together if there are two."""
        return self.alpha / self.divisor

    @property
    def compared(self) -> tuple[float, float]:
        """Shares of control and of the arm that has least."""
        return self.shares[0], min(self.shares[1:])

    @property
    def z_alpha(self) -> float:
        """What a z statistic must reach."""
        return -float(scipy.special.ndtri(self.alpha_each / (2 if self.two_sided else 1)))


@dataclass(frozen=True, slots=True)
class Plan:
    """Baseline, effect, units and power that go together; whichever was asked for follows from the others.

    Parameters
    ----------
    baseline, effect : control's value and the difference from it, in the metric's unit; the effect has a sign.
    lift : effect / |baseline|; None where the baseline is 0.
    units : an arm, control first, not rounded; `whole_units` is.
    total : of all units, those of arms outside of the comparison included.
    power : of the comparison with the arm that has the least share, alone.
    """

    baseline: float
    effect: float
    lift: float | None
    units: tuple[float, ...]
    total: float
    power: float
    design: Design
    method: str
    assumptions: tuple[str, ...]

    @property
    def whole_units(self) -> tuple[int, ...]:
        """Units an arm, rounded up."""
        return tuple(_ceil(n) for n in self.units)

    @property
    def whole_total(self) -> int:
        """All units, rounded up; an arm that is rounded up itself is in it."""
        return max(_ceil(self.total), sum(self.whole_units))


def even_shares(arms: int) -> tuple[float, ...]:
    """The even split of that many arms, control included. ArgumentError below two."""
    checked("arms", arms, "a whole number of at least 2, control included", type(arms) is int and arms >= 2)
    return (1 / arms,) * arms


def sample_size(baseline: Baseline, effect: float, design: Design) -> Plan:
    """Units that find `effect` with the design's power.

    Parameters
    ----------
    effect : difference from control, in the metric's unit, not 0; baseline + effect must be a value the metric can have.

    Raises
    ------
    ArgumentError : the effect is outside its domain.
    """
    variance = _variance(baseline, effect, design)
    total = variance * (_quantiles(design) / effect) ** 2
    return _plan(baseline, effect, total, design.power, design)


def power_of(baseline: Baseline, effect: float, total: float, design: Design) -> Plan:
    """The power that `total` units give, whatever the design asks for. ArgumentError as for `sample_size`, or for total ≤ 0."""
    variance = _variance(baseline, effect, design)
    _check_total(total)
    power = float(scipy.special.ndtr(abs(effect) * math.sqrt(total / variance) - design.z_alpha))
    return _plan(baseline, effect, total, power, design)


def detectable_effect(baseline: Baseline, total: float, design: Design, direction: Direction = "up") -> Plan:
    """The least effect in that direction which `total` units find with the design's power.

    Raises
    ------
    ArgumentError : total is not above 0, or so small that no value the metric can have differs enough from the baseline.
    """
    checked("direction", direction, "'up' or 'down'", direction in ("up", "down"))
    _check_total(total)
    sign = 1.0 if direction == "up" else -1.0
    needed = _quantiles(design) ** 2 / total

    def surplus(size: float) -> float:
        """Above 0 where an effect of that size is found: d² - needed · s²."""
        control, arm = design.compared
        value = baseline.value
        return size * size - needed * (baseline.variance(value) / control + baseline.variance(value + sign * size) / arm)

    largest = _largest(baseline, sign, surplus)
    checked("total", total, f"more units: with these no effect {direction} from {baseline.value:g} can be found", largest > 0)
    size = float(scipy.optimize.brentq(surplus, 0.0, largest, xtol=largest * 1e-15, rtol=1e-14))
    return _plan(baseline, sign * size, total, design.power, design)


# -- traffic ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Traffic:
    """Units that arrive, and how much of them a comparison gets.

    Parameters
    ----------
    units_per_day : new units a day before anything is taken away, finite, > 0.
    usable : share of them that takes part and trains, in (0, 1]: enrolment × (1 - holdback).
    window_days : how long after its exposure a unit's reward still counts, finite, ≥ 0; the last unit is waited for.
    """

    units_per_day: float
    usable: float = 1.0
    window_days: float = 0.0

    def __post_init__(self) -> None:
        found = self.units_per_day
        checked("units_per_day", found, "a finite number above 0", is_positive(found))
        checked("usable", self.usable, "a share above 0, at most 1", is_finite(self.usable) and 0 < self.usable <= 1)
        checked(
            "window_days",
            self.window_days,
            "a finite number of at least 0",
            is_finite(self.window_days) and self.window_days >= 0,
        )

    def units_after(self, days: float) -> float:
        """Usable units whose reward window has closed that many days after the start."""
        return max(0.0, days - self.window_days) * self.units_per_day * self.usable


@dataclass(frozen=True, slots=True)
class Duration:
    """How long a number of units takes.

    Parameters
    ----------
    days : until the last unit's window has closed.
    whole_weeks : those in which units arrive, rounded up, so that every weekday counts alike.
    """

    days: float
    whole_weeks: int
    traffic: Traffic
    method: str
    assumptions: tuple[str, ...]


def duration(total: float, traffic: Traffic) -> Duration:
    """Time until `total` units have arrived and their rewards are in. ArgumentError unless total is finite and > 0."""
    _check_total(total)
    arriving_days = total / (traffic.units_per_day * traffic.usable)
    return Duration(
        days=arriving_days + traffic.window_days,
        whole_weeks=_ceil(arriving_days / 7),
        traffic=traffic,
        method="units / (units a day × usable share) + reward window",
        assumptions=(
            "Traffic is as given on every day, and every unit is new: one that returns counts once.",
            "The usable share is enrolment × (1 - holdback).",
        ),
    )


# -- the formula -----------------------------------------------------------------------------------------------------------------


def _quantiles(design: Design) -> float:
    return design.z_alpha + float(scipy.special.ndtri(design.power))


def _variance(baseline: Baseline, effect: float, design: Design) -> float:
    """s² of the comparison with the arm that has the least share."""
    check_effect("effect", effect, baseline)
    control, arm = design.compared
    return baseline.variance(baseline.value) / control + baseline.variance(baseline.value + effect) / arm


def _largest(baseline: Baseline, sign: float, surplus: Callable[[float], float]) -> float:
    """A size of effect that is found; 0 if there is none."""
    low, high = baseline.domain
    room = high - baseline.value if sign > 0 else baseline.value - low
    if math.isfinite(room):
        return room if surplus(room) > 0 else 0.0
    size = max(abs(baseline.value), math.sqrt(baseline.variance(baseline.value)))
    for _ in range(DOUBLINGS_MAX):
        if surplus(size) > 0:
            return size
        size *= 2
    return 0.0


def _plan(baseline: Baseline, effect: float, total: float, power: float, design: Design) -> Plan:
    units = tuple(share * total for share in design.shares)
    sides = "two-sided" if design.two_sided else "one-sided"
    return Plan(
        baseline=baseline.value,
        effect=effect,
        lift=effect / abs(baseline.value) if baseline.value else None,
        units=units,
        total=total,
        power=power,
        design=design,
        method=f"{sides} z test of a {baseline.estimator}, normal approximation, one look at the end",
        assumptions=(*_assumptions(design), *baseline.assumptions, *_warnings(baseline, effect, units)),
    )


def _assumptions(design: Design) -> tuple[str, ...]:
    each = f"{design.divisor} comparisons with control, each at {design.alpha:g} / {design.divisor} (Bonferroni)"
    one = (
        f"One comparison at {design.alpha:g}, nothing to correct for"
        if len(design.shares) == 2
        else "No correction for several arms"
    )
    several = (
        "; power is that of the arm with the least share, alone." if max(len(design.shares) - 1, design.divisor) > 1 else "."
    )
    return (
        INDEPENDENT,
        (each if design.divisor > 1 else one) + several,
        "A significant difference in the other direction is no find.",
    )


def _warnings(baseline: Baseline, effect: float, units: Sequence[float]) -> tuple[str, ...]:
    low, high = baseline.domain
    nearest = min(min(x - low, high - x) for x in (baseline.value, baseline.value + effect))
    if nearest * min(units) < EXPECTED_MIN:
        return (f"Fewer than {EXPECTED_MIN} successes, failures or events are expected in an arm: the approximation is rough.",)
    if min(units) < UNITS_MIN:
        return (f"Fewer than {UNITS_MIN} units in an arm: a t test needs about one more in each.",)
    return ()


def _check_total(total: float) -> None:
    checked("total", total, "a finite number of units above 0", is_positive(total))


def _ceil(x: float) -> int:
    """Rounded up, where 100.00000000001 is 100."""
    return math.ceil(x - 1e-12 * max(1.0, abs(x)))
