"""Arguments that several modules take, checked in one place: what is outside its domain is named."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from allocator.errors import ArgumentError
from allocator.quadrature import FloatArray

__all__ = ["as_counts", "as_shares", "require_inside_unit"]

SHARES_SUM = 1e-6
"""How far from 1 shares may sum; published ones are whole ppm."""


def as_counts(arms: int, counts: npt.ArrayLike) -> FloatArray:
    """Counts as an array of shape (..., arms). ArgumentError: another shape, or an entry that is not a whole number ≥ 0."""
    n = np.asarray(counts, dtype=np.float64)
    if n.ndim == 0 or n.shape[-1] != arms:
        raise ArgumentError("counts", f"shape {n.shape}", f"{arms} arms on the last axis")
    if not np.all((n >= 0) & (n == np.floor(n)) & (n < np.inf)):
        raise ArgumentError("counts", n.tolist(), "whole numbers of at least 0")
    return n


def as_shares(arms: int, shares: npt.ArrayLike) -> FloatArray:
    """Shares as an array of shape (..., arms). ArgumentError: another shape, an entry below 0, or a sum that is not 1."""
    p = np.asarray(shares, dtype=np.float64)
    if p.ndim == 0 or p.shape[-1] != arms:
        raise ArgumentError("shares", f"shape {p.shape}", f"{arms} arms on the last axis")
    if not (np.all(p >= 0) and np.all(np.abs(p.sum(axis=-1) - 1) <= SHARES_SUM)):
        raise ArgumentError("shares", p.tolist(), "numbers of at least 0 that sum to 1")
    return p


def require_inside_unit(name: str, value: float) -> None:
    """A level: strictly between 0 and 1. ArgumentError otherwise, also for nan."""
    if not 0 < value < 1:
        raise ArgumentError(name, value, "a number in (0, 1)")
