"""Rates of steady Bernoulli arms at any time, exactly, from successes and failures alone.

The e-process of "the rate is μ" is the likelihood ratio of a Beta(1, 1) mixture to μ (Ville 1939; Robbins 1970):

    ln E(μ) = ln B(1 + S, 1 + F) - S ln μ - F ln(1 - μ) = ln E(p̂) + n KL(p̂ ‖ μ),   p̂ = S / n,

and μ is excluded while ln E(μ) ≥ ln(1/alpha). It does not matter how units came to the arm. Of two arms the product of both is an
e-process of the pair of rates: adaptive or not, each unit multiplies one of the two factors. So the pairs with
ln E_k(a) + ln E_c(b) < ln(1/alpha) are a joint confidence sequence, and the range of a - b or a / b over them is one of the
difference or the ratio. Along the border of that set, the pairs that are extreme for one direction have a closed form in one
Lagrange multiplier, which bisection finds.

The divergence is computed from the step d = μ - p̂, so that at n = 1e12 nothing of size n is left to cancel.
Everything is elementwise: successes and failures are arrays of one shape, counts ≥ 0.
"""

from __future__ import annotations

from math import log

import numpy as np
import numpy.typing as npt

from allocator.errors import ArgumentError
from allocator.inference.boundaries import log_threshold, stirling_error
from allocator.inference.roots import bisect
from allocator.quadrature import FloatArray

__all__ = ["difference_interval", "log_e", "log_e_equal", "rate_interval", "ratio_interval"]


def log_e(successes: npt.ArrayLike, failures: npt.ArrayLike, rate: npt.ArrayLike) -> FloatArray:
    """ln of the e-process of "the rate is `rate`", for rates in [0, 1]."""
    s, f = _counts(successes, failures)
    return _peak(s, f) + _divergence(s, f, np.asarray(rate, dtype=np.float64) - _rate(s, f))


def log_e_equal(
    successes: npt.ArrayLike, failures: npt.ArrayLike, control_successes: npt.ArrayLike, control_failures: npt.ArrayLike
) -> FloatArray:
    """ln of the e-process of "both rates are equal": the pair's, at the common rate that it speaks least against."""
    (s, f), (sc, fc) = _counts(successes, failures), _counts(control_successes, control_failures)
    common = _rate(s + sc, f + fc)
    divergences = _divergence(s, f, common - _rate(s, f)) + _divergence(sc, fc, common - _rate(sc, fc))
    return np.asarray(_peak(s, f) + _peak(sc, fc) + divergences)


def rate_interval(successes: npt.ArrayLike, failures: npt.ArrayLike, alpha: float) -> tuple[FloatArray, FloatArray]:
    """Low and high of each arm's rate; [0, 1] without units."""
    s, f = _counts(successes, failures)
    room = log_threshold(alpha) - _peak(s, f)
    up = bisect(np.zeros_like(s), _rate(f, s), lambda d: _divergence(s, f, d) >= room)
    down = bisect(np.zeros_like(s), _rate(s, f), lambda d: _divergence(s, f, -d) >= room)
    return _rate(s, f) - down, np.where(s + f > 0, _rate(s, f) + up, 1.0)


def difference_interval(
    successes: npt.ArrayLike,
    failures: npt.ArrayLike,
    control_successes: npt.ArrayLike,
    control_failures: npt.ArrayLike,
    alpha: float,
) -> tuple[FloatArray, FloatArray]:
    """Low and high of rate - control's rate, elementwise."""
    (s, f), (sc, fc) = _counts(successes, failures), _counts(control_successes, control_failures)
    room = log_threshold(alpha) - _peak(s, f) - _peak(sc, fc)
    return -_largest_difference(sc, fc, s, f, room), _largest_difference(s, f, sc, fc, room)


def ratio_interval(
    successes: npt.ArrayLike,
    failures: npt.ArrayLike,
    control_successes: npt.ArrayLike,
    control_failures: npt.ArrayLike,
    alpha: float,
) -> tuple[FloatArray, FloatArray]:
    """Low and high of rate / control's rate, elementwise; high is infinite where control's rate may be 0."""
    (s, f), (sc, fc) = _counts(successes, failures), _counts(control_successes, control_failures)
    room = log_threshold(alpha) - _peak(s, f) - _peak(sc, fc)
    return 1 / _largest_ratio(sc, fc, s, f, room), _largest_ratio(s, f, sc, fc, room)


def _counts(successes: npt.ArrayLike, failures: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    s, f = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(failures, dtype=np.float64))
    for name, counts in (("successes", s), ("failures", f)):
        if not (np.all(np.isfinite(counts)) and np.all(counts >= 0)):
            raise ArgumentError(name, counts.tolist(), "finite counts of at least 0")
    return s, f


