"""The probability that each arm is the best one, by cumulative panel quadrature.

p_k = ∫ f_k ∏_{j≠k} F_j over the line, for independent posteriors with densities f and distribution functions F.

1. Prune arms that cannot win: their upper reach lies below another arm's lower reach. They get an upper bound of their
   probability instead, never zero, so that a propensity can never be undefined.
2. Lay panels around every contender, finer where it has mass, between the highest lower reach and the highest upper one.
3. Evaluate each density once, on Gauss-Legendre nodes in every panel. An integration matrix turns the same values into the
   running integral inside a panel: F at a node is the mass of earlier panels plus that. No F is evaluated on the grid.
4. Scale each density to the mass its posterior has on the grid, which makes constants of normalisation unnecessary.
5. Integrate f_k times the product of the other F, by prefix and suffix products.

A uniform grid misses narrow posteriors, Monte Carlo gives exact zeros. Betas are integrated on the log-odds scale, where
the density is smooth for every a, b > 0 and close to normal for large ones. Only that step differs between families.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy  # scipy.special loads when first used: the command line starts in half the time
from numpy.polynomial import legendre

from allocator.errors import ArgumentError

__all__ = ["FloatArray", "prob_best_beta", "prob_best_normal"]

FloatArray = npt.NDArray[np.float64]

NODES = 8
REACH_SD = 9.0
"""A normal has 1e-19 of its mass beyond; grids reach that far from the mean."""
REACH_RATE = 32.0
"""An exponential tail has e⁻³² = 1e-14 of its mass beyond this many of its scales."""
PRUNE = 0.8
"""Share of the reach at which an arm is given up: 7.2 sd, where a tail has at most `PRUNED_MAX` / 2."""
PRUNED_MAX = 2e-11
THINNEST = 0.25
"""Panel borders are rounded to this fraction of the narrowest posterior's sd: many alike arms share panels."""
P_MIN = 1e-300

_OFFSETS = np.array([-31.0, -24.0, -18.0, -13.0, -9.0, -7.0, -5.0, -4.0, -3.0, -2.0, -1.0])
_OFFSETS = np.concatenate([_OFFSETS, [0.0], -_OFFSETS[::-1]])


