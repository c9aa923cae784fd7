"""What a family of posteriors must know to be integrated: where it lies on a line, its density there up to a constant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from allocator.errors import ArgumentError
from allocator.quadrature.panels import FloatArray

__all__ = ["REACH", "Arms", "Densities", "Flipped", "Shape", "arrays", "check_positive"]

Arms = npt.NDArray[np.intp]
"""Places of arms in the family's arrays."""

REACH = 34.0
"""Grids reach where a density is e⁻³⁴ = 2e-15 of its mode, about."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Where each arm's posterior lies on the line; every array has shape (arms,).

    Parameters
    ----------
    centre, scale : where it has its mass, and on what scale its density changes there; need not be exact.
    low, high : practically no mass lies beyond, at most 1e-14.
    """

    centre: FloatArray
    scale: FloatArray
    low: FloatArray
    high: FloatArray


class Densities(Protocol):
    """Independent posteriors, one an arm, of a quantity that grows along a line."""

    @property
    def shape(self) -> Shape:
        """Where they lie."""

    def log_density(self, arms: Arms, origin: float, at: FloatArray) -> FloatArray:
        """Up to a constant an arm, at positions origin + at; shape (len(arms), len(at))."""

    def bound(self, higher: Arms, lower: Arms) -> FloatArray:
        """Upper bounds of P(arm of `higher` > arm of `lower`), pair by pair, where the centre of `higher` is the lower one."""

    def slope(self, origin: float, at: FloatArray) -> FloatArray:
        """d quantity / d position at origin + at, natural units; shape (len(at),)."""

    def mirrored(self) -> Densities:
        """The line turned round, so that the least is the largest; `Flipped` where the family has nothing better."""


@dataclass(frozen=True, slots=True)
class Flipped:
    """The line of `inner` turned round."""

    inner: Densities

    @property
    def shape(self) -> Shape:
        """Mirrored."""
        shape = self.inner.shape
        return Shape(-shape.centre, shape.scale, -shape.high, -shape.low)

    def log_density(self, arms: Arms, origin: float, at: FloatArray) -> FloatArray:
        """See `Densities`."""
        return self.inner.log_density(arms, -origin, -at)

    def bound(self, higher: Arms, lower: Arms) -> FloatArray:
        """See `Densities`."""
        return self.inner.bound(lower, higher)

    def slope(self, origin: float, at: FloatArray) -> FloatArray:
        """See `Densities`."""
        return self.inner.slope(-origin, -at)

    def mirrored(self) -> Densities:
        """See `Densities`."""
        return self.inner


def arrays(**named: npt.ArrayLike) -> tuple[FloatArray, ...]:
    """The arguments as arrays of floats of one shape (arms,). ArgumentError names the one that is not."""
    found: list[FloatArray] = []
    for name, value in named.items():
        array = np.asarray(value, dtype=np.float64)
        if array.ndim != 1 or not len(array):
            raise ArgumentError(name, array.shape, "shape (arms,) with at least one arm")
        if found and array.shape != found[0].shape:
            raise ArgumentError(name, array.shape, f"the shape of {next(iter(named))}, {found[0].shape}")
        found.append(array)
    return tuple(found)


def check_positive(**named: FloatArray) -> None:
    """ArgumentError names the array that has anything but finite numbers above 0."""
    for name, array in named.items():
        if not (array.min() > 0.0 and array.max() < np.inf):  # false for nan too
            raise ArgumentError(name, array.tolist(), "finite numbers above 0")
