"""What is known of the arms after a decision: part of the decision's record, and what dashboards show."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["ArmState", "MetricState"]


class MetricState(Struct, frozen=True, kw_only=True):
    """One arm on one metric, in natural units: posterior mean and 95 % equal-tailed interval, None where nothing is known."""

    n: int
    mean: float | None
    interval: tuple[float, float] | None


class ArmState(Struct, frozen=True, kw_only=True):
    """One arm on the objective with its P(best) there, its share after the decision, and every metric."""

    id: str
    n: int
    mean: float | None
    interval: tuple[float, float] | None
    p_best: float
    ppm: int
    metrics: dict[str, MetricState] = {}
