"""A ramp of enrolment as the spec says it: its stages, and the last word of a person about it. `allocator.stages` moves it."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

__all__ = ["Advance", "Stage", "Word"]

Advance = Literal["auto", "manual"]


class Stage(Struct, frozen=True, kw_only=True):
    """A share of units that take part, and the gate to the next stage. Its enrolment is what a stage is known by."""

    enrolment: Annotated[float, Meta(gt=0, le=1, description="share of units that take part; more than in the stage before")]
    min_time_s: Annotated[float, Meta(ge=0, description="least time in the stage, in seconds; a spec file may say 1h")] = field(
        default=0.0, name="min_time"
    )
    min_units: Annotated[int, Meta(ge=0, description="least number of units counted in the stage, over all arms")] = 0
    advance: Annotated[Advance, Meta(description="manual: not without `allocator advance`")] = "auto"
    name: str = ""

    @property
    def ppm(self) -> int:
        """The enrolment as it is published."""
        return round(self.enrolment * 1_000_000)


class Word(Struct, frozen=True, kw_only=True):
    """The last word of a person about the ramp. It is said of one stay in one stage and means no other.

    Parameters
    ----------
    go : advance: the stage may be left for the next one, once its gate holds. back: below this stage, and no further than that
        until somebody says advance.
    enrolment : of the stage it was said of.
    since : when that stage had been entered, as in `allocator.standing`.
    why : for people.
    """

    go: Literal["advance", "back"]
    enrolment: Annotated[float, Meta(gt=0, le=1)]
    since: float
    why: str = ""
