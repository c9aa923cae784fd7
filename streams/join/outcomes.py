"""What can become of an event. Every event read is in exactly one outcome, so the counters add up to the events read.

An outcome may change as more of the unit's events arrive: a waiting reward becomes applied when its exposure comes, a unit
that turns out to be a crossover takes its events out of applied. Stored counters are lists by these numbers: new ones come last.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["EXPOSURE_OUTCOMES", "OUTCOMES", "REWARD_OUTCOMES", "Outcome", "label"]


class Outcome(IntEnum):
    """Index of an outcome in a list of counters."""

    EXPOSURE_APPLIED = 0
    """The first exposure, by time, of a life of the unit: it is in the moments."""
    EXPOSURE_REPEATED = 1
    """A further exposure to the same arm in the same life."""
    EXPOSURE_DUPLICATE = 2
    """The same exposure once more."""
    EXPOSURE_CROSSOVER = 3
    """The unit was served several arms in one life: that is kept out of the moments."""
    EXPOSURE_LATE = 4
    """So late that the unit's record may be forgotten already."""
    EXPOSURE_DEAD = 5
    REWARD_APPLIED = 6
    REWARD_DUPLICATE = 7
    """The same `reward_id` once more, also when it corrected the value or was itself corrected."""
    REWARD_WAITING = 8
    """No exposure of the life it is of has come yet."""
    REWARD_LATE = 9
    """Up to the grace after the metric's attribution window, or so late that the unit's record may be forgotten already."""
    REWARD_UNMATCHED = 10
    """Before the unit's exposure, or its wait for one ended: longer after the last than window and grace, for instance."""
    REWARD_EXCLUDED = 11
    """The unit is a crossover, or the experiment cannot use the value."""
    REWARD_DEAD = 12
    EXPOSURE_FORWARDED = 13
    """Its unit is another partition's: sent there, and counted again for what becomes of it."""
    REWARD_FORWARDED = 14
    REWARD_OVERFLOW = 15
    """The unit has as many rewards as its record may hold."""


OUTCOMES = len(Outcome)
EXPOSURE_OUTCOMES = tuple(o for o in Outcome if o.name.startswith("EXPOSURE"))
REWARD_OUTCOMES = tuple(o for o in Outcome if o.name.startswith("REWARD"))


def label(outcome: Outcome) -> str:
    """``exposures.applied`` and the like, as in counters that leave the worker."""
    kind, _, name = outcome.name.partition("_")
    return f"{kind.lower()}s.{name.lower()}"
