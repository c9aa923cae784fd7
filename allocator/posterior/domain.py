"""Arguments of posteriors, checked: ArgumentError names the one that is outside its domain."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from allocator.errors import ArgumentError
from allocator.moments import Moments
from allocator.quadrature import FloatArray
from allocator.samples import Samples

__all__ = ["check_moments", "check_samples", "check_shape", "known", "tails"]


def check_shape(arms: Sequence[str], **named: FloatArray) -> None:
    """One number an arm, and at least one arm."""
    _check_arms(arms)
    for name, array in named.items():
        if array.shape != (len(arms),):
            raise ArgumentError(name, array.shape, f"shape (arms,), ({len(arms)},)")


def known(**named: FloatArray) -> bool:
    """Whether every number is one: nan is what nothing at all is known of. ArgumentError names an array with an infinite one."""
    if math.isfinite(sum(float(array.sum()) for array in named.values())):  # one that is not makes the sum so
        return True
    for name, array in named.items():
        if np.isinf(array).any():
            raise ArgumentError(name, array.tolist(), "finite numbers, or nan where nothing is known")
    return not any(np.isnan(array).any() for array in named.values())


def check_samples(arms: Sequence[str], samples: Samples) -> None:
    """One of each an arm; units and squares are not negative, everything is finite."""
    n, total, squares = samples.n, samples.total, samples.squares
    check_shape(arms, n=n, total=total, squares=squares)
    if n.min() >= 0.0 and squares.min() >= 0.0 and math.isfinite(float((n + total + squares).sum()) + samples.origin):
        return
    for name, array, least in (("n", n, 0.0), ("total", total, -np.inf), ("squares", squares, 0.0)):
        if not (np.isfinite(array).all() and array.min() >= least):
            raise ArgumentError(f"samples.{name}", array.tolist(), "finite numbers" + (" of at least 0" if least == 0.0 else ""))
    if not math.isfinite(samples.origin):
        raise ArgumentError("samples.origin", samples.origin, "a finite number")


def check_moments(arms: Sequence[str], moments: Sequence[Moments], j: int) -> None:
    """One an arm, and each has a metric at place `j`."""
    _check_arms(arms)
    if len(moments) != len(arms):
        raise ArgumentError("moments", f"{len(moments)} of them", f"one an arm, {len(arms)}")
    fewest = min([m.metrics for m in moments])
    if not 0 <= j < fewest:
        raise ArgumentError("j", j, f"the place of a metric, from 0 to {fewest - 1}")


def tails(level: float) -> tuple[float, float]:
    """The probabilities below both ends of an equal-tailed interval. ArgumentError unless 0 < level < 1."""
    if not 0.0 < level < 1.0:
        raise ArgumentError("level", level, "a probability above 0 and below 1")
    return (1.0 - level) / 2.0, (1.0 + level) / 2.0


def _check_arms(arms: Sequence[str]) -> None:
    if not arms:
        raise ArgumentError("arms", arms, "at least one arm")
