"""Curves that a martingale stays below for ever with probability 1 - alpha, and the e-processes behind them.

Howard, Ramdas, McAuliffe & Sekhon (2021), "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of
Statistics 49(2). Each curve solves mixture(s, v) = ln(1/alpha) for s, where the mixture averages exp(λ s - ψ(λ) v) over a
distribution of λ: a non-negative supermartingale that starts at 1, so that Ville's inequality holds it below 1/alpha for ever.

- normal (Proposition 5), ψ = λ²/2, two-sided, or one-sided with weight on λ > 0 alone (Proposition 6): sub-Gaussian steps; in
  the limit, any with a variance.
- gamma-exponential (Proposition 9), ψ = (-ln(1 - cλ) - cλ) / c², one-sided: steps of at least -c, see `empirical_bernstein`.
- beta-binomial (Proposition 7), two-sided: steps in [-g, h].

s is the sum of the steps, v its intrinsic time (the sum of their variances), rho the intrinsic time at which the mixture is
tuned, up to a factor that `best_rho` knows. Every function is elementwise over arrays that broadcast.
"""

from __future__ import annotations

from math import log, pi, sqrt

import numpy as np
import numpy.typing as npt
import scipy

from allocator.errors import ArgumentError
from allocator.inference.roots import bisect
from allocator.quadrature import FloatArray

__all__ = [
    "bernoulli_interval",
    "best_rho",
    "beta_binomial_bound",
    "beta_binomial_log_mixture",
    "gamma_exponential_bound",
    "gamma_exponential_log_mixture",
    "log_threshold",
    "normal_bound",
    "normal_log_mixture",
    "one_sided_normal_bound",
    "one_sided_normal_log_mixture",
    "stirling_error",
]


def log_threshold(alpha: float) -> float:
    """ln(1/alpha), for alpha in (0, 1). ArgumentError outside."""
    if not 0.0 < alpha < 1.0:
        raise ArgumentError("alpha", alpha, "a probability strictly between 0 and 1")
    return -log(alpha)


def best_rho(v_opt: npt.ArrayLike, alpha: float = 0.05, *, two_sided: bool = True) -> FloatArray:
    """The rho with which a normal mixture is about as narrow as it can be at intrinsic time `v_opt` > 0.

    v_opt / (2 ln(1/alpha) + ln(1 + 2 ln(1/alpha))), the paper's approximation to an exact form with Lambert's W. It serves the
    other mixtures too: near s/v = 0 they look normal. Not `two_sided`: `alpha` is that of a single side, and above .45, where no
    rho is best, counts as .45.
    """
    single = log_threshold(alpha)
    twice = 2 * (single if two_sided else max(single - log(2), -log(0.9)))
    return np.asarray(np.asarray(v_opt, dtype=np.float64) / (twice + np.log1p(twice)))


def normal_log_mixture(s: npt.ArrayLike, v: npt.ArrayLike, rho: npt.ArrayLike) -> FloatArray:
    """ln of the two-sided mixture: ½ ln(rho / (v + rho)) + s² / (2 (v + rho))."""
    s, both = np.asarray(s), np.add(v, rho)
    return np.asarray(0.5 * np.log(rho / both) + s * s / (2 * both))


def normal_bound(v: npt.ArrayLike, alpha: float, rho: npt.ArrayLike) -> FloatArray:
    """|s| stays below this: sqrt((v + rho) ln((v + rho) / (rho alpha²)))."""
    both = np.add(v, rho)
    return np.asarray(np.sqrt(both * (np.log(both / rho) + 2 * log_threshold(alpha))))


def one_sided_normal_log_mixture(s: npt.ArrayLike, v: npt.ArrayLike, rho: npt.ArrayLike) -> FloatArray:
    """ln of the one with half-normal weight on λ > 0: ln 2 + ½ ln(rho / (v + rho)) + y²/2 + ln Φ(y), y = s / √(v + rho)."""
    both = np.add(v, rho)
    y = s / np.sqrt(both)
    return np.asarray(log(2) + 0.5 * np.log(rho / both) + 0.5 * y * y + scipy.special.log_ndtr(y))


def one_sided_normal_bound(v: npt.ArrayLike, alpha: float, rho: npt.ArrayLike) -> FloatArray:
    """Of s: y √(v + rho), with 2 √(rho / (v + rho)) exp(y²/2) Φ(y) = 1/alpha; its weight on λ > 0 is half-normal."""
    both = np.add(v, rho)
    level = log_threshold(alpha) + 0.5 * np.log(both / (4 * np.asarray(rho)))  # of y²/2 + ln Φ(y)
    y = np.sqrt(2 * (level + log(2)))  # Φ(y) ≥ 1/2: not below the root, and Newton comes down on a convex function
    for _ in range(20):
        log_cdf = scipy.special.log_ndtr(y)
        density = np.exp(-0.5 * y * y - log_cdf) / sqrt(2 * pi)
        y = np.maximum(y - (0.5 * y * y + log_cdf - level) / (y + density), 0.0)
    return np.asarray(y * np.sqrt(both))


