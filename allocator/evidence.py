"""What is known of an experiment when it is decided: training moments by segment, by period, and in total.

Held-back units are in none of it. Moments are made of sums only where somebody asks: most policies need the total alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from allocator.moments import Moments

__all__ = ["Evidence"]

Sums = Mapping[str, Sequence[int]]
"""Arm → sums as laid out in `allocator.moments`; an arm without units may be missing."""


@dataclass(frozen=True)
class Evidence:
    """Training sums of one experiment.

    Parameters
    ----------
    arms : names, in the spec's order.
    metrics : M, number of observed metrics.
    segments : segment → arm → sums over all periods; "" where the spec declares no segment.
    periods : period (exposure time // period_s) → arm → sums over all segments; may be left out where no policy asks.
    """

    arms: tuple[str, ...]
    metrics: int
    segments: Mapping[str, Sums]
    periods: Mapping[int, Sums] = field(default_factory=dict)

    @classmethod
    def of_arms(cls, arms: Sequence[str], metrics: int, moments: Mapping[str, Moments]) -> Evidence:
        """Totals an arm, without segments and periods."""
        return cls(tuple(arms), metrics, {"": {arm: m.sums for arm, m in moments.items()}})

    @cached_property
    def total(self) -> tuple[Moments, ...]:
        """Every arm's moments over all segments, in the order of `arms`."""
        return tuple(
            Moments.total(self.metrics, [sums[arm] for sums in self.segments.values() if arm in sums]) for arm in self.arms
        )

    @cached_property
    def by_segment(self) -> dict[str, tuple[Moments, ...]]:
        """Segment → every arm's moments, in the order of `arms`; segments by name."""
        return {name: self._arms(self.segments[name]) for name in sorted(self.segments)}

    @cached_property
    def by_period(self) -> dict[int, tuple[Moments, ...]]:
        """Period → every arm's moments, in the order of `arms`; periods in order of time."""
        return {period: self._arms(self.periods[period]) for period in sorted(self.periods)}

    def _arms(self, sums: Sums) -> tuple[Moments, ...]:
        zero = Moments.zero(self.metrics)
        return tuple(Moments(self.metrics, tuple(sums[arm])) if arm in sums else zero for arm in self.arms)
