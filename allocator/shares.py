"""Shares as people write them: ``10%`` or 0.1."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

__all__ = ["from_percent"]

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%", re.ASCII)


def from_percent(value: Any) -> Any:
    """The number that a text such as ``10%`` says, the nearest float to it; anything else as it is."""
    found = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    return value if found is None else float(Decimal(found[1]) / 100)
