"""How far segments differ in which arm is best, and what each of them says once it has borrowed from the others.

Empirical Bayes for normal means with unequal variances (Morris 1983, "Parametric empirical Bayes inference", JASA), about a
centre that is additive in segment and arm. With y_gk the mean of segment g on arm k and v_gk its sampling variance:

    y_gk = a_g + μ_k + δ_gk + noise,   δ_gk ~ N(0, τ²)

The level a_g favours no arm and is integrated out: a segment with high rewards on every arm does not pass for a different one,
and no arm looks better because it was served where rewards are high. μ_k is the arm's worth over all segments. τ² is one number
for all arms, by the method of moments (DerSimonian & Laird 1986; its form for regressions Thompson & Sharp 1999), from
Q = Σ (y - â - μ̂)² / v in the fit by 1/v:

    τ̂² = max(0, (Q - (N - p)) / (tr W - tr[(XᵀWX)⁻ XᵀW²X])),   N cells, p = rank X, W = diag(1/v)

Given τ̂² all is normal. With B_k = v_gk / (v_gk + τ̂²) and w_k = 1 / (v_gk + τ̂²), the arms of segment g have

    mean  (1 - B)(y - â_g) + B μ̂,   â_g = Σ w (y - μ̂) / Σ w
    cov   diag(τ̂² B) + (1 - B)(1 - B)ᵀ / Σ w + M cov(μ̂) Mᵀ,   M = diag(B) + (1 - B) wᵀ / Σ w

so that a segment without units has the experiment's μ̂ with τ̂² more variance, and one with many units its own means.

Assumptions: means are normal (units enough); v is known; each arm's units have one variance in all segments; τ̂² is not doubted,
which with few segments it should be.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from allocator.quadrature import FloatArray

__all__ = ["Pooled", "pool", "quasi_variances"]


APART = 1e-12
"""Variances further apart than that are brought so near: a sd of a millionth of another's is as good as none."""


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """All segments and arms together.

    Parameters
    ----------
    mean, variance : y and v of every cell, shape (segments, arms); 0 and inf where it has no units.
    arm : μ̂, shape (arms,), up to a constant.
    covariance : of μ̂, shape (arms, arms), up to what favours no arm.
    level : â, shape (segments,); 0 where the segment has no units.
    spread : τ̂².
    """

    mean: FloatArray
    variance: FloatArray
    arm: FloatArray
    covariance: FloatArray
    level: FloatArray
    spread: float

    def whole(self) -> tuple[FloatArray, FloatArray]:
        """μ̂ and its quasi-variances, shape (arms,) each."""
        return self.arm, quasi_variances(self.covariance)

    def segment(self, g: int) -> tuple[FloatArray, FloatArray]:
        """Means and quasi-variances of the arms in a segment, shape (arms,) each; means like μ̂, without the segment's level."""
        tau2, known = self.spread, np.isfinite(self.variance[g])
        own = np.zeros(len(self.arm))  # 1 - B
        np.divide(tau2, self.variance[g] + tau2, out=own, where=known)
        if tau2 == 0.0 or not known.any():
            return self.arm, quasi_variances(self.covariance + tau2 * np.eye(len(self.arm)))
        w = np.where(known, 1.0 / (self.variance[g] + tau2), 0.0)
        mean = own * (self.mean[g] - self.level[g]) + (1.0 - own) * self.arm
        moved = np.diag(1.0 - own) + np.outer(own, w / w.sum())
        covariance = np.diag(tau2 * (1.0 - own)) + np.outer(own, own) / w.sum() + moved @ self.covariance @ moved.T
        return mean, quasi_variances(covariance)

    def shrinkage(self, g: int) -> float:
        """B of the segment's arms on average, in [0, 1]: 1 follows the experiment, 0 the segment alone."""
        if self.spread == 0.0:
            return 1.0
        return float(np.mean(1.0 / (1.0 + self.spread / self.variance[g])))


