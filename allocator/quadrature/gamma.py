"""Gammas on the line of logarithms, where the density is smooth for every shape.

λ = log x has log-density αλ - β e^λ up to a constant: mode log(α/β), curvature α, a tail e^(αλ) below and a steeper one above.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy  # scipy.special loads when first used: the command line starts in half the time

from allocator.quadrature.contests import contest
from allocator.quadrature.densities import REACH, Arms, Flipped, Shape, arrays, check_positive
from allocator.quadrature.panels import FloatArray

__all__ = ["Gammas", "prob_best_gamma"]


@dataclass(frozen=True)
class Gammas:
    """Gamma(α, β) an arm, mean α / β.

    Parameters
    ----------
    alpha, beta : shape (arms,), > 0.
    """

    alpha: FloatArray
    beta: FloatArray

    @cached_property
    def shape(self) -> Shape:
        """The scale is that of α + 1: for small α the lower tail is long, but the edge above it is not."""
        tail = REACH / self.alpha
        mode, core = np.log(self.alpha / self.beta), np.sqrt(2.0 * tail)
        a = self.alpha + 1.0
        return Shape(np.log(a / self.beta), 1.0 / np.sqrt(a), mode - core - tail, mode + np.log1p(core + tail))

    def log_density(self, arms: Arms, origin: float, at: FloatArray) -> FloatArray:
        """See `Densities`; relative to `origin`, which keeps digits for a large α."""
        there = self.beta[arms, None] * np.exp(origin)
        return np.asarray(self.alpha[arms, None] * at - there * np.expm1(at))

    def bound(self, higher: Arms, lower: Arms) -> FloatArray:
        """Chernoff: P(X > Y) ≤ E X^t E Y^-t for t in (0, α_Y), here the best for normals."""
        gammaln = scipy.special.gammaln
        a_x, b_x, a_y, b_y = self.alpha[higher], self.beta[higher], self.alpha[lower], self.beta[lower]
        apart = np.log(a_y / b_y) - np.log(a_x / b_x)
        t = np.minimum(np.maximum(apart, 0.0) / (1.0 / a_x + 1.0 / a_y), 0.9 * a_y)
        log = gammaln(a_x + t) - gammaln(a_x) + gammaln(a_y - t) - gammaln(a_y) + t * np.log(b_y / b_x)
        return np.asarray(np.exp(np.minimum(log, 0.0)))

    def slope(self, origin: float, at: FloatArray) -> FloatArray:
        """x."""
        return np.asarray(np.exp(origin + at))

    def mirrored(self) -> Flipped:
        """See `Densities`."""
        return Flipped(self)


def prob_best_gamma(alpha: npt.ArrayLike, beta: npt.ArrayLike) -> FloatArray:
    """P(arm has the largest mean) for independent Gamma(α, β) posteriors of a Poisson mean.

    Parameters
    ----------
    alpha, beta : shape (arms,), finite and > 0: events and units, each with the prior's.

    Returns
    -------
    Shape (arms,), every entry > 0, sum 1 within 5e-9. Error at most 1e-9.

    Raises
    ------
    ArgumentError : shapes differ, or a value is outside its domain.
    """
    alpha, beta = arrays(alpha=alpha, beta=beta)
    check_positive(alpha=alpha, beta=beta)
    return contest(Gammas(alpha, beta)).prob_best
