"""P(best) and expected loss once more, plainly: 16 Gauss-Legendre nodes a panel, distribution functions by scipy at every node.

Panels are laid by walking: a step is at most half of an arm's scale near its centre, an eighth of the distance away from it. It
shares nothing with `allocator.quadrature` but the lines on which betas and gammas are integrated, log-odds and logarithms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

__all__ = ["Plain", "betas", "gammas", "normals", "students"]

Floats = npt.NDArray[np.float64]
X16, W16 = np.polynomial.legendre.leggauss(16)
REACH = 40.0
"""Densities are followed down to e⁻⁴⁰ of their modes."""


@dataclass(frozen=True, eq=False)
class Plain:
    """Posteriors on a line; every array but those of `value` has shape (arms,).

    Parameters
    ----------
    centre, scale, low, high : where each lies.
    log_density : positions → up to a constant, shape (arms, positions).
    cdf : positions → shape (arms, positions).
    value : positions → the quantity there.
    """

    centre: Floats
    scale: Floats
    low: Floats
    high: Floats
    log_density: Callable[[Floats], Floats]
    cdf: Callable[[Floats], Floats]
    value: Callable[[Floats], Floats]

    def prob_best(self) -> Floats:
        """P(arm is the largest), shape (arms,)."""
        t, weights = self._nodes(float(self.low.max()))
        cdf = self.cdf(t)
        f = self._density(t, weights, 1.0 - self.cdf(self.low.max(keepdims=True))[:, 0])
        return np.array([(f[k] * np.delete(cdf, k, axis=0).prod(axis=0)) @ weights for k in range(len(f))])

    def expected_loss(self) -> Floats:
        """E[largest] - E[arm], shape (arms,), each by its density."""
        t, weights = self._nodes(float(self.low.min()))
        f, cdf = self._density(t, weights, np.ones(len(self.low))), self.cdf(t)
        of_largest = sum(f[k] * np.delete(cdf, k, axis=0).prod(axis=0) for k in range(len(f)))
        x = self.value(t) * weights
        return np.asarray(of_largest @ x - f @ x)

    def prob_beats(self, control: int) -> Floats:
        """P(arm > control), shape (arms,)."""
        t, weights = self._nodes(float(self.low[control]))
        f = self._density(t, weights, 1.0 - self.cdf(self.low[[control]])[:, 0])[control]
        return np.asarray((1.0 - self.cdf(t)) @ (f * weights))

    def _nodes(self, low: float) -> tuple[Floats, Floats]:
        borders, high = [low], float(self.high.max())
        while borders[-1] < high:
            wanted = np.maximum(self.scale / 2, np.abs(borders[-1] - self.centre) / 8)
            borders.append(min(high, borders[-1] + float(wanted.min())))
        half = np.diff(borders) / 2
        return ((np.array(borders[:-1]) + half)[:, None] + half[:, None] * X16).ravel(), (half[:, None] * W16).ravel()

    def _density(self, t: Floats, weights: Floats, mass: Floats) -> Floats:
        """Scaled to the mass that is on the grid: constants by betaln are off by n ε."""
        log = self.log_density(t)
        f = np.exp(log - log.max(axis=1, keepdims=True))
        return np.asarray(f * (mass / (f @ weights))[:, None])


def betas(a: npt.ArrayLike, b: npt.ArrayLike) -> Plain:
    """Beta(a, b) on the log-odds line."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    core, mode = np.sqrt(2 * REACH * (1 / a + 1 / b)), np.log(a / b)
    origin = float(mode[np.argmax(a + b)])
    near, far = special.expit(origin), special.expit(-origin)

    def log_density(t: Floats) -> Floats:
        d = np.clip(t - origin, -700, 700)  # beyond, the terms are linear
        log_x = -np.log1p(far * np.expm1(-d)) + np.minimum(t - origin + 700, 0)
        log_1_x = -np.log1p(near * np.expm1(d)) - np.maximum(t - origin - 700, 0)
        return np.asarray(a[:, None] * log_x + b[:, None] * log_1_x)

    def cdf(t: Floats) -> Floats:
        x, y = special.expit(t), special.expit(-t)
        return np.where(t < 0, special.betainc(a[:, None], b[:, None], x), special.betaincc(b[:, None], a[:, None], y))

    scale = np.sqrt(1 / (a + 1) + 1 / (b + 1))
    return Plain(
        np.log((a + 1) / (b + 1)), scale, mode - core - REACH / a, mode + core + REACH / b, log_density, cdf, special.expit
    )


def gammas(alpha: npt.ArrayLike, beta: npt.ArrayLike) -> Plain:
    """Gamma(α, β) on the line of logarithms."""
    alpha, beta = np.asarray(alpha, dtype=float), np.asarray(beta, dtype=float)
    mode, core = np.log(alpha / beta), np.sqrt(2 * REACH / alpha)
    return Plain(
        np.log((alpha + 1) / beta),
        1 / np.sqrt(alpha + 1),
        mode - core - REACH / alpha,
        mode + np.log1p(core + REACH / alpha),
        lambda t: alpha[:, None] * (t - mode[:, None] - np.expm1(t - mode[:, None])),
        lambda t: special.gammainc(alpha[:, None], np.exp(t) * beta[:, None]),
        np.exp,
    )


def normals(mean: npt.ArrayLike, sd: npt.ArrayLike) -> Plain:
    """normal(mean, sd²)."""
    mean, sd = np.asarray(mean, dtype=float), np.asarray(sd, dtype=float)

    def z(t: Floats) -> Floats:
        return np.asarray((t - mean[:, None]) / sd[:, None])

    return Plain(mean, sd, mean - 10 * sd, mean + 10 * sd, lambda t: -0.5 * z(t) ** 2, lambda t: special.ndtr(z(t)), np.asarray)


def students(mean: npt.ArrayLike, scale: npt.ArrayLike, dof: npt.ArrayLike) -> Plain:
    """mean + scale · t(dof)."""
    mean, scale, dof = (np.asarray(x, dtype=float) for x in (mean, scale, dof))
    reach = scale * np.sqrt(dof * np.expm1(2 * REACH / dof))

    def z(t: Floats) -> Floats:
        return np.asarray((t - mean[:, None]) / scale[:, None])

    return Plain(
        mean,
        scale * np.sqrt(dof / (dof + 1)),
        mean - reach,
        mean + reach,
        lambda t: -(dof[:, None] + 1) / 2 * np.log1p(z(t) ** 2 / dof[:, None]),
        lambda t: special.stdtr(dof[:, None], z(t)),
        np.asarray,
    )
