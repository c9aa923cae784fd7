"""UCB1 and KL-UCB: what policies are compared with in simulation, and nowhere else.

They serve one arm until the next update, so there are no propensities to learn from, and with delayed or batched feedback they
play the same arm all the while. For rewards in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from allocator.quadrature import FloatArray

__all__ = ["BASELINES", "Index", "kl_ucb", "ucb1"]

Index = Callable[[FloatArray, FloatArray, float], FloatArray]
"""(units, sum of rewards, units of all arms) → the index; the arm with the largest is served. Arrays of shape (..., arms)."""

BISECTIONS = 30


def ucb1(n: FloatArray, total: FloatArray, t: float) -> FloatArray:
    """mean + √(2 ln t / n), ∞ where n = 0. Auer, Cesa-Bianchi & Fischer (2002)."""
    seen = np.maximum(n, 1.0)
    return np.where(n > 0, total / seen + np.sqrt(2.0 * np.log(max(t, 1.0)) / seen), np.inf)


def kl_ucb(n: FloatArray, total: FloatArray, t: float) -> FloatArray:
    """The largest q with n kl(mean, q) ≤ ln t, ∞ where n = 0; kl of two Bernoullis. Garivier & Cappé (2011) with c = 0."""
    mean = total / np.maximum(n, 1.0)
    level = np.log(max(t, 1.0)) / np.maximum(n, 1.0)
    low, high = mean, np.ones_like(mean)
    for _ in range(BISECTIONS):
        q = (low + high) / 2
        inside = _kl(mean, q) <= level
        low, high = np.where(inside, q, low), np.where(inside, high, q)
    return np.where(n > 0, low, np.inf)


def _kl(p: FloatArray, q: FloatArray) -> FloatArray:
    tiny = 1e-300
    yes = p * np.log(np.maximum(p, tiny) / np.maximum(q, tiny))
    no = (1 - p) * np.log(np.maximum(1 - p, tiny) / np.maximum(1 - q, tiny))
    return np.asarray(yes + no)


BASELINES: dict[str, Index] = {"ucb1": ucb1, "kl-ucb": kl_ucb}
"""By the name under which a simulation is asked for them."""
