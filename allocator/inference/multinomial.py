"""Bets against published shares: the evidence in counts that units did not fall on the arms as promised.

Under the promise a unit falls on arm k with probability p_k. Against it stands a Dirichlet(c q) mixture of other shares. The
ratio of what the two say about counts n is

    Γ(c) / Γ(c + N) · ∏ Γ(c q_k + n_k) / Γ(c q_k) · ∏ p_k^-n_k

and it is 1 on average under the promise, unit by unit, so it may be looked at after each of them, and does not depend on their
order (Lindon & Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022). `srm` and `propensity` bet with it.
"""

from __future__ import annotations

import numpy as np
import scipy  # scipy.special loads when first used: the command line starts in half the time

from allocator.quadrature import FloatArray

__all__ = ["log_gain"]

STIRLING = 64.0
"""From here on three terms of Stirling's series are exact to the last bit."""


def log_gain(
    counts: FloatArray, shares: FloatArray, strength: FloatArray | float, log_ratio: FloatArray | float = 0.0
) -> FloatArray:
    """The logarithm of the ratio above.

    Parameters
    ----------
    counts, shares : n and p, shape (..., arms), as `arguments.as_counts` and `as_shares` return them.
    strength : c > 0, shape (...): how many units the bet is worth, small for a bold one.
    log_ratio : ln(q / p), shape (..., arms); 0 centres the bet on the promise.

    Returns
    -------
    Shape (...); inf where an arm with share 0 has a unit. The error is about 1e-16 times the units, not times ln Γ of them.
    """
    possible = shares > 0
    a = np.where(possible, np.asarray(strength)[..., None] * shares * np.exp(log_ratio), 1.0)
    impossible = (~possible & (counts > 0)).any(axis=-1)
    n = np.where(possible, counts, 0.0)
    gain = (n * log_ratio + _excess(a, n)).sum(axis=-1) - _excess(np.asarray(strength), n.sum(axis=-1))
    return np.asarray(np.where(impossible, np.inf, gain))


def _excess(a: FloatArray, n: FloatArray) -> FloatArray:
    """ln Γ(a + n) - ln Γ(a) - n ln a, by Stirling for large a, where the difference of the ln Γ would cancel."""
    small = np.minimum(a, STIRLING)
    exact = scipy.special.gammaln(small + n) - scipy.special.gammaln(small) - n * np.log(small)
    large = np.maximum(a, STIRLING)
    series = (large + n - 0.5) * np.log1p(n / large) - n + _stirling(large + n) - _stirling(large)
    return np.asarray(np.where(a < STIRLING, exact, series))


def _stirling(x: FloatArray) -> FloatArray:
    """ln Γ(x) - (x - ½) ln x + x - ½ ln 2π."""
    return np.asarray((1 / 12 - (1 / 360 - 1 / 1260 / x**2) / x**2) / x)