def gamma_exponential_log_mixture(s: npt.ArrayLike, v: npt.ArrayLike, rho: npt.ArrayLike, c: npt.ArrayLike = 1.0) -> FloatArray:
    """ln of the mixture over λ in [0, 1/c); -inf where s + v + rho ≤ 0, which only steps below -c could reach.

    With a = (v + rho) / c², r = rho / c² and s in units of c, the closed form
    r^r / γ(r, r) · γ(a, a + s) (a + s)^-a e^(s + v/c²), in logarithms and with Stirling's series taken out, so that nothing of
    size v ln v is left to cancel: s - a ln(1 + s/a) + ½ ln(r/a) + δ(a) - δ(r) + ln P(a, a + s) - ln P(r, r).
    """
    c = np.asarray(c, dtype=np.float64)
    s, r = s / c, rho / c**2
    a = v / c**2 + r
    with np.errstate(divide="ignore", invalid="ignore", under="ignore"):
        growth = s - a * np.log1p(s / a) + np.log(scipy.special.gammainc(a, a + s))
    constant = stirling_error(a) - stirling_error(r) - np.log(scipy.special.gammainc(r, r))
    return np.where(a + s > 0, growth + 0.5 * np.log(r / a) + constant, -np.inf)


def gamma_exponential_bound(v: npt.ArrayLike, alpha: float, rho: npt.ArrayLike, c: npt.ArrayLike = 1.0) -> FloatArray:
    """s stays below this."""
    v, rho, c = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (v, rho, c)))
    threshold = log_threshold(alpha)
    most = np.maximum(normal_bound(v, alpha, rho), c)
    while np.any(below := gamma_exponential_log_mixture(most, v, rho, c) < threshold):
        most = np.where(below, 2 * most, most)
    return bisect(np.zeros_like(most), most, lambda s: gamma_exponential_log_mixture(s, v, rho, c) >= threshold)


def beta_binomial_log_mixture(
    s: npt.ArrayLike, v: npt.ArrayLike, rho: npt.ArrayLike, g: npt.ArrayLike, h: npt.ArrayLike
) -> FloatArray:
    """ln of the two-sided mixture for steps in [-g, h]; -inf where s lies outside of [-v/h, v/g].

    s and v amount to `up` steps of h and `down` steps of -g, whose odds under the null are g : h. The mixture is their
    likelihood ratio under a Beta centred on those odds. rho ≤ g h cannot be met: the mixture is then all but flat.
    """
    s, v, rho, g, h = (np.asarray(x, dtype=np.float64) for x in (s, v, rho, g, h))
    span = g + h
    down, up = (v - g * s) / (g * span), (v + h * s) / (h * span)
    r = np.maximum(rho - g * h, 1e-3 * g * h)
    prior = r / (g * span), r / (h * span)
    possible = (down >= 0) & (up >= 0)
    down, up = np.maximum(down, 0.0), np.maximum(up, 0.0)
    ratio = scipy.special.betaln(prior[0] + down, prior[1] + up) - scipy.special.betaln(*prior)
    return np.where(possible, ratio - down * np.log(h / span) - up * np.log(g / span), -np.inf)


def beta_binomial_bound(v: npt.ArrayLike, alpha: float, rho: npt.ArrayLike, g: npt.ArrayLike, h: npt.ArrayLike) -> FloatArray:
    """s stays below this; v/g, which no sum can pass, where the mixture never reaches the threshold."""
    v, rho, g, h = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (v, rho, g, h)))
    threshold = log_threshold(alpha)
    return bisect(np.zeros_like(v), v / g, lambda s: beta_binomial_log_mixture(s, v, rho, g, h) >= threshold)


def bernoulli_interval(
    successes: npt.ArrayLike, n: npt.ArrayLike, alpha: float, n_opt: float, alpha_opt: float = 0.05
) -> tuple[FloatArray, FloatArray]:
    """Anytime interval of a rate, narrowest near `n_opt` units: the rates whose own beta-binomial mixture is below 1/alpha.

    Each rate p has the mixture of g = p, h = 1 - p at intrinsic time n p (1 - p). Good to 1e-6 up to n = 1e9; `bernoulli` has the
    one for every n, with the prior of the posteriors.

    Parameters
    ----------
    successes, n : 0 ≤ successes ≤ n, n ≥ 1, elementwise.
    n_opt : > 0, at which it is tuned.
    """
    s, n = np.broadcast_arrays(np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64))
    if not (np.all(n >= 1) and np.all(s >= 0) and np.all(s <= n)):
        raise ArgumentError("successes", s.tolist(), "between 0 and n, with n at least 1")
    threshold = log_threshold(alpha)

    def excluded(p: FloatArray) -> npt.NDArray[np.bool_]:
        p = np.clip(p, 1e-300, 1 - 1e-16)
        variance = p * (1 - p)
        rho = best_rho(variance * n_opt, alpha_opt)
        return np.asarray(beta_binomial_log_mixture(s - n * p, n * variance, rho, p, 1 - p) >= threshold)

    rate = s / n
    return bisect(rate, np.zeros_like(rate), excluded), bisect(rate, np.ones_like(rate), excluded)


def stirling_error(x: npt.ArrayLike) -> FloatArray:
    """δ(x) = ln Γ(x) - ((x - ½) ln x - x + ½ ln 2π) for x > 0, to 1e-12 of one."""
    x = np.asarray(x, dtype=np.float64)
    small = np.minimum(x, 12.0)
    direct = scipy.special.gammaln(small) - ((small - 0.5) * np.log(small) - small + 0.5 * log(2 * pi))
    z = 1 / np.maximum(x, 12.0)
    series = z * (1 / 12 - z**2 * (1 / 360 - z**2 * (1 / 1260 - z**2 / 1680)))
    return np.asarray(np.where(x < 12.0, direct, series))
