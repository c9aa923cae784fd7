"""Moments of one metric as arrays over periods and arms: the form in which every interval is computed.

Integers become floats here and nowhere else. A metric's values are counted from an origin near their mean, or from their lower
bound, and the shift is made in integers: a metric of 1e9 ± 1 keeps its digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from allocator.errors import ArgumentError
from allocator.moments import WEIGHT_UNIT, Moments, layout_of
from allocator.quadrature import FloatArray

__all__ = ["PeriodSums", "Periods", "middle", "period_sums"]

Periods = Sequence[Mapping[str, Moments]]
"""In order of time, each arm's moments of the units exposed in the period and not held back.

An arm that is missing from a period was not in the experiment then; one that is there without units was. Every unit of a period
must have been able to get every arm in it. The last period may be unfinished.
"""


@dataclass(frozen=True, slots=True, eq=False)
class PeriodSums:
    """Sums over the units that got an arm in a period; every array but `present` has shape (..., periods, arms).

    Parameters
    ----------
    n, y, y2 : units, Σ y and Σ y², with y = value - origin in natural units.
    w, w2, wy, w2y, w2y2 : Σ w, Σ w², Σ w y, Σ w² y and Σ w² y², with w = 1 / propensity.
    present : whether the arm was in the experiment, shape (periods, arms) or as the others.
    origin : natural units.
    """

    n: FloatArray
    y: FloatArray
    y2: FloatArray
    w: FloatArray
    w2: FloatArray
    wy: FloatArray
    w2y: FloatArray
    w2y2: FloatArray
    present: npt.NDArray[np.bool_]
    origin: float = 0.0

    @property
    def units(self) -> FloatArray:
        """Units of all arms, shape (..., periods, 1)."""
        return np.asarray(self.n.sum(axis=-1, keepdims=True))

    def scaled(self, low: float, high: float) -> PeriodSums:
        """Counted in shares of [low, high]: 0 is `low`, 1 is `high`."""
        d, k = low - self.origin, 1 / (high - low)
        return PeriodSums(
            n=self.n,
            y=k * (self.y - d * self.n),
            y2=k * k * (self.y2 - 2 * d * self.y + d * d * self.n),
            w=self.w,
            w2=self.w2,
            wy=k * (self.wy - d * self.w),
            w2y=k * (self.w2y - d * self.w2),
            w2y2=k * k * (self.w2y2 - 2 * d * self.w2y + d * d * self.w2),
            present=self.present,
        )


def period_sums(resolution: float, j: int, arms: Sequence[str], periods: Periods, origin: float) -> PeriodSums:
    """The sums of metric `j`, counted from the whole step of its resolution nearest to `origin` (natural units).

    Raises
    ------
    ArgumentError : no arms, an arm twice, a period that knows other arms or too few metrics, or sums that contradict themselves.
    """
    if not arms or len(set(arms)) < len(arms):
        raise ArgumentError("arms", tuple(arms), "at least one arm, none of them twice")
    cells = list(periods) or [{arm: Moments.zero(j + 1) for arm in arms}]
    steps = round(origin / resolution)
    table = np.zeros((8, len(cells), len(arms)))
    present = np.zeros((len(cells), len(arms)), dtype=bool)
    for p, cell in enumerate(cells):
        if strangers := set(cell) - set(arms):
            raise ArgumentError(f"periods[{p}]", sorted(strangers), f"only the arms {', '.join(arms)}")
        for k, arm in enumerate(arms):
            if arm in cell:
                present[p, k] = True
                table[:, p, k] = _row(cell[arm], j, steps, resolution, f"periods[{p}][{arm!r}]")
    n, y, y2, w, w2, wy, w2y, w2y2 = table
    return PeriodSums(n, y, y2, w, w2, wy, w2y, w2y2, present, steps * resolution)


def _row(moments: Moments, j: int, steps: int, resolution: float, where: str) -> tuple[float, ...]:
    """n, y, y2, w, w2, wy, w2y, w2y2 of metric `j` about `steps`; exact until the last line."""
    if not 0 <= j < moments.metrics:
        raise ArgumentError(where, f"{moments.metrics} metrics", f"at least {j + 1}")
    layout, sums = layout_of(moments.metrics), moments.sums
    if why := layout.contradiction(sums):
        raise ArgumentError(where, why, "sums of some set of units")
    n, s, squares, w, w2 = sums[0], moments.sum(j), moments.sum_squares(j), sums[layout.w], sums[layout.w2]
    wy, w2y, w2y2 = sums[layout.wy + j], sums[layout.w2y + j], sums[layout.w2y2 + j]
    exact = (
        n,
        s - steps * n,
        squares - 2 * steps * s + steps * steps * n,
        w,
        w2,
        wy - steps * w,
        w2y - steps * w2,
        w2y2 - 2 * steps * w2y + steps * steps * w2,
    )
    value, weight = resolution, 1 / WEIGHT_UNIT
    units = (1, value, value**2, weight, weight**2, weight * value, weight**2 * value, (weight * value) ** 2)
    return tuple(float(total) * unit for total, unit in zip(exact, units, strict=True))


def middle(resolution: float, j: int, periods: Periods) -> float:
    """The mean over all units, in natural units: a good origin where there are no bounds. 0 without units."""
    cells = [moments for cell in periods for moments in cell.values()]
    n = sum(moments.n for moments in cells)
    return sum(moments.sum(j) for moments in cells) / n * resolution if n else 0.0
