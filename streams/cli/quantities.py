"""Quantities as people type them after an option: ``5%``, ``10000/day``, ``90:10``, ``14d``. A parser says what it expected."""

from __future__ import annotations

import math
import re

import typer

from allocator.durations import parse_duration
from allocator.errors import ArgumentError

__all__ = ["days", "per_day", "portion", "ratio_moments", "split"]

DAY_S = 86400.0
_A_DAY = {"s": DAY_S, "min": 1440.0, "h": 24.0, "d": 1.0, "w": 1 / 7}
_UNITS = {"sec": "s", "second": "s", "minute": "min", "hour": "h", "day": "d", "week": "w"}
_RATE = re.compile(r"([^/]+)/\s*([a-z]+)", re.ASCII)
_SCALE = {"k": 1e3, "M": 1e6}


def portion(text: str | float) -> float:
    """``5%`` and ``.05`` are the same."""
    found = str(text).strip()
    number = _number(found.removesuffix("%"))
    if number is None:
        raise _expected(text, "a number, or one with %, such as 5%")
    return number / 100 if found.endswith("%") else number


def per_day(text: str) -> float:
    """``10000/day``, ``10k/day``, ``500/h``, ``2/s`` as units a day."""
    match = _RATE.fullmatch(str(text).strip())
    amount, unit = (match[1].strip(), _UNITS.get(match[2], match[2])) if match else ("", "")
    scale = _SCALE.get(amount[-1:], 1.0)
    number = _number(amount[:-1] if scale > 1 else amount)
    if number is None or number <= 0 or unit not in _A_DAY:
        raise _expected(text, "new units in a time, such as 10000/day, 10k/week, 500/h or 2/s")
    return number * scale * _A_DAY[unit]


def split(text: str) -> tuple[float, ...]:
    """``90:10`` or ``50,25,25``, control first, as shares that sum to 1."""
    parts = [_number(part) for part in re.split(r"[:,/]", str(text))]
    weights = [part for part in parts if part is not None and 0 < part <= 1e12]
    if len(weights) != len(parts) or len(weights) < 2:
        raise _expected(text, "at least two numbers above 0, control first, such as 50:50 or 2:1:1")
    return tuple(weight / math.fsum(weights) for weight in weights)


def ratio_moments(text: str) -> tuple[float, float, float, float, float]:
    """Mean and sd of the numerator, mean and sd of the denominator, their correlation."""
    parts = [_number(part) for part in str(text).split(",")]
    numbers = [part for part in parts if part is not None]
    if len(numbers) != len(parts) or len(numbers) != 5:
        raise _expected(
            text, "five numbers: numerator's mean and sd, denominator's mean and sd, correlation; such as 1.2,3,10,8,0.7"
        )
    return (numbers[0], numbers[1], numbers[2], numbers[3], numbers[4])


def days(text: str) -> float:
    """``14d``, ``2w``, ``36h`` as days."""
    try:
        return parse_duration(text) / DAY_S
    except ArgumentError as error:
        raise _expected(text, error.expected) from error


def _number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _expected(text: object, expected: str) -> typer.BadParameter:
    return typer.BadParameter(f"{str(text)!r}: expected {expected}")
