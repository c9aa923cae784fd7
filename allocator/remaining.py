"""How many units are expected to be missing until an experiment is decided.

The half-width of an interval shrinks with the root of the units. The leader's estimate g, were it the truth, decides when that
half-width is below g (it wins) or below worth - g (it is futile), whichever is larger. The logarithm in the width of a sequence
that may be watched makes it a little more.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Remaining", "remaining_units"]

DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Remaining:
    """Units of all arms that are expected to be missing to the verdict, and how long they take at the mean rate so far."""

    units: float
    days: float | None
    method: str


def remaining_units(estimate: float, half: float, units: int, worth: float, units_per_s: float | None) -> Remaining | None:
    """None where nothing can be told, the gain that is worth having not being known.

    Parameters
    ----------
    estimate, half, units : the leader's gain, half the width of its interval, and the units that this is of.
    worth : the gain that is worth having.
    units_per_s : the mean rate so far; None where it is not known.
    """
    target = max(estimate, worth - estimate)
    if not target > 0:
        return None
    missing = max(units * (half / target) ** 2 - units, 0.0)
    return Remaining(
        units=missing,
        days=missing / units_per_s / DAY_S if units_per_s else None,
        method="half-width of the leader's interval shrinks with the root of the units, its estimate taken for the truth; "
        "time at the mean rate so far",
    )
