"""Exact moments: sums of integers, so any order, take-back, split into chunks or merge gives the same bits.

A cell is one (experiment, segment, arm, period). With M metrics its sums are one flat list of Python ints:

    [ n | s_j (M) | S_jk, j <= k (M(M+1)/2) | w | w2 | wy_j (M) | w2y_j (M) | w2y2_j (M) ]

where a unit adds 1 to n, y_j to s_j, y_j y_k to S_jk, W to w, W² to w2, W y_j to wy_j and so on. y is a metric's value in
steps of its resolution, W is 1/propensity in millionths. Floats appear only when something is derived.

`Layout` and the in-place updates of `Sums` serve the join's hot loop; `Moments` is the frozen value everything else uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from math import floor
from operator import add, sub

import numpy as np
import numpy.typing as npt

from allocator.errors import ArgumentError, RecordError

__all__ = ["PROPENSITY_MIN", "STEPS_MAX", "WEIGHT_UNIT", "Layout", "Moments", "inverse_propensity", "layout_of", "quantise"]

STEPS_MAX = 10**15
PROPENSITY_MIN = 1e-6
WEIGHT_UNIT = 1_000_000
"""Inverse propensities are whole numbers of this fraction: W = 1e6 / p."""


def quantise(value: float, steps_per_one: float) -> int:
    """`value` in whole steps, halves up: floor(value · steps_per_one + ½), which SQL can say too.

    Raises
    ------
    RecordError : not finite, or more than `STEPS_MAX` steps from zero.
    """
    scaled = value * steps_per_one + 0.5
    if not -STEPS_MAX <= scaled < STEPS_MAX + 1:  # also false for nan
        raise RecordError(f"value: {value!r}: expected at most {STEPS_MAX:.0e} steps of the metric's resolution")
    return floor(scaled)


@lru_cache(maxsize=10_000)  # a publication of weights has as many propensities as arms, and each is met many times
def inverse_propensity(propensity: float) -> int:
    """W = floor(1e6 / p + ½) for p in [1e-6, 1]. RecordError outside."""
    if not PROPENSITY_MIN <= propensity <= 1.0:
        raise RecordError(f"propensity: {propensity!r}: expected a probability in [1e-06, 1]")
    return floor(WEIGHT_UNIT / propensity + 0.5)


class Layout:
    """Where the sums of `metrics` metrics lie in a cell's list."""

    __slots__ = ("cross", "length", "metrics", "of_metric", "square", "w", "w2", "w2y", "w2y2", "wy")

    def __init__(self, metrics: int) -> None:
        if metrics < 1:
            raise ArgumentError("metrics", metrics, "at least 1")
        m, at = metrics, 1 + metrics
        self.metrics = m
        self.cross = [[0] * m for _ in range(m)]
        """cross[j][k]: index of S_jk."""
        for j in range(m):
            for k in range(j, m):
                self.cross[j][k] = self.cross[k][j] = at
                at += 1
        self.square = [self.cross[j][j] for j in range(m)]
        self.w, self.w2, self.wy, self.w2y, self.w2y2 = at, at + 1, at + 2, at + 2 + m, at + 2 + 2 * m
        self.length = at + 2 + 3 * m
        self.of_metric = [
            (1 + j, self.square[j], self.wy + j, self.w2y + j, self.w2y2 + j, [(k, self.cross[j][k]) for k in range(m) if k != j])
            for j in range(m)
        ]
        """What a change of metric j touches: s, S_jj, wy, w2y, w2y2, and the cross terms (k, S_jk)."""

    def empty(self) -> list[int]:
        """A cell without units."""
        return [0] * self.length

    def enter(self, sums: list[int], weight: int, units: int = 1) -> None:
        """So many units of one weight with y = 0 enter the cell; a negative number leaves it."""
        sums[0] += units
        sums[self.w] += units * weight
        sums[self.w2] += units * weight * weight

    def change(self, sums: list[int], weight: int, y: list[int], j: int, new: int) -> None:
        """Metric j of a unit becomes `new`; first value, addition, replacement and take-back alike. Updates `y`."""
        old = y[j]
        d = new - old
        if d:
            y[j] = new
            s, square, wy, w2y, w2y2, others = self.of_metric[j]
            wd = weight * d
            sums[s] += d
            sums[wy] += wd
            wd *= weight
            sums[w2y] += wd
            t = new + old
            sums[square] += d * t
            sums[w2y2] += wd * t
            for k, at in others:
                if y[k]:
                    sums[at] += d * y[k]

    def contradiction(self, sums: Sequence[int]) -> str | None:
        """Why these sums cannot come from any set of units, or None."""
        n, w = sums[0], sums[self.w]
        if n < 0 or w < WEIGHT_UNIT * n or n * sums[self.w2] < w * w:
            return f"n={n}, w={w}, w2={sums[self.w2]} contradict each other"
        for j, at in enumerate(self.square):
            if n * sums[at] < sums[1 + j] ** 2:
                return f"metric {j}: the square of the sum exceeds n times the sum of squares"
        return None


