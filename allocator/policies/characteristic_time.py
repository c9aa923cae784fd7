"""How hard it is to tell the best arm, and which proportions tell it soonest.

Garivier & Kaufmann (2016), "Optimal best arm identification with fixed confidence", COLT. To be wrong with probability at most δ
takes about T* ln(1/δ) units, where

    1 / T* = max_w min_{a ≠ best} C_a(w_best, w_a)                                          (Theorem 1)
    C_a(v, w) = min_m v d(μ_best, m) + w d(μ_a, m)                                           (Lemma 3)

and d is the divergence of two laws of a unit's reward by their means: Kullback-Leibler's between Bernoullis, (x - y)² / 2σ_k²
between normals, each arm with its own known variance. With x_a = w_a / w_best the inner minimum is w_best g_a(x_a), g_a
increasing and concave, so that at the best proportions all g_a(x_a) = y and

    F(y) = Σ_a d(μ_best, m_a) / d(μ_a, m_a) = 1                                              (Theorem 5)

Two nested root searches: y by bracketing, since F increases, and by way of the closest rival's x, which has no upper limit where
y has one; the other x_a(y) by Newton's method from 0, which a concave function never lets overshoot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy  # scipy.optimize loads when first used

from allocator.quadrature import FloatArray

__all__ = ["Bernoulli", "Laws", "Normal", "evidence", "optimal_proportions"]

NEWTON_STEPS_MAX = 100
FAR = 1e18
"""Times the units of the best arm: a rival's mean is then m_a."""


class Laws(Protocol):
    """One law of a unit's reward an arm, known but for its mean. The largest mean is the best."""

    @property
    def mean(self) -> FloatArray:
        """Shape (arms,)."""

    def between(self, best: int, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """d(μ_best, m_a) and d(μ_a, m_a) for every arm a, m_a being the mean that fits both when a has x_a times the units."""


@dataclass(frozen=True, slots=True, eq=False)
class Bernoulli:
    """Rewards of 0 and 1; means in [0, 1], shape (arms,), and for the best proportions inside it."""

    mean: FloatArray

    def between(self, best: int, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `Laws`."""
        part = x / (1.0 + x)
        gap = self.mean[best] - self.mean
        return _kl(np.full(len(x), self.mean[best]), -part * gap), _kl(self.mean, (1.0 - part) * gap)


@dataclass(frozen=True, slots=True, eq=False)
class Normal:
    """Normal rewards with known variances > 0; both of shape (arms,)."""

    mean: FloatArray
    variance: FloatArray

    def between(self, best: int, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See `Laws`."""
        own, other = self.variance[best], self.variance
        off = (self.mean[best] - self.mean) / (other + x * own)
        return (x * off) ** 2 * own / 2, off**2 * other / 2


def optimal_proportions(laws: Laws) -> tuple[FloatArray, float]:
    """w*, shape (arms,), and T*, in units; arms that share the best mean evenly and T* infinite where there are several.

    One arm alone is told at once: T* is 0.
    """
    mean = laws.mean
    best = int(np.argmax(mean))
    ties = mean == mean[best]
    if len(mean) == 1 or ties.sum() > 1:
        return ties / ties.sum(), 0.0 if len(mean) == 1 else np.inf
    others = np.arange(len(mean)) != best
    rival = int(np.argmin(np.where(others, laws.between(best, np.full(len(mean), FAR))[0], np.inf)))

    def excess(log_x: float) -> float:
        of_best, of_other = laws.between(best, _ratios(laws, best, rival, np.exp(log_x)))
        return float((of_best[others] / of_other[others]).sum()) - 1.0

    lowest, highest = -1.0, 0.0
    while excess(lowest) > 0.0:
        lowest *= 2.0
    while excess(highest) < 0.0:
        highest += 1.0
    x = _ratios(laws, best, rival, np.exp(scipy.optimize.brentq(excess, lowest, highest, xtol=1e-12)))
    x[best] = 1.0
    of_best, of_other = laws.between(best, x)
    return x / x.sum(), float(x.sum() / (of_best[rival] + x[rival] * of_other[rival]))


def evidence(laws: Laws, n: FloatArray) -> tuple[int, float]:
    """The arm with the best mean so far, and the generalised likelihood ratio for it against its closest rival (§3.2), ≥ 0.

    Parameters
    ----------
    laws : with the empirical means.
    n : units an arm, shape (arms,); 0 makes the ratio 0.
    """
    mean = laws.mean
    best = int(np.argmax(mean))
    if len(mean) == 1:
        return best, np.inf
    if float(n.min()) <= 0.0:
        return best, 0.0
    of_best, of_other = laws.between(best, n / n[best])
    ratios = n[best] * of_best + n * of_other
    return best, float(np.delete(ratios, best).min())


def _ratios(laws: Laws, best: int, rival: int, x_rival: float) -> FloatArray:
    """x with all g_a(x_a) equal to the rival's g(x_rival); the entry of the best arm means nothing.

    Parameters
    ----------
    rival : the arm whose g has the least limit, so that every other g reaches the value.
    """
    x = np.zeros(len(laws.mean))
    x[rival] = x_rival
    of_best, of_other = laws.between(best, x)
    y = float(of_best[rival] + x_rival * of_other[rival])
    for _ in range(NEWTON_STEPS_MAX):
        of_other[best] = 1.0  # any number
        step = (y - of_best - x * of_other) / of_other  # g' = d(μ_a, m_a), by the envelope theorem
        step[[best, rival]] = 0.0
        x += step
        if np.all(step <= 1e-12 * x):
            break
        of_best, of_other = laws.between(best, x)
    return x


def _kl(p: FloatArray, shift: FloatArray) -> FloatArray:
    """KL(Bernoulli(p), Bernoulli(p + shift)), by the shift: a difference of nearly equal numbers would lose its digits."""
    ahead, behind = np.zeros_like(p), np.zeros_like(p)
    np.divide(shift, p, out=ahead, where=p > 0.0)
    np.divide(-shift, 1.0 - p, out=behind, where=p < 1.0)
    return np.maximum(-p * np.log1p(ahead) - (1.0 - p) * np.log1p(behind), 0.0)
