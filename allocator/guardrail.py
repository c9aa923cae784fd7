"""A guardrail of a spec: how much worse than control a metric may get under an arm, and what is done about it if it does."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta, Struct

from allocator.standing import Action

__all__ = ["TOLERANCE", "Guardrail"]

TOLERANCE = re.compile(r"(\d+(?:\.\d+)?)\s*%", re.ASCII)
"""A relative tolerance."""


class Guardrail(Struct, frozen=True, kw_only=True):
    """What one metric must not become under any arm. Which direction is worse is the metric's to say.

    `action`: `alert` tells it; `freeze` holds all weights; `cap` limits the arm's share to `cap`; `evict` takes all of it; `stop`
    sends all traffic to the fallback. Each stands until a person overrules it.
    """

    tolerance: Annotated[
        Annotated[str, Meta(pattern=r"^\d+(\.\d+)?\s*%$")] | Annotated[float, Meta(ge=0)],
        Meta(description="how much worse than control is allowed: `1%` of control's mean, or a number in the metric's unit"),
    ]
    action: Action = "alert"
    min_units: Annotated[int, Meta(ge=2, description="units that the arm and control need before they are compared")] = 100
    alpha: Annotated[
        float,
        Meta(gt=0, lt=1, description="probability of a false alarm on any arm, over the whole run, however often one looks"),
    ] = 0.05
    cap: Annotated[float, Meta(gt=0, lt=1, description="largest share of an arm that broke it; with action cap")] | None = None

    @property
    def relative(self) -> float:
        """The tolerance as a share of control's mean; 0 where it is absolute."""
        return float(self.tolerance.rstrip(" %")) / 100 if isinstance(self.tolerance, str) else 0.0

    @property
    def absolute(self) -> float:
        """The tolerance in the metric's unit; 0 where it is relative."""
        return 0.0 if isinstance(self.tolerance, str) else self.tolerance
