"""Checks an exposure or reward before it is sent: whoever calls hears at once what the worker would dead-letter later."""

from __future__ import annotations

import math
import re
from typing import Any, SupportsFloat

import msgspec

from allocator.errors import ArgumentError
from streams.records import Exposure, Reward, encode

__all__ = ["checked", "number"]

_MESSAGE = re.compile(r"(?:Expected )?(.*?)(?: - at `\$\.?(\w*).*`)?", re.DOTALL)
"""msgspec's text: what was expected, and the path to it."""


def number(name: str, value: SupportsFloat) -> float:
    """Any finite real number as a float: bool, numpy's and Decimal too, but no text."""
    try:
        found = value.__float__()
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise ArgumentError(name, value, "a number") from error
    if not math.isfinite(found):  # JSON would say null
        raise ArgumentError(name, value, "a finite number")
    return found


_DECODERS: dict[type, msgspec.json.Decoder[Any]] = {
    Exposure: msgspec.json.Decoder(Exposure),
    Reward: msgspec.json.Decoder(Reward),
}


def checked(record: Exposure | Reward) -> bytes:
    """The record's bytes, read back as the worker will read them: what it would refuse raises ArgumentError here."""
    try:
        value = encode(record)
        _DECODERS[type(record)].decode(value)
    except msgspec.ValidationError as error:
        match = _MESSAGE.fullmatch(str(error))
        assert match is not None  # the pattern takes any text
        expected, name = match[1].replace("`", ""), match[2] or "record"
        raise ArgumentError(name, getattr(record, name, record), expected) from error
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise ArgumentError("record", record, f"values that JSON in UTF-8 can carry ({error})") from error
    if isinstance(record, Exposure):
        for name, covariate in record.covariates.items():
            if isinstance(covariate, float) and not math.isfinite(covariate):  # JSON would say null
                raise ArgumentError(f"covariates.{name}", covariate, "a finite number")
    return value
