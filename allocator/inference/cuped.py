"""Means of arms adjusted for pre-exposure covariates (CUPED), right while the allocation moves.

Deng, Xu, Kohavi & Walker (WSDM 2013) subtract from an arm's mean what a covariate known before exposure explains of it. Pooled
over time this breaks when allocation and mean move together: an arm that got most of its units on a good day looks good, as
Simpson found. So everything here happens within a period t, and inside a period an arm's units count with w = 1/p:

    m_tk = ȳ_tk - θ'(x̄_tk - x̄_t)        ȳ_tk = Σwy / Σw, x̄_tk = Σwx / Σw over the arm, x̄_t over all units of the period
    m_k  = Σ_t (N_t / N) m_tk

which estimates arm k's mean over all units of the periods used, whatever served them. It holds for every θ; the one taken is that
of the regression of y on x within cells (period, arm), pooled over cells, or an arm's own (Lin 2013). With N_t units in a period,
r = y - θ'x and Σ the covariance of x over the period, the pseudo-outcomes θ_k'x + w(r - r̄), w = 0 unless served, give

    Cov(m_tk, m_tl) = [k = l] Σw²(r - r̄)² / (Σw)² + (θ_k'Σθ_l + θ_k'c_l + θ_l'c_k) / N_t        c_k = Cov(x, r) in arm k

Moments hold Σw²y² and Σw²x² but not Σw²xy: the correlation of y and x weighted by w² is taken to be the unweighted one within the
cell, which is exact where weights do not move inside a period. The unadjusted standard error needs no such thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from allocator.errors import ArgumentError
from allocator.moments import Moments, layout_of
from allocator.quadrature import FloatArray

__all__ = ["AdjustedMeans", "Slopes", "adjusted_means"]

Slopes = Literal["common", "by arm"]


@dataclass(frozen=True, slots=True, eq=False)
class AdjustedMeans:
    """Arm means and differences from control, raw and adjusted; arrays have the shape (arms,) unless said otherwise.

    Parameters
    ----------
    mean, se : adjusted mean and its standard error, in the metric's unit; nan if no period could be used.
    difference, difference_se : adjusted mean less control's; 0 for control.
    raw_mean, raw_se, raw_difference, raw_difference_se : the same without covariates, by the same periods and weights.
    reduction : 1 - (difference_se / raw_difference_se)², about ρ² for a covariate of correlation ρ; nan for control.
    coefficients : θ, shape (arms, covariates), metric units per covariate unit.
    balance_z : (x̄_tk - x̄_t) over all periods in standard errors, shape (arms, covariates). Far beyond ±4: the covariate is not
        pre-exposure, or units of an arm are lost; do not use the adjustment.
    units, units_used, periods_used : periods in which some arm has fewer than two units cannot be used.
    """

    arms: tuple[str, ...]
    control: str
    mean: FloatArray
    se: FloatArray
    difference: FloatArray
    difference_se: FloatArray
    raw_mean: FloatArray
    raw_se: FloatArray
    raw_difference: FloatArray
    raw_difference_se: FloatArray
    reduction: FloatArray
    coefficients: FloatArray
    balance_z: FloatArray
    units: int
    units_used: int
    periods_used: int
    method: str
    assumptions: tuple[str, ...]


def adjusted_means(
    arms: Sequence[str],
    control: str,
    periods: Sequence[Sequence[Moments]],
    metric: int,
    covariates: Sequence[int],
    resolutions: Sequence[float] | None = None,
    slopes: Slopes = "common",
) -> AdjustedMeans:
    """Adjusted means of one metric.

    Parameters
    ----------
    arms, control : names; control is one of them. All arms that got units must be here: x̄_t is over all units.
    periods : in time order, each with one Moments an arm, without units held back.
    metric, covariates : places in the metric vector; covariates may be none, which gives the raw means.
    resolutions : one a metric of the vector, natural units per step; default 1.
    slopes : "common" for one θ, which few units suffice for; "by arm" where arms may depend on x differently and all have many.

    Raises
    ------
    ArgumentError : an argument outside its domain.
    """
    _check(arms, control, periods, metric, covariates, slopes)
    places = [metric, *covariates]
    scale = np.array([1.0 if resolutions is None else resolutions[j] for j in places])
    used = [row for row in periods if all(m.n >= 2 for m in row)]
    cells = _Cells.of(used, places, scale, len(arms))
    theta = _slopes(cells, slopes)
    raw, raw_cov = _means(cells, np.zeros_like(theta), slopes)
    mean, cov = _means(cells, theta, slopes)
    base = list(arms).index(control)
    raw_difference_se, difference_se = _difference_se(raw_cov, base), _difference_se(cov, base)
    with np.errstate(divide="ignore", invalid="ignore"):
        reduction = 1 - (difference_se / raw_difference_se) ** 2
    return AdjustedMeans(
        arms=tuple(arms),
        control=control,
        mean=mean,
        se=np.sqrt(np.maximum(np.diag(cov), 0.0)),
        difference=mean - mean[base],
        difference_se=difference_se,
        raw_mean=raw,
        raw_se=np.sqrt(np.diag(raw_cov)),
        raw_difference=raw - raw[base],
        raw_difference_se=raw_difference_se,
        reduction=reduction,
        coefficients=theta,
        balance_z=_balance(cells),
        units=sum(m.n for row in periods for m in row),
        units_used=sum(m.n for row in used for m in row),
        periods_used=len(used),
        method=f"CUPED within periods, inverse-propensity weighted, {slopes} slopes",
        assumptions=(
            "Covariates were known before exposure: no arm can have changed them.",
            "Logged propensities are right, and every arm had a share above 0 for every unit of a period used.",
            "Standard errors are for one look at a time fixed beforehand, and for many units an arm.",
            "Within a period and arm, weights by 1/p² leave the correlation of metric and covariates as it is.",
            "Means are over the units of the periods used, a period counting by its units.",
        ),
    )


def _check(
    arms: Sequence[str],
    control: str,
    periods: Sequence[Sequence[Moments]],
    metric: int,
    covariates: Sequence[int],
    slopes: str,
) -> None:
    if control not in arms:
        raise ArgumentError("control", control, f"one of {tuple(arms)}")
    if any(len(row) != len(arms) for row in periods):
        raise ArgumentError("periods", [len(row) for row in periods], f"one Moments for each of {len(arms)} arms in every period")
    metrics = min((m.metrics for row in periods for m in row), default=max([metric, *covariates]) + 1)
    if not 0 <= metric < metrics:
        raise ArgumentError("metric", metric, f"a place in a vector of {metrics} metrics")
    places = set(covariates)
    if len(places) != len(covariates) or metric in places or not places <= set(range(metrics)):
        raise ArgumentError(
            "covariates", tuple(covariates), f"places in a vector of {metrics} metrics, none twice, not the metric"
        )
    if slopes not in {"common", "by arm"}:
        raise ArgumentError("slopes", slopes, '"common" or "by arm"')


@dataclass(frozen=True, slots=True)
class _Cells:
    """Sums of every (period, arm), with z = (y, x); T periods, K arms, d = 1 + covariates, natural units."""

    n: FloatArray
    """Units, (T, K)."""
    mean: FloatArray
    """Σwz / Σw, (T, K, d)."""
    spread: FloatArray
    """Covariance of that mean, (T, K, d, d)."""
    covariance: FloatArray
    """Unweighted covariance of z, (T, K, d, d)."""
    centre: FloatArray
    """Unweighted mean over all units of a period, (T, d)."""
    population: FloatArray
    """Unweighted covariance over all units of a period, (T, d, d)."""

    @classmethod
    def of(cls, periods: Sequence[Sequence[Moments]], places: Sequence[int], scale: FloatArray, arms: int) -> _Cells:
        t, d = len(periods), len(places)
        totals = [sum(row[1:], row[0]) for row in periods]
        square = np.outer(scale, scale)
        return cls(
            n=np.array([[m.n for m in row] for row in periods], dtype=np.float64).reshape(t, arms),
            mean=np.array([[_weighted_mean(m, places) for m in row] for row in periods]).reshape(t, arms, d) * scale,
            spread=np.array([[_spread(m, places) for m in row] for row in periods]).reshape(t, arms, d, d) * square,
            covariance=np.array([[_covariance(m, places) for m in row] for row in periods]).reshape(t, arms, d, d) * square,
            centre=np.array([[m.mean(j) for j in places] for m in totals]).reshape(t, d) * scale,
            population=np.array([_covariance(m, places) for m in totals]).reshape(t, d, d) * square,
        )


def _weighted_mean(m: Moments, places: Sequence[int]) -> list[float]:
    layout = layout_of(m.metrics)
    return [m.sums[layout.wy + j] / m.sums[layout.w] for j in places]


def _covariance(m: Moments, places: Sequence[int]) -> FloatArray:
    """Unbiased, in steps, shape (d, d); differences are taken in integers, so nothing cancels."""
    cross, n = layout_of(m.metrics).cross, m.n
    exact = [[(n * m.sums[cross[j][k]] - m.sum(j) * m.sum(k)) / (n * (n - 1)) for k in places] for j in places]
    return np.array(exact)


def _spread(m: Moments, places: Sequence[int]) -> FloatArray:
    """n / (n - 1) Σw²(z - z̄)(z - z̄)' / (Σw)², shape (d, d): exact on the diagonal, beside it with the unweighted correlation."""
    layout, sums = layout_of(m.metrics), m.sums
    w, w2 = sums[layout.w], sums[layout.w2]
    variance = np.empty(len(places))
    for i, j in enumerate(places):
        wz, w2z, w2z2 = sums[layout.wy + j], sums[layout.w2y + j], sums[layout.w2y2 + j]
        variance[i] = (w2z2 * w * w - 2 * wz * w2z * w + wz * wz * w2) * m.n / (w**4 * (m.n - 1))
    plain = _covariance(m, places)
    sd = np.sqrt(np.diag(plain))
    ratio = np.divide(np.sqrt(variance), sd, out=np.zeros(len(places)), where=sd > 0)
    spread = plain * np.outer(ratio, ratio)
    np.fill_diagonal(spread, variance)
    return np.asarray(spread)


