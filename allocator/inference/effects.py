"""A table of an arm's effects by cohort and age, and the one that per-period moments can give.

A cohort is the units first exposed in one period; age is the time since then. `novelty` asks whether the effect changes with age.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from allocator.errors import ArgumentError
from allocator.inference.cuped import adjusted_means
from allocator.moments import Moments
from allocator.quadrature import FloatArray

__all__ = ["EffectTable", "effects_by_period"]


@dataclass(frozen=True, slots=True, eq=False)
class EffectTable:
    """Effects by cohort and age, one entry a cell, every array of shape (cells,); no order is needed, nor every combination.

    Parameters
    ----------
    cohort_s : when the cell's units were first exposed; the middle of a period, equal for all cells of a cohort.
    age_s : time since first exposure; the middle of a bucket.
    effect, se : arm less control in the metric's unit, and its standard error, > 0. From weighted or adjusted means, see `cuped`:
        raw ones move with the allocation.
    """

    cohort_s: FloatArray
    age_s: FloatArray
    effect: FloatArray
    se: FloatArray

    @classmethod
    def of(cls, cohort_s: npt.ArrayLike, age_s: npt.ArrayLike, effect: npt.ArrayLike, se: npt.ArrayLike) -> EffectTable:
        """From anything like arrays. ArgumentError: shapes differ, an entry is not finite, or a standard error is not above 0."""
        names = ("cohort_s", "age_s", "effect", "se")
        columns = [np.asarray(v, dtype=np.float64) for v in (cohort_s, age_s, effect, se)]
        for name, column in zip(names, columns, strict=True):
            if column.ndim != 1 or column.shape != columns[0].shape or not np.all(np.isfinite(column)):
                raise ArgumentError(name, column.tolist(), "one finite number a cell")
        if not np.all(columns[3] > 0):
            raise ArgumentError("se", columns[3].tolist(), "numbers above 0")
        return cls(*columns)

    @property
    def followed(self) -> bool:
        """Whether some cohort was seen more than once."""
        return len(np.unique(self.cohort_s)) < len(self.cohort_s)


def effects_by_period(
    control: Sequence[Moments],
    arm: Sequence[Moments],
    starts: npt.ArrayLike,
    ends: npt.ArrayLike,
    metric: int,
    resolution: float = 1.0,
) -> EffectTable:
    """The table that per-period moments can give: each period of exposures is a cohort, seen once.

    A unit's moments hold its rewards over the whole attribution window, so ages within a cohort are gone. Where a unit is a
    request, `age_s` is the time since the first period, and a trend says that the arm's effect on traffic changes. Where a unit
    is a person, each cohort is as new to the arm as the last one was, and what its members do after the window is not in the
    moments: a trend is then drift, or a change of users, and no novelty. For that, make the table from rewards by age.

    Parameters
    ----------
    control, arm : one a period, without units held back. Periods in which either has fewer than two units, or in which no value
        differs from another, are left out.
    starts, ends : seconds, one a period; `ends` of a period that still runs is now.
    metric, resolution : place in the metric vector, natural units per step.

    Raises
    ------
    ArgumentError : lengths differ.
    """
    first, last = np.asarray(starts, dtype=np.float64), np.asarray(ends, dtype=np.float64)
    for name, length in (("arm", len(arm)), ("starts", first.size), ("ends", last.size)):
        if length != len(control):
            raise ArgumentError(name, f"{length} of them", f"one for each of {len(control)} periods")
    effect, se = np.full(len(control), np.nan), np.full(len(control), np.nan)
    for t, pair in enumerate(zip(control, arm, strict=True)):
        found = adjusted_means(("control", "arm"), "control", [pair], metric, [], [resolution] * pair[0].metrics)
        effect[t], se[t] = found.difference[1], found.difference_se[1]
    middle, known = (first + last) / 2, se > 0
    return EffectTable.of(middle[known], (middle - first.min(initial=np.inf))[known], effect[known], se[known])
