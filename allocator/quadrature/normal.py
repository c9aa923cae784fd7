"""Normals and Student's t on the line of the values themselves, in units of how far the arms lie apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy  # scipy.special loads when first used: the command line starts in half the time

from allocator.errors import ArgumentError
from allocator.quadrature.contest import contest
from allocator.quadrature.densities import REACH, Arms, Shape, arrays
from allocator.quadrature.panels import FloatArray

__all__ = ["Normals", "Students", "prob_best_normal", "prob_best_t"]

NARROWEST = 1e-9
"""Points are given this width, in units of how far the arms lie apart."""


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
        """In units of `unit`, from the largest mean."""
        centre, scale = _standardised(self.mean, self.sd, self.unit)
        reach = np.sqrt(2.0 * REACH) * scale
        return Shape(centre, scale, centre - reach, centre + reach)

    @cached_property
    def unit(self) -> float:
        """What a step of 1 on the line is."""
        return _unit(self.mean, self.sd)

    def log_density(self, arms: Arms, origin: float, at: FloatArray) -> FloatArray:
        """See `Densities`."""
        z = _z(self.shape, arms, origin, at)
        return np.asarray(-0.5 * z * z)

    def bound(self, higher: Arms, lower: Arms) -> FloatArray:
        """Exact: the difference is normal."""
        m, s = self.shape.centre, self.shape.scale
        return np.asarray(scipy.special.ndtr((m[higher] - m[lower]) / np.hypot(s[higher], s[lower])))

    def slope(self, origin: float, at: FloatArray) -> FloatArray:
        """Constant."""
        return np.full(len(at), self.unit)


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
        """In units of `unit`, from the largest mean. Few degrees of freedom are sharp in the middle and reach far."""
        centre, scale = _standardised(self.mean, self.scale, self.unit)
        reach = scale * np.sqrt(self.dof * np.expm1(np.minimum(2.0 * REACH / self.dof, 600.0)))
        return Shape(centre, scale * np.sqrt(self.dof / (self.dof + 1.0)), centre - reach, centre + reach)

    @cached_property
    def unit(self) -> float:
        """What a step of 1 on the line is."""
        return _unit(self.mean, self.scale)

    @cached_property
    def _scale(self) -> FloatArray:
        return _standardised(self.mean, self.scale, self.unit)[1]

    def log_density(self, arms: Arms, origin: float, at: FloatArray) -> FloatArray:
        """See `Densities`."""
        z = (at - (self.shape.centre[arms, None] - origin)) / self._scale[arms, None]
        dof = self.dof[arms, None]
        return np.asarray(-0.5 * (dof + 1.0) * np.log1p(z * z / dof))

    def bound(self, higher: Arms, lower: Arms) -> FloatArray:
        """P(X > Y) ≤ P(X > c) + P(Y < c) for every c, here as many scales from one centre as from the other."""
        m, s, stdtr = self.shape.centre, self._scale, scipy.special.stdtr
        z = (m[lower] - m[higher]) / (s[lower] + s[higher])
        return np.asarray(np.minimum(stdtr(self.dof[higher], -z) + stdtr(self.dof[lower], -z), 1.0))

    def slope(self, origin: float, at: FloatArray) -> FloatArray:
        """Constant."""
        return np.full(len(at), self.unit)


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
    if not (np.all(np.isfinite(dof)) and np.all(dof > 0)):
        raise ArgumentError("dof", dof.tolist(), "finite numbers above 0")
    return contest(Students(mean, scale, dof)).prob_best


def _check_location(mean_name: str, mean: FloatArray, scale_name: str, scale: FloatArray) -> None:
    if not np.all(np.isfinite(mean)):
        raise ArgumentError(mean_name, mean.tolist(), "finite numbers")
    if not (np.all(np.isfinite(scale)) and np.all(scale >= 0)):
        raise ArgumentError(scale_name, scale.tolist(), "finite numbers of at least 0")


def _unit(mean: FloatArray, scale: FloatArray) -> float:
    return max(float(np.ptp(mean)), float(scale.max())) or 1.0


def _standardised(mean: FloatArray, scale: FloatArray, unit: float) -> tuple[FloatArray, FloatArray]:
    return (mean - mean.max()) / unit, np.maximum(scale / unit, NARROWEST)


def _z(shape: Shape, arms: Arms, origin: float, at: FloatArray) -> FloatArray:
    return np.asarray((at - (shape.centre[arms, None] - origin)) / shape.scale[arms, None])