def _rate(s: FloatArray, f: FloatArray) -> FloatArray:
    """p̂ = S / n; 0 without units, where any would do. 1 - p̂ is `_rate(f, s)`, which keeps its digits near 0."""
    return np.divide(s, s + f, out=np.zeros(np.shape(s)), where=s + f > 0)


def _peak(s: FloatArray, f: FloatArray) -> FloatArray:
    """ln E(p̂) ≤ 0: ½ ln(2π S F / n) - ln(n + 1) and Stirling's errors; -ln(n + 1) where S or F is 0."""
    n, mixed = s + f, (s > 0) & (f > 0)
    a, b, c = (np.where(mixed, x, 1.0) for x in (s, f, n))
    peak = 0.5 * np.log(2 * np.pi * a * (b / c)) + stirling_error(a) + stirling_error(b) - stirling_error(c)
    return np.asarray(np.where(mixed, peak, 0.0) - np.log1p(n))


def _divergence(s: FloatArray, f: FloatArray, d: FloatArray) -> FloatArray:
    """n KL(p̂ ‖ p̂ + d) = -S ln(1 + d/p̂) - F ln(1 - d/(1 - p̂)); infinite where p̂ + d makes what was seen impossible."""
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = np.where(s > 0, -s * np.log1p(np.maximum(d / _rate(s, f), -1.0)), 0.0)
        unseen = np.where(f > 0, -f * np.log1p(np.maximum(-d / _rate(f, s), -1.0)), 0.0)
    return np.asarray(np.maximum(seen + unseen, 0.0))


def _rise(s: FloatArray, f: FloatArray, multiplier: FloatArray) -> FloatArray:
    """d ≥ 0 at which n KL(p̂ ‖ p̂ + d) grows by m, the multiplier, per unit of d.

    The positive root of m d² + (n - m (1 - 2 p̂)) d - m p̂ (1 - p̂). Without units it is 1, from p̂ = 0.
    """
    p, q = _rate(s, f), np.where(s + f > 0, _rate(f, s), 1.0)
    b, product = s + f - multiplier * (q - p), 2 * multiplier * p * q
    root = np.sqrt(b * b + 2 * multiplier * product)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(b > 0, product / (b + root), (root - b) / (2 * multiplier))


def _largest_difference(s: FloatArray, f: FloatArray, sc: FloatArray, fc: FloatArray, room: FloatArray) -> FloatArray:
    """Largest a - b with n_k KL(p̂_k ‖ a) + n_c KL(p̂_c ‖ b) < room. To lower b is to raise the rate of control's failures."""

    def rises(log_multiplier: FloatArray) -> tuple[FloatArray, FloatArray]:
        multiplier = np.exp(log_multiplier)
        return _rise(s, f, multiplier), _rise(fc, sc, multiplier)

    def excluded(log_multiplier: FloatArray) -> npt.NDArray[np.bool_]:
        up, down = rises(log_multiplier)
        return np.asarray(_divergence(s, f, up) + _divergence(fc, sc, down) >= room)

    up, down = rises(bisect(np.full(room.shape, log(1e-12)), np.full(room.shape, log(1e40)), excluded))
    return np.minimum(_rate(s, f) + up - (_rate(sc, fc) - down) - np.where(sc + fc > 0, 0.0, 1.0), 1.0)


def _largest_ratio(s: FloatArray, f: FloatArray, sc: FloatArray, fc: FloatArray, room: FloatArray) -> FloatArray:
    """Largest a / b in that set: a = (S_k + m) / (n_k + m), b = (S_c - m) / (n_c - m) for a multiplier m in [0, S_c].

    Without control failures b stays at 1 up to m = S_c, and from there takes what room is left.
    """
    n, nc = s + f, sc + fc

    def steps(m: FloatArray) -> tuple[FloatArray, FloatArray]:
        with np.errstate(divide="ignore", invalid="ignore"):
            up = np.where(n + m > 0, m * np.where(n > 0, _rate(f, s), 1.0) / (n + m), 0.0)
            down = np.where(nc > m, m * _rate(fc, sc) / (nc - m), 0.0)
        return up, np.minimum(down, _rate(sc, fc))

    def excluded(m: FloatArray) -> npt.NDArray[np.bool_]:
        up, down = steps(m)
        return np.asarray(_divergence(s, f, up) + _divergence(sc, fc, -down) >= room)

    up, down = steps(bisect(np.zeros(room.shape), sc, excluded))
    left = np.maximum(room - _divergence(s, f, up), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        b = np.where(fc > 0, _rate(sc, fc) - down, np.exp(-left / sc))
        return np.where((sc > 0) & (b > 0), (_rate(s, f) + up) / b, np.inf)