def _slopes(cells: _Cells, slopes: Slopes) -> FloatArray:
    """θ, shape (arms, covariates), by regression within cells; 0 along directions in which covariates do not vary."""
    within = (np.maximum(cells.n - 1, 0)[..., None, None] * cells.covariance).sum(axis=0)
    if slopes == "common":
        within = np.broadcast_to(within.sum(axis=0), within.shape)
    theta = np.zeros((within.shape[0], within.shape[1] - 1))
    for k, s in enumerate(within):
        sd = np.sqrt(np.diag(s))[1:]
        unit = np.divide(1.0, sd, out=np.zeros_like(sd), where=sd > 0)
        correlation, of_y = s[1:, 1:] * np.outer(unit, unit), s[1:, 0] * unit
        theta[k] = np.linalg.pinv(correlation, rcond=1e-10, hermitian=True) @ of_y * unit
    return theta


def _means(cells: _Cells, theta: FloatArray, slopes: Slopes) -> tuple[FloatArray, FloatArray]:
    """m_k, shape (arms,), and their covariance, shape (arms, arms); nan without a period."""
    periods, arms = cells.n.shape
    if periods == 0:
        return np.full(arms, np.nan), np.full((arms, arms), np.nan)
    total = cells.n.sum(axis=1)
    share = total / total.sum()
    gap = cells.mean[:, :, 1:] - cells.centre[:, None, 1:]
    mean = share @ (cells.mean[:, :, 0] - np.einsum("tkj,kj->tk", gap, theta))
    of_r = np.concatenate([np.ones((arms, 1)), -theta], axis=1)
    residual = np.einsum("kd,tkde,ke->tk", of_r, cells.spread, of_r)
    c = np.einsum("tkje,ke->tkj", cells.covariance[:, :, 1:, :], of_r)
    shared = np.einsum("kj,tjh,lh->tkl", theta, cells.population[:, 1:, 1:], theta)
    cross = np.einsum("kj,tlj->tkl", theta, c)
    common = (shared + cross + cross.transpose(0, 2, 1)) / total[:, None, None]
    covariance = np.einsum("t,tkl->kl", share**2, common)
    free = (cells.n - 1).sum(axis=0)
    free = np.full(arms, free.sum()) if slopes == "common" else free
    too_small = free / np.maximum(free - np.count_nonzero(theta, axis=1), 1.0)  # θ was fitted to the same units
    return mean, covariance + np.diag(share**2 @ residual * too_small)


def _difference_se(covariance: FloatArray, base: int) -> FloatArray:
    variance = np.diag(covariance) + covariance[base, base] - 2 * covariance[base]
    variance[base] = 0.0
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)))


def _balance(cells: _Cells) -> FloatArray:
    """z of every arm's and covariate's distance from the period's mean, shape (arms, covariates); 0 where nothing varies."""
    total = cells.n.sum(axis=1)[:, None, None]
    share = total / max(total.sum(), 1.0)
    gap = (share * (cells.mean - cells.centre[:, None, :])).sum(axis=0)[:, 1:]
    own = np.einsum("tkdd->tkd", cells.spread) - np.einsum("tdd->td", cells.population)[:, None, :] / total
    variance = (share**2 * np.maximum(own, 0.0)).sum(axis=0)[:, 1:]
    return np.asarray(np.divide(gap, np.sqrt(variance), out=np.zeros_like(gap), where=variance > 0))