@cache
def layout_of(metrics: int) -> Layout:
    """The one layout of that many metrics."""
    return Layout(metrics)


@dataclass(frozen=True, slots=True)
class Moments:
    """The sums of one arm over any set of cells; merge with ``+``, take back with ``-``.

    Parameters
    ----------
    metrics : M, number of metrics, at least 1.
    sums : the flat tuple laid out as in the module's docstring.
    """

    metrics: int
    sums: tuple[int, ...]

    def __post_init__(self) -> None:
        length = layout_of(self.metrics).length
        if len(self.sums) != length:
            raise ArgumentError("sums", f"{len(self.sums)} entries", f"{length} for {self.metrics} metrics")

    @classmethod
    def zero(cls, metrics: int) -> Moments:
        """No units."""
        return cls(metrics, (0,) * layout_of(metrics).length)

    @classmethod
    def total(cls, metrics: int, cells: Iterable[Sequence[int]]) -> Moments:
        """The sum of many cells' lists."""
        rows = list(cells)
        return cls(metrics, tuple(map(sum, zip(*rows, strict=True)))) if rows else cls.zero(metrics)

    def __add__(self, other: Moments) -> Moments:
        self._check_same_metrics(other)
        return Moments(self.metrics, tuple(map(add, self.sums, other.sums)))

    def __sub__(self, other: Moments) -> Moments:
        self._check_same_metrics(other)
        return Moments(self.metrics, tuple(map(sub, self.sums, other.sums)))

    def _check_same_metrics(self, other: Moments) -> None:
        if other.metrics != self.metrics:  # map would cut the longer one short
            raise ArgumentError("other", f"moments of {other.metrics} metrics", f"moments of {self.metrics} metrics")

    @property
    def n(self) -> int:
        """Units."""
        return self.sums[0]

    def sum(self, j: int) -> int:
        """Σ y_j in steps of metric j's resolution."""
        return self.sums[1 + j]

    def sum_squares(self, j: int) -> int:
        """Σ y_j² in squared steps."""
        return self.sums[layout_of(self.metrics).square[j]]

    def mean(self, j: int, resolution: float = 1.0) -> float:
        """Mean of metric j in natural units; nan without units."""
        return self.sum(j) / self.n * resolution if self.n else float("nan")

    def variance(self, j: int, resolution: float = 1.0) -> float:
        """Unbiased variance of metric j in natural units; nan below two units.

        n Σy² - (Σy)² is exact in integers, so nothing cancels: one rounding, then the scale.
        """
        n = self.n
        if n < 2:
            return float("nan")
        return (n * self.sum_squares(j) - self.sum(j) ** 2) / (n * (n - 1)) * resolution**2

    def covariance(self, resolutions: Sequence[float]) -> npt.NDArray[np.float64]:
        """Unbiased covariance matrix, shape (M, M), in natural units; nan below two units."""
        m, n = self.metrics, self.n
        out = np.full((m, m), np.nan)
        if n >= 2:
            cross = layout_of(m).cross
            for j in range(m):
                for k in range(j, m):
                    exact = n * self.sums[cross[j][k]] - self.sum(j) * self.sum(k)
                    out[j, k] = out[k, j] = exact / (n * (n - 1)) * resolutions[j] * resolutions[k]
        return out
