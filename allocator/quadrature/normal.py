"""Normals and Student's t on the line of the values themselves, in units of where the arms that can win lie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy  # scipy.special loads when first used: the command line starts in half the time

from allocator.errors import ArgumentError
from allocator.quadrature.contests import contest
from allocator.quadrature.densities import REACH, Arms, Shape, arrays, check_positive
from allocator.quadrature.panels import FloatArray

__all__ = ["Normals", "Students", "prob_best_normal", "prob_best_t"]

EXP_MAX = 600.0
"""e^600 is finite, and so is its product with any scale that matters."""
NARROWEST = 1e-12
"""Points are given this width, in units of where the arms that can win lie."""


@dataclass(frozen=True)
class Normals:
    """normal(mean, sd²) an arm.

    Parameters
    ----------
    mean, sd : shape (arms,), sd ≥ 0. Arms with sd 0 are points; equal points share evenly.
    """

    mean: FloatArray
    sd: FloatArray

    @cached_property
    def shape(self) -> Shape:
        """Where they lie."""
        centre, scale, reach, _ = self._line
        return Shape(centre, scale, centre - reach, centre + reach)

    @cached_property
    def _line(self) -> _Line:
        return _line(self.mean, self.sd, math.sqrt(2.0 * REACH))

    def log_density(self, arms: Arms, origin: float, at: FloatArray) -> FloatArray:
        """See `Densities`."""
        z = self._line.z(arms, origin, at)
        return np.asarray(-0.5 * z * z)

    def bound(self, higher: Arms, lower: Arms) -> FloatArray:
        """Exact: the difference is normal."""
        m, s, _, _ = self._line
        return np.asarray(scipy.special.ndtr((m[higher] - m[lower]) / np.hypot(s[higher], s[lower])))

    def slope(self, origin: float, at: FloatArray) -> FloatArray:
        """Constant."""
        return np.full(len(at), self._line.unit)

    def mirrored(self) -> Normals:
        """Of the negative."""
        return Normals(-self.mean, self.sd)


@dataclass(frozen=True)
class Students:
    """mean + scale · t(dof) an arm.

    Parameters
    ----------
    mean, scale, dof : shape (arms,), scale ≥ 0, dof > 0.
    """

    mean: FloatArray
    scale: FloatArray
    dof: FloatArray

    @cached_property
    def shape(self) -> Shape:
        """Where they lie. Few degrees of freedom are sharp in the middle and reach far."""
        centre, scale, reach, _ = self._line
        return Shape(centre, scale * np.sqrt(self.dof / (self.dof + 1.0)), centre - reach, centre + reach)

    @cached_property
    def _line(self) -> _Line:
        return _line(self.mean, self.scale, np.sqrt(self.dof * np.expm1(np.minimum(2.0 * REACH / self.dof, EXP_MAX))))

    def log_density(self, arms: Arms, origin: float, at: FloatArray) -> FloatArray:
        """See `Densities`."""
        z = self._line.z(arms, origin, at)
        dof = self.dof[arms, None]
        return np.asarray(-0.5 * (dof + 1.0) * np.log1p(z * z / dof))

    def bound(self, higher: Arms, lower: Arms) -> FloatArray:
        """P(X > Y) ≤ P(X > c) + P(Y < c) for every c, here as many scales from one centre as from the other."""
        (m, s, _, _), stdtr = self._line, scipy.special.stdtr
        z = (m[lower] - m[higher]) / (s[lower] + s[higher])
        return np.asarray(np.minimum(stdtr(self.dof[higher], -z) + stdtr(self.dof[lower], -z), 1.0))

    def slope(self, origin: float, at: FloatArray) -> FloatArray:
        """Constant."""
        return np.full(len(at), self._line.unit)

    def mirrored(self) -> Students:
        """Of the negative."""
        return Students(-self.mean, self.scale, self.dof)


def prob_best_normal(mean: npt.ArrayLike, sd: npt.ArrayLike) -> FloatArray:
    """P(arm has the largest mean) for independent normals.

    Parameters
    ----------
    mean, sd : shape (arms,), finite, sd ≥ 0, any one unit. Arms with sd 0 are points; equal points share evenly.

    Returns
    -------
    Shape (arms,), every entry > 0, sum 1 within 5e-9. Error at most 1e-9.

    Raises
    ------
    ArgumentError : shapes differ, or a value is outside its domain.
    """
    mean, sd = arrays(mean=mean, sd=sd)
    _check_location("mean", mean, "sd", sd)
    return contest(Normals(mean, sd)).prob_best


def prob_best_t(mean: npt.ArrayLike, scale: npt.ArrayLike, dof: npt.ArrayLike) -> FloatArray:
    """P(arm has the largest mean) for independent mean + scale · t(dof).

    Parameters
    ----------
    mean, scale : shape (arms,), finite, scale ≥ 0, any one unit.
    dof : shape (arms,), finite, > 0: degrees of freedom.

    Returns
    -------
    Shape (arms,), every entry > 0, sum 1 within 5e-9. Error at most 1e-9 for dof ≥ 1.

    Raises
    ------
    ArgumentError : shapes differ, or a value is outside its domain.
    """
    mean, scale, dof = arrays(mean=mean, scale=scale, dof=dof)
    _check_location("mean", mean, "scale", scale)
    check_positive(dof=dof)
    return contest(Students(mean, scale, dof)).prob_best


def _check_location(mean_name: str, mean: FloatArray, scale_name: str, scale: FloatArray) -> None:
    if not (mean.min() > -np.inf and mean.max() < np.inf):
        raise ArgumentError(mean_name, mean.tolist(), "finite numbers")
    if not (scale.min() >= 0.0 and scale.max() < np.inf):
        raise ArgumentError(scale_name, scale.tolist(), "finite numbers of at least 0")


class _Line(NamedTuple):
    """Positions from the largest mean in steps of `unit`; every array has shape (arms,)."""

    centre: FloatArray
    scale: FloatArray
    reach: FloatArray
    unit: float

    def z(self, arms: Arms, origin: float, at: FloatArray) -> FloatArray:
        """How many scales origin + at is from each centre, shape (len(arms), len(at))."""
        return np.asarray((at - (self.centre[arms, None] - origin)) / self.scale[arms, None])


def _line(mean: FloatArray, scale: FloatArray, reach_scales: FloatArray | float) -> _Line:
    """The unit is of arms that can win: one far below must not make the others look like points."""
    reach = reach_scales * scale
    lowest, high = float((mean - reach).max()), mean + reach
    unit = max(float(high.max()) - lowest, float(scale[high >= lowest].max()))
    unit = unit or NARROWEST * float(np.abs(mean).max()) or 1.0  # points at one place
    scale = np.maximum(scale / unit, NARROWEST)
    return _Line((mean - mean.max()) / unit, scale, reach_scales * scale, unit)
