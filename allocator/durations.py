"""Durations as people write them: ``100ms``, ``10m``, ``1d``; a bare number is seconds."""

from __future__ import annotations

import math
import re
from decimal import Decimal

from allocator.errors import ArgumentError

__all__ = ["format_duration", "parse_duration", "rough_duration"]

_UNIT_S = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)", re.ASCII)
_EXPECTED = "a duration such as 100ms, 30s, 10m, 2h or 7d"


def parse_duration(value: object) -> float:
    """Seconds, from a positive number or a text such as ``10m``. ArgumentError otherwise."""
    seconds = math.nan
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e300:  # a longer int is no float
        seconds = float(value)
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        amount = float(match[1])
        seconds = amount / 1000 if match[2] == "ms" else amount * _UNIT_S[match[2]]  # 700 / 1000 is 0.7, 700 * 0.001 is not
    if not (0.0 < seconds < math.inf):
        raise ArgumentError("duration", value, _EXPECTED)
    return seconds


def format_duration(seconds: float) -> str:
    """A text that `parse_duration` reads as exactly `seconds`: 600 is ``10m``, 0.1 is ``100ms``."""
    for unit, length in _UNIT_S.items():
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    exact = Decimal(repr(float(seconds)))
    in_ms = exact * 1000
    return f"{in_ms:.0f}ms" if in_ms == in_ms.to_integral_value() else f"{exact:f}s"


def rough_duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min``, ``5 h``, ``2 d``: at most three figures, and never a small number of a large unit."""
    for unit, size_s in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