def _rule(nodes: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Gauss-Legendre on [0, 1]: nodes, weights, and the (nodes, nodes) matrix from values to running integrals at the nodes."""
    x, w = legendre.leggauss(nodes)
    basis = np.array([legendre.legval(x, row) for row in np.eye(nodes)])
    integral = np.array([legendre.legval(x, legendre.legint(row, lbnd=-1)) for row in np.eye(nodes)])
    norm = (2 * np.arange(nodes) + 1) / 2
    running = integral.T @ (norm[:, None] * basis * w)
    return (x + 1) / 2, w / 2, running / 2


_X, _W, _RUNNING = _rule(NODES)


@dataclass(frozen=True, slots=True)
class _Shape:
    """Where each arm's posterior lies on the line of integration; every array has shape (arms,)."""

    centre: FloatArray
    sd: FloatArray
    low: FloatArray
    """Lower reach, in sd below the centre; practically no mass lies beyond."""
    high: FloatArray

    def of(self, arms: npt.NDArray[Any]) -> _Shape:
        """The same for some of the arms."""
        return _Shape(self.centre[arms], self.sd[arms], self.low[arms], self.high[arms])


def prob_best_normal(mean: npt.ArrayLike, sd: npt.ArrayLike) -> FloatArray:
    """P(arm has the largest mean) for independent normals.

    Parameters
    ----------
    mean, sd : shape (arms,), finite, sd ≥ 0, any one unit. Arms with sd 0 are points; equal points share evenly.

    Returns
    -------
    Shape (arms,), every entry > 0, sum 1 within 5e-9.

    Raises
    ------
    ArgumentError : shapes differ, or a value is outside its domain.
    """
    m, s = _vectors("mean", mean, "sd", sd)
    if not np.all(np.isfinite(m)):
        raise ArgumentError("mean", m.tolist(), "finite numbers")
    if not (np.all(np.isfinite(s)) and np.all(s >= 0)):
        raise ArgumentError("sd", s.tolist(), "finite numbers of at least 0")
    scale = max(float(np.ptp(m)), float(s.max())) or 1.0
    m, s = (m - m.max()) / scale, np.maximum(s / scale, 1e-9)
    reach = np.full(len(m), REACH_SD)
    shape = _Shape(m, s, reach, reach)

    def bound(k: npt.NDArray[Any], best: int) -> FloatArray:
        return np.asarray(scipy.special.ndtr((m[k] - m[best]) / np.hypot(s[k], s[best])))

    def log_density(k: npt.NDArray[Any], origin: float, at: FloatArray) -> FloatArray:
        z = (at - (m[k, None] - origin)) / s[k, None]
        return np.asarray(-0.5 * z * z)

    def beyond(k: npt.NDArray[Any], x: float) -> FloatArray:
        return np.asarray(scipy.special.ndtr((m[k] - x) / s[k]))

    return _prob_best(shape, bound, log_density, beyond)


def prob_best_beta(a: npt.ArrayLike, b: npt.ArrayLike) -> FloatArray:
    """P(arm has the largest rate) for independent Beta(a, b) posteriors.

    Parameters
    ----------
    a, b : shape (arms,), finite and > 0: one plus successes and one plus failures under a uniform prior.

    Returns
    -------
    Shape (arms,), every entry > 0, sum 1 within 5e-9. Error at most 1e-9 for a, b ≥ ½; it grows to 1e-4 at 0.1.

    Raises
    ------
    ArgumentError : shapes differ, or a value is outside its domain.
    """
    a, b = _vectors("a", a, "b", b)
    for name, value in (("a", a), ("b", b)):
        if not (np.all(np.isfinite(value)) and np.all(value > 0)):
            raise ArgumentError(name, value.tolist(), "finite numbers above 0")
    # Log-odds of a Beta: density ∝ x^a (1-x)^b, mean ψ(a) - ψ(b), variance ψ'(a) + ψ'(b), tails e^(aλ) and e^(-bλ).
    sd = np.sqrt(scipy.special.zeta(2.0, a) + scipy.special.zeta(2.0, b))
    low, high = np.maximum(REACH_SD, REACH_RATE / (a * sd)), np.maximum(REACH_SD, REACH_RATE / (b * sd))
    shape = _Shape(np.asarray(scipy.special.psi(a) - scipy.special.psi(b)), sd, low, high)

    def bound(k: npt.NDArray[Any], best: int) -> FloatArray:
        # Chernoff on the difference of log-odds: P(X > Y) ≤ E (X / (1-X))^t E ((1-Y) / Y)^t for every t in (0, min(b_X, a_Y)).
        # This t is the best one for normals.
        t = (shape.centre[best] - shape.centre[k]) / (sd[k] ** 2 + sd[best] ** 2)
        t = np.minimum(t, 0.9 * np.minimum(b[k], a[best]))
        gammaln = scipy.special.gammaln
        log = gammaln(a[k] + t) - gammaln(a[k]) + gammaln(b[k] - t) - gammaln(b[k])
        log += gammaln(a[best] - t) - gammaln(a[best]) + gammaln(b[best] + t) - gammaln(b[best])
        return np.asarray(np.exp(np.minimum(log, 0.0)))

    def log_density(k: npt.NDArray[Any], origin: float, at: FloatArray) -> FloatArray:
        log_x, log_1_x = _log_odds_terms(origin, at)
        return np.asarray(a[k, None] * log_x + b[k, None] * log_1_x)

    def beyond(k: npt.NDArray[Any], x: float) -> FloatArray:
        return _beta_beyond(a[k], b[k], np.asarray(x))

    return _prob_best(shape, bound, log_density, beyond)


def _vectors(name_a: str, a: npt.ArrayLike, name_b: str, b: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 1 or not len(a):
        raise ArgumentError(name_a, a.shape, "shape (arms,) with at least one arm")
    if a.shape != b.shape:
        raise ArgumentError(name_b, b.shape, f"the shape of {name_a}, {a.shape}")
    return a, b


def _beta_beyond(a: FloatArray, b: FloatArray, log_odds: FloatArray) -> FloatArray:
    """P(Beta(a, b) has log-odds above), without cancellation near 0 or 1."""
    near_zero = scipy.special.betaincc(a, b, scipy.special.expit(np.minimum(log_odds, 0.0)))
    near_one = scipy.special.betainc(b, a, scipy.special.expit(-np.maximum(log_odds, 0.0)))
    return np.asarray(np.where(log_odds < 0, near_zero, near_one))


def _log_odds_terms(origin: float, at: FloatArray) -> tuple[FloatArray, FloatArray]:
    """log x and log(1-x) at log-odds `origin` + `at`, relative to their values at `origin`.

    The relative form keeps n log x exact to about √n ε where plain logarithms would leave n ε: 1e-4 at n = 1e12.
    """
    most = 700.0  # e^700 is still finite; beyond it the terms are linear
    x, rest, near = float(scipy.special.expit(origin)), float(scipy.special.expit(-origin)), np.clip(at, -most, most)
    log_x = np.minimum(at + most, 0.0) - _log_mix(rest, x, -near)
    log_1_x = -np.maximum(at - most, 0.0) - _log_mix(x, rest, near)
    return log_x, log_1_x


def _log_mix(x: float, rest: float, d: FloatArray) -> FloatArray:
    """log(rest + x e^d) for x + rest = 1, exact to rounding for small x as for small rest."""
    if x <= 0.5:
        return np.asarray(np.log1p(x * np.expm1(d)))
    near = d > -1.0
    return np.where(near, np.log1p(x * np.expm1(np.where(near, d, 0.0))), np.log(rest + x * np.exp(d)))


def _prob_best(
    shape: _Shape,
    bound: Callable[[npt.NDArray[Any], int], FloatArray],
    log_density: Callable[[npt.NDArray[Any], float, FloatArray], FloatArray],
    beyond: Callable[[npt.NDArray[Any], float], FloatArray],
) -> FloatArray:
    """Steps 1 to 5 of the module's docstring, for any family.

    Parameters
    ----------
    bound : (arms, best arm) -> upper bound of P(those arms beat the best arm).
    log_density : (arms, origin, x) -> log-density at origin + x up to a constant an arm, shape (len(arms), len(x)).
    beyond : (arms, x) -> P(posterior > x).
    """
    lower = shape.centre - PRUNE * shape.low * shape.sd
    best = int(np.argmax(lower))
    contends = shape.centre + PRUNE * shape.high * shape.sd >= lower[best]
    arms, pruned = np.flatnonzero(contends), np.flatnonzero(~contends)
    p = np.empty(len(contends))
    if len(pruned):
        p[pruned] = np.minimum(bound(pruned, best), PRUNED_MAX)
    if len(arms) == 1:
        p[arms] = 1.0
    else:
        p[arms] = _contenders(shape.of(arms), arms, log_density, beyond)
    return np.maximum(p, P_MIN)


def _contenders(
    shape: _Shape,
    arms: npt.NDArray[Any],
    log_density: Callable[[npt.NDArray[Any], float, FloatArray], FloatArray],
    beyond: Callable[[npt.NDArray[Any], float], FloatArray],
) -> FloatArray:
    """Steps 2 to 5, for arms that can win."""
    origin = float(shape.centre[np.argmin(shape.sd)])  # positions near the narrowest posterior keep their digits
    borders = _borders(shape, origin)
    width = np.diff(borders)
    at = (borders[:-1, None] + width[:, None] * _X).ravel()
    values = log_density(arms, origin, at)
    values = np.exp(values - values.max(axis=1, keepdims=True)).reshape(len(arms), len(width), NODES)
    masses = (values @ _W) * width
    earlier = np.cumsum(masses, axis=1)
    on_grid = beyond(arms, origin + float(borders[0]))
    scale = on_grid / earlier[:, -1]
    inside = (values @ _RUNNING.T) * width[:, None]
    inside[:, 1:] += earlier[:, :-1, None]
    below = (inside * scale[:, None, None] + (1.0 - on_grid)[:, None, None]).reshape(len(arms), -1)
    density = (values * (width[:, None] * _W)).reshape(len(arms), -1)
    return np.asarray(np.einsum("kn,kn->k", density, _products_without_each(below)) * scale)


def _borders(shape: _Shape, origin: float) -> FloatArray:
    """Borders of the panels, relative to `origin`, ascending."""
    centre = shape.centre - origin
    low, high = float(np.max(centre - shape.low * shape.sd)), float(np.max(centre + shape.high * shape.sd))
    every = (centre[:, None] + shape.sd[:, None] * _OFFSETS).ravel()
    step = THINNEST * float(shape.sd.min())
    inner = np.unique(np.rint(every[(every > low + step) & (every < high - step)] / step)) * step
    return np.concatenate([[low], inner, [high]])


def _products_without_each(rows: FloatArray) -> FloatArray:
    """For every row the product of all the others, shape (arms, nodes)."""
    out = np.ones_like(rows)
    np.cumprod(rows[:-1], axis=0, out=out[1:])
    suffix = np.ones(rows.shape[1])
    for k in range(len(rows) - 2, -1, -1):
        suffix = suffix * rows[k + 1]
        out[k] *= suffix
    return out
