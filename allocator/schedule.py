"""When an experiment enrols: from `start` until `end`. Outside of that every unit gets the fallback and nothing is exposed.

Status and weights do not change at either end: rewards of units that were served go on counting after the end, and the decision
goes on saying what it would do.
"""

from __future__ import annotations

from math import inf
from typing import Annotated

from msgspec import Meta, Struct

from allocator.instants import parse_instant

__all__ = ["Schedule", "closed", "next_turn"]

Instant = Annotated[str, Meta(description="ISO 8601 with a zone, such as 2026-12-01T00:00Z")]


class Schedule(Struct, frozen=True, kw_only=True):
    """From when and until when units are enrolled; None is open."""

    start: Instant | None = None
    end: Instant | None = None


def closed(schedule: Schedule | None, now: float) -> str | None:
    """Why nobody is enrolled at `now` (seconds since the epoch); None if the schedule lets units in."""
    if schedule is None:
        return None
    if schedule.start is not None and now < parse_instant(schedule.start):
        return f"nobody is enrolled before the start, {schedule.start}"
    if schedule.end is not None and now >= parse_instant(schedule.end):
        return f"nobody is enrolled since the end, {schedule.end}"
    return None


def next_turn(schedule: Schedule | None, after: float) -> float:
    """The next start or end later than `after`, seconds since the epoch; infinite if there is none."""
    if schedule is None:
        return inf
    turns = (parse_instant(text) for text in (schedule.start, schedule.end) if text is not None)
    return min((turn for turn in turns if turn > after), default=inf)