def pool(mean: FloatArray, n: FloatArray, unit_variance: FloatArray) -> Pooled:
    """Fit the model to segment means.

    Parameters
    ----------
    mean : y, shape (segments, arms); any number where there are no units.
    n : units, shape (segments, arms), ≥ 0, not all 0.
    unit_variance : of one unit's value, shape (arms,), > 0.

    An arm's worth has a prior worth one unit, at the middle of all arms, so that an arm without units has one too.
    """
    known = n > 0
    variance = np.full(n.shape, np.inf)
    np.divide(unit_variance, n, out=variance, where=known)
    variance = np.maximum(variance, APART * float(variance[known].max()))
    mean = np.where(known, mean - float(np.average(mean[known], weights=n[known])), 0.0)  # about their middle: nothing cancels
    prior = max(1.0 / float(np.average(unit_variance, weights=n.sum(axis=0))), APART / float(variance.min()))
    spread = _spread(mean, variance, known, prior)
    w = np.where(known, 1.0 / (variance + spread), 0.0)
    arm, covariance, level = _additive(mean, w, prior)
    return Pooled(mean, variance, arm, covariance, level, spread)


def quasi_variances(covariance: FloatArray) -> FloatArray:
    """Variances of independent arms whose differences vary as those of the correlated ones do, shape (arms,), ≥ 0.

    Firth & de Menezes (2004), "Quasi-variances", Biometrika; here by moments, exact for two arms and for arms that were
    independent. Whatever is common to all arms has no part in it. A negative one, which their definition allows, is made 0: too
    much variance, never too little.
    """
    k = len(covariance)
    if k == 1:
        return np.array([covariance[0, 0]])
    rows = covariance.mean(axis=1)
    centred = np.diag(covariance) - 2.0 * rows + float(rows.mean())
    total = float(centred.sum()) / (1.0 - 1.0 / k)
    if k == 2:
        own = np.maximum(np.diag(covariance), 0.0)
        part = own / own.sum() if own.sum() > 0.0 else np.full(2, 0.5)
        return np.asarray(total * part)
    return np.asarray(np.maximum((centred - total / k**2) / (1.0 - 2.0 / k), 0.0))


def _additive(mean: FloatArray, w: FloatArray, prior: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """μ̂, its covariance and â of the fit with weights w, shape (segments, arms); levels are eliminated first."""
    sums = w.sum(axis=1)
    share = np.divide(w, sums[:, None], out=np.zeros_like(w), where=sums[:, None] > 0.0)
    middle = (share * mean).sum(axis=1)
    between = share.T @ w
    np.fill_diagonal(between, 0.0)
    each = between.sum(axis=1) + prior  # w - w²/Σw would cancel
    information = np.diag(each) - between
    information += float(each.mean()) / len(each)  # what is common to all arms has no information of its own, and no meaning
    covariance = np.linalg.inv(information)
    covariance = (covariance + covariance.T) / 2.0
    arm = covariance @ (w * (mean - middle[:, None])).sum(axis=0)
    return arm, covariance, middle - share @ arm


def _spread(mean: FloatArray, variance: FloatArray, known: npt.NDArray[np.bool_], prior: float) -> float:
    """τ̂²; 0 where there is nothing to tell it from."""
    w = np.where(known, 1.0 / variance, 0.0)
    freedom = int(known.sum() - known.any(axis=1).sum() - known.any(axis=0).sum()) + 1
    if freedom <= 0:
        return 0.0
    arm, inverse, level = _additive(mean, w, prior)
    q = float((w * (mean - level[:, None] - arm) ** 2).sum())
    sums = w.sum(axis=1)
    share = np.divide(w, sums[:, None], out=np.zeros_like(w), where=sums[:, None] > 0.0)
    # tr[(XᵀWX)⁻ XᵀW²X] by blocks: X has a column for every segment, then one for every arm.
    squares = w**2
    lost = float(np.divide(squares.sum(axis=1), sums, out=np.zeros_like(sums), where=sums > 0.0).sum())
    lost += float((squares.sum(axis=1) * np.einsum("gk,kl,gl->g", share, inverse, share)).sum())
    lost -= 2.0 * float(((share @ inverse) * squares).sum())
    lost += float((squares.sum(axis=0) * np.diag(inverse)).sum())
    scale = float(w.sum()) - lost
    return max(0.0, (q - freedom) / scale) if scale > 0.0 else 0.0
