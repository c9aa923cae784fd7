"""What stands between a policy's weights and publication, in this order: floor, maximum shift, dead-band, whole ppm.

Shares are arrays of shape (arms,), non-negative, sum 1. `decide` applies these; nothing here knows an experiment.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from allocator.quadrature import FloatArray
from allocator.weights import PPM

__all__ = ["lifted", "limited", "to_ppm", "to_shares", "with_floor"]


def with_floor(weights: FloatArray, floor: float) -> FloatArray:
    """f + (1 - K f) w: every arm has at least f, and what is left follows the policy. floor in [0, 1/K].

    Additive, because clipping and renormalising would push arms just above the floor below it.
    """
    return floor + max(0.0, 1.0 - len(weights) * floor) * weights


def lifted(shares: FloatArray, floor: float) -> FloatArray:
    """`shares` with every arm below the floor raised to it, paid by the others in proportion to what they have above it."""
    missing = float(np.maximum(floor - shares, 0.0).sum())
    spare = np.maximum(shares - floor, 0.0)
    if missing == 0.0:
        return shares
    return floor + spare * max(0.0, 1.0 - missing / float(spare.sum()))


def limited(shares: FloatArray, target: FloatArray, max_shift: float) -> FloatArray:
    """From `shares` straight towards `target`, stopping where the first arm has changed by `max_shift`. The sum stays 1."""
    change = target - shares
    largest = float(np.abs(change).max())
    return target if largest <= max_shift else shares + change * (max_shift / largest)


def to_ppm(shares: FloatArray) -> tuple[int, ...]:
    """Whole parts per million that sum to 1 000 000, by largest remainder; ties go to the earlier arm."""
    exact = shares * (PPM / float(shares.sum()))
    near = np.rint(exact)
    exact = np.where(np.abs(exact - near) < 1e-6, near, exact)  # 0.29 · 1e6 is 290 000, not 289 999.99999999994
    whole = np.floor(exact)
    order = np.argsort(whole - exact, kind="stable")
    left = PPM - int(whole.sum())
    whole[order[:left]] += 1
    return tuple(int(ppm) for ppm in whole)


def to_shares(ppm: Sequence[int]) -> FloatArray:
    """Shares from parts per million."""
    return np.array(ppm, dtype=np.float64) / PPM
