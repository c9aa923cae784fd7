"""Intervals and p-values of a split that did not move, looked at once, as most tools print them.

- Binary: two proportions. z test with the pooled variance, Wald interval with each arm's own: near alpha they may disagree a
  little.
- Values and counts: Welch's t test, with the degrees of freedom of Welch (1947) and Satterthwaite (1946).
- Lift: delta method, Var(μ̂_k / μ̂_c) ≈ v_k / μ̂_c² + μ̂_k² v_c / μ̂_c⁴ with v the variance of a mean; normal.

Looking twice at alpha = .05 already errs more than 5 % of the time, looking a hundred times some 40 %; and where the allocation
follows the rewards, sample means are biased. Both are what the anytime methods are for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

from allocator.inference.boundaries import log_threshold
from allocator.inference.estimate import Estimate, Quantity
from allocator.inference.observations import Observations
from allocator.inference.period_sums import PeriodSums
from allocator.inference.statements import FIXED
from allocator.quadrature import FloatArray

__all__ = ["fixed_differences", "fixed_lifts"]


def fixed_differences(observations: Observations, control: str, *, alpha: float = 0.05) -> tuple[Estimate, ...]:
    """μ_arm - μ_control of every other arm; no interval where an arm has fewer than 2 units.

    Raises
    ------
    ArgumentError : an argument is outside its domain, or contradicts the moments.
    """
    log_threshold(alpha)
    c, sums = observations.control(control), _merged(observations)
    n, mean, variance = sums
    of_means = variance / np.maximum(n, 1)
    d, se = mean - mean[c], np.sqrt(of_means + of_means[c])
    if observations.metric.type == "binary":
        pooled = (n * mean + n[c] * mean[c]) / np.maximum(n + n[c], 1)
        null_se = np.sqrt(pooled * (1 - pooled) * (1 / np.maximum(n, 1) + 1 / np.maximum(n[c], 1)))
        p = 2 * scipy.special.ndtr(-np.abs(_ratio(d, null_se)))
        reach = np.full(d.shape, scipy.special.ndtri(1 - alpha / 2))
        method = "two proportions: z test, Wald interval"
    else:
        freedom = _welch_freedom(of_means, n, c)
        p = 2 * scipy.special.stdtr(freedom, -np.abs(_ratio(d, se)))
        reach = scipy.special.stdtrit(freedom, 1 - alpha / 2)
        method = "Welch's t test and interval"
    return _estimates("difference", observations, c, alpha, n, (d, reach * se, p), method, _too_few(n, c))


def fixed_lifts(observations: Observations, control: str, *, alpha: float = 0.05) -> tuple[Estimate, ...]:
    """μ_arm / μ_control - 1 of every other arm; no interval where control's mean is not above 0.

    Raises
    ------
    ArgumentError : as `fixed_differences`.
    """
    log_threshold(alpha)
    c = observations.control(control)
    n, mean, variance = _merged(observations)
    of_means = variance / np.maximum(n, 1)
    refusals = _too_few(n, c)
    if not mean[c] > 0:
        refusals = [refusal or "control's mean is not above 0" for refusal in refusals]
        mean = np.full(mean.shape, np.nan)
    ratio = mean / mean[c]
    se = np.sqrt(of_means + ratio**2 * of_means[c]) / mean[c]
    lift = ratio - 1
    p = 2 * scipy.special.ndtr(-np.abs(_ratio(lift, se)))
    reach = float(scipy.special.ndtri(1 - alpha / 2))
    return _estimates("lift", observations, c, alpha, n, (lift, reach * se, p), "delta method, normal", refusals)


def _merged(observations: Observations) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Units, mean and unbiased variance of each arm, shape (arms,)."""
    sums: PeriodSums = observations.sums()
    n, y, y2 = (x.sum(axis=-2) for x in (sums.n, sums.y, sums.y2))
    mean = np.divide(y, n, out=np.full(n.shape, np.nan), where=n > 0)
    spread = np.maximum(y2 - y * np.nan_to_num(mean), 0.0)
    variance = np.divide(spread, n - 1, out=np.full(n.shape, np.nan), where=n > 1)
    if observations.metric.type == "binary":
        variance *= np.maximum(n - 1, 0) / np.maximum(n, 1)  # p̂ (1 - p̂)
    return n, mean + sums.origin, variance


def _welch_freedom(of_means: FloatArray, n: FloatArray, c: int) -> FloatArray:
    less = np.maximum(n - 1, 1)
    below = of_means**2 / less + of_means[c] ** 2 / less[c]
    return np.asarray(np.divide((of_means + of_means[c]) ** 2, below, out=np.ones(n.shape), where=below > 0))


def _ratio(d: FloatArray, se: FloatArray) -> FloatArray:
    """d / se; 0 where nothing differs and nothing varies."""
    return np.divide(d, se, out=np.where(d == 0, 0.0, np.copysign(np.inf, d)), where=se != 0)


def _too_few(n: FloatArray, c: int) -> list[str]:
    return ["" if min(units, n[c]) >= 2 else "fewer than 2 units in the arm or in control" for units in n.tolist()]


def _estimates(
    quantity: Quantity,
    observations: Observations,
    c: int,
    alpha: float,
    n: FloatArray,
    found: tuple[FloatArray, FloatArray, FloatArray],
    method: str,
    refusals: Sequence[str],
) -> tuple[Estimate, ...]:
    """`found` is the estimate, half the interval's width, and p."""
    results = []
    for k, arm in enumerate(observations.arms):
        if k == c:
            continue
        estimate, radius, p = (float(x[k]) for x in found)
        refused = bool(refusals[k])
        result = Estimate(
            arm=arm,
            quantity=quantity,
            estimate=estimate,
            low=float("-inf") if refused else estimate - radius,
            high=float("inf") if refused else estimate + radius,
            alpha=alpha,
            n=int(n[k] + n[c]),
            method=f"fixed horizon, {method}",
            assumptions=FIXED,
            anytime=False,
            p_value=1.0 if refused else p,
            against=observations.arms[c],
            metric=observations.name,
            refusal=refusals[k],
        )
        results.append(result)
    return tuple(results)
