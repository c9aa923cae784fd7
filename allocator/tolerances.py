"""How much worse than control a metric may be: ``1%`` of control's mean, or a number in the metric's own unit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from allocator.errors import ArgumentError

__all__ = ["Tolerance", "tolerance_of"]

_SHARE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*%")
EXPECTED = "a share of control's mean such as 1%, or a number of at least 0 in the metric's own unit"


@dataclass(frozen=True, slots=True)
class Tolerance:
    """A size ≥ 0: of control's mean in size if `relative`, else in the metric's own unit."""

    size: float
    relative: bool

    def of(self, control: float) -> float:
        """In the metric's own unit, given control's mean."""
        return self.size * abs(control) if self.relative else self.size

    def __str__(self) -> str:
        return f"{100 * self.size:g}%" if self.relative else f"{self.size:g}"


def tolerance_of(name: str, value: Any) -> Tolerance:
    """What a spec writes. ArgumentError names `name`."""
    if isinstance(value, str) and (found := _SHARE.fullmatch(value.strip())):
        return Tolerance(float(found[1]) / 100, relative=True)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e300:
        return Tolerance(float(value), relative=False)
    raise ArgumentError(name, value, EXPECTED)
