"""What a plan needs to know of a metric before the experiment: its value on control, and how much units differ.

A unit's variance depends on the value the metric has, so an effect changes it. Let b be control's value, v(x) the variance of one
unit's contribution to the estimate where the metric has the value x:

- `Proportion`: v(x) = x (1 - x).
- `Mean`: v(x) = sd², the same in both arms.
- `Count`: v(x) = dispersion · x; dispersion 1 is Poisson (McCullagh & Nelder 1989, ch. 6).
- `Ratio` of two means a unit, y over x: the delta method (Deng, Knoblich & Lu 2018), with r the ratio,
  v(r) = (σ_y² - 2 r ρ σ_y σ_x + r² σ_x²) / μ_x².
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from allocator.errors import ArgumentError

__all__ = ["Baseline", "Count", "Mean", "Proportion", "Ratio", "check_effect", "checked", "is_finite", "is_positive"]

SQUARABLE_MAX = 1e150
SD_SHARE_MIN = 1e-60
"""Effects smaller than this share of the standard deviation are 0."""


class Baseline(Protocol):
    """A metric on control. Frozen; checks its parameters when it is made (ArgumentError)."""

    @property
    def value(self) -> float:
        """Control's value, in the metric's unit."""

    @property
    def domain(self) -> tuple[float, float]:
        """The values the metric can have; both ends are excluded."""

    @property
    def estimator(self) -> str:
        """What is compared, for `method`."""

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What `variance` takes for granted."""

    def variance(self, value: float) -> float:
        """Of one unit's contribution, where the metric has that value; > 0 inside the domain."""


@dataclass(frozen=True, slots=True)
class Proportion:
    """A binary metric: the share of units with a 1.

    Parameters
    ----------
    value : control's rate, in (0, 1).
    """

    value: float

    def __post_init__(self) -> None:
        checked("baseline", self.value, "a rate above 0 and below 1", is_finite(self.value) and 0 < self.value < 1)

    @property
    def domain(self) -> tuple[float, float]:
        """Rates."""
        return 0.0, 1.0

    @property
    def estimator(self) -> str:
        """See `Baseline`."""
        return "difference of proportions"

    @property
    def assumptions(self) -> tuple[str, ...]:
        """See `Baseline`."""
        return ("Each arm's variance is that of its own rate (not pooled).",)

    def variance(self, value: float) -> float:
        """Bernoulli."""
        return value * (1 - value)


@dataclass(frozen=True, slots=True)
class Mean:
    """A value metric: the mean over units.

    Parameters
    ----------
    value : control's mean, finite.
    sd : standard deviation between units, finite, > 0.
    """

    value: float
    sd: float

    def __post_init__(self) -> None:
        checked("baseline", self.value, "a finite number", is_finite(self.value))
        checked("sd", self.sd, "a finite number above 0", is_positive(self.sd))

    @property
    def domain(self) -> tuple[float, float]:
        """Any number."""
        return -math.inf, math.inf

    @property
    def estimator(self) -> str:
        """See `Baseline`."""
        return "difference of means"

    @property
    def assumptions(self) -> tuple[str, ...]:
        """See `Baseline`."""
        return ("The standard deviation is the same in every arm.",)

    def variance(self, value: float) -> float:
        """sd², whatever the mean."""
        return self.sd * self.sd


@dataclass(frozen=True, slots=True)
class Count:
    """A count metric: the mean number of events a unit.

    Parameters
    ----------
    value : control's mean, finite, > 0.
    dispersion : a unit's variance over its mean, finite, > 0; 1 is Poisson, real counts mostly have more.
    """

    value: float
    dispersion: float = 1.0

    def __post_init__(self) -> None:
        checked("baseline", self.value, "a finite number above 0", is_positive(self.value))
        checked("dispersion", self.dispersion, "a finite number above 0", is_positive(self.dispersion))

    @property
    def domain(self) -> tuple[float, float]:
        """No count is negative."""
        return 0.0, math.inf

    @property
    def estimator(self) -> str:
        """See `Baseline`."""
        return "difference of mean counts"

    @property
    def assumptions(self) -> tuple[str, ...]:
        """See `Baseline`."""
        poisson = ", as for Poisson counts" if self.dispersion == 1 else ""
        return (f"A unit's variance is {self.dispersion:g} times its arm's mean{poisson}.",)

    def variance(self, value: float) -> float:
        """Proportional to the mean."""
        return self.dispersion * value


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of two sums, such as clicks a view, where units differ in both.

    Parameters
    ----------
    numerator, denominator : means a unit on control, finite; denominator > 0.
    numerator_sd, denominator_sd : standard deviations between units, finite, > 0 and ≥ 0.
    correlation : between a unit's numerator and denominator, in (-1, 1).
    """

    numerator: float
    numerator_sd: float
    denominator: float
    denominator_sd: float
    correlation: float

    def __post_init__(self) -> None:
        checked("numerator", self.numerator, "a finite number", is_finite(self.numerator))
        found = self.numerator_sd
        checked("numerator_sd", found, "a finite number above 0", is_positive(found))
        found = self.denominator
        checked("denominator", found, "a finite number above 0", is_positive(found))
        found = self.denominator_sd
        checked("denominator_sd", found, "a finite number of at least 0", is_finite(found) and found >= 0)
        found = self.correlation
        checked("correlation", found, "a number above -1 and below 1", is_finite(found) and -1 < found < 1)

    @property
    def value(self) -> float:
        """The ratio on control."""
        return self.numerator / self.denominator

    @property
    def domain(self) -> tuple[float, float]:
        """Any number."""
        return -math.inf, math.inf

    @property
    def estimator(self) -> str:
        """See `Baseline`."""
        return "difference of ratios by the delta method"

    @property
    def assumptions(self) -> tuple[str, ...]:
        """See `Baseline`."""
        return (
            "An effect moves the numerator's mean; the denominator, both standard deviations and the correlation stay.",
            "The denominator's mean is far from 0 against its standard error.",
        )

    def variance(self, value: float) -> float:
        """By the delta method."""
        y, x = self.numerator_sd / self.denominator, value * self.denominator_sd / self.denominator
        return y * y - 2 * self.correlation * y * x + x * x


def checked(name: str, value: object, expected: str, holds: bool) -> None:
    """ArgumentError unless it holds."""
    if not holds:
        raise ArgumentError(name, value, expected)


def check_effect(name: str, effect: float, baseline: Baseline) -> None:
    """ArgumentError unless it is a difference, and one that leaves the metric a value it can have."""
    least = SD_SHARE_MIN * math.sqrt(baseline.variance(baseline.value))
    checked(name, effect, "a finite difference other than 0", is_finite(effect) and abs(effect) > least)
    low, high = baseline.domain
    inside = f"one that leaves the metric, now {baseline.value:g}, between {low:g} and {high:g}"
    checked(name, effect, inside, low < baseline.value + effect < high)


def is_finite(value: object) -> bool:
    """Whether it is a number, neither infinite nor nan, whose square is finite too."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < SQUARABLE_MAX


def is_positive(value: object) -> bool:
    """Whether it is such a number above 0, whose square is above 0 too."""
    return is_finite(value) and value > 1 / SQUARABLE_MAX  # type: ignore[operator]  # a number, then
