"""What is known of an experiment when it is decided: training moments by segment, by period, and in total.

With the lags of rewards beside them, what is still pending can be told (`allocator.pending`). Held-back units are in none of it.
Moments are made of sums only where somebody asks: most policies need the total alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest

from allocator.moments import Moments

__all__ = ["Evidence"]

Sums = Mapping[str, Sequence[int]]
"""Arm → sums as laid out in `allocator.moments`; an arm without units may be missing."""
Lags = Mapping[str, Sequence[Sequence[int]]]
"""Arm → by metric, how many of its rewards came with a lag in each bin of `allocator.delay.lag_edges`.

A unit's first value that is not 0 where it counts once, all of them where they add up. An arm may be missing, and later metrics;
an empty row has none.
"""


@dataclass(frozen=True)
class Evidence:
    """Training sums of one experiment.

    Parameters
    ----------
    arms : names, in the spec's order.
    metrics : M, number of observed metrics.
    segments : segment → arm → sums over all periods; "" where the spec declares no segment.
    periods : period (exposure time // period_s) → arm → sums over all segments; may be left out where no policy asks.
    lags : period of the exposure → lags of rewards; empty: nothing is known of them, and no reward is taken for pending.
    all_lags : the same over all periods; summed up where it is not given.
    read_until : event time up to which rewards were read, in seconds since the epoch; None where it is not known.
    """

    arms: tuple[str, ...]
    metrics: int
    segments: Mapping[str, Sums]
    periods: Mapping[int, Sums] = field(default_factory=dict)
    lags: Mapping[int, Lags] = field(default_factory=dict)
    all_lags: Lags | None = None
    read_until: float | None = None

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

    @cached_property
    def every_lag(self) -> Lags:
        """Lags over all periods."""
        if self.all_lags is not None:
            return self.all_lags
        found: dict[str, list[Sequence[Sequence[int]]]] = {}
        for lags in self.lags.values():
            for arm, rows in lags.items():
                found.setdefault(arm, []).append(rows)
        return {arm: [_added(row) for row in zip_longest(*several, fillvalue=())] for arm, several in found.items()}

    def _arms(self, sums: Sums) -> tuple[Moments, ...]:
        zero = Moments.zero(self.metrics)
        return tuple(Moments(self.metrics, tuple(sums[arm])) if arm in sums else zero for arm in self.arms)


def _added(rows: Sequence[Sequence[int]]) -> list[int]:
    return [sum(column) for column in zip_longest(*rows, fillvalue=0)]
