"""Moments in time as people write them: ``2026-12-01T09:30+01:00``; in the product they are seconds since the epoch.

The calendar is the proleptic Gregorian one, without leap seconds, as ISO 8601 and NumPy have it.
"""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np

from allocator.errors import ArgumentError

__all__ = ["format_instant", "parse_instant"]

_INSTANT = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)(?:[Tt ](?P<time>\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?)(?P<zone>[Zz]|[+-]\d\d:?\d\d))?", re.ASCII
)
_EXPECTED = "a time with its zone such as 2026-12-01T09:30Z or 2026-12-01T09:30+01:00, or a day, which begins at 00:00Z"


def parse_instant(value: object) -> float:
    """Seconds since the epoch, of a text in ISO 8601 with a zone. ArgumentError otherwise."""
    if not isinstance(value, str):
        raise ArgumentError("time", value, _EXPECTED)
    return _parsed(value)


def format_instant(seconds: float) -> str:
    """A text in UTC that `parse_instant` reads as the same microsecond: 0 is ``1970-01-01T00:00Z``."""
    text = str(np.datetime64(round(seconds * 1e6), "us"))
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.removesuffix(":00") + "Z"


@lru_cache(maxsize=10_000)
def _parsed(value: str) -> float:
    match = _INSTANT.fullmatch(value.strip())
    if match is None:
        raise ArgumentError("time", value, _EXPECTED)
    try:
        at = np.datetime64(f"{match['day']}T{match['time'] or '00:00'}", "us")
    except ValueError as error:  # a 30th of February, an hour 25
        raise ArgumentError("time", value, _EXPECTED) from error
    offset_s = 0
    if match["zone"] and match["zone"] not in "Zz":
        sign, digits = match["zone"][0], match["zone"][1:].replace(":", "")
        hours, minutes = int(digits[:2]), int(digits[2:])
        if hours > 23 or minutes > 59:
            raise ArgumentError("time", value, _EXPECTED)
        offset_s = (hours * 3600 + minutes * 60) * (-1 if sign == "-" else 1)
    return int(at.astype(np.int64)) / 1e6 - offset_s
