"""How soon a harmful effect is found when one looks all the time: the power of a guardrail that is valid at any time.

The boundary is the one-sided normal mixture (Robbins 1970; Howard, Ramdas, McAuliffe & Sekhon 2021, Annals of Statistics, where
ρ has the role it has here). For a sum S with variance V, half-normal weight on drifts above 0 makes

    M = 2 √(ρ / (V + ρ)) exp(S² / 2(V + ρ)) Φ(S / √(V + ρ))

a martingale without an effect, so M ever reaches 1/α with probability at most α (Ville), however often one looks. The loss is
found when it does. With N units in all and s² / N the variance of the estimated effect (`power`), S = N · effect / s has V = N.

How probable that is by when, where there is a loss, is computed, not approximated by a formula: S is taken for a Brownian motion
with drift |loss| / s, and the density of those paths that have not crossed is carried from N to `GROWTH` N by quadrature
(Armitage, McPherson & Rowe 1969), where a path between two points stays below a boundary that is straight between them with
probability 1 - exp(-2 gap gap' / ΔV) (Siegmund 1986). So it is looked at all the time; steps of 5 % put the result 0.03 % from
its limit. Looking seldom, such as once a day, finds the loss later by up to about the time between looks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy  # scipy.special loads when first used: the command line starts in half the time

from allocator.inference.baselines import Baseline, check_effect, checked, is_positive
from allocator.inference.boundaries import best_rho, one_sided_normal_bound
from allocator.inference.power import INDEPENDENT, Design, sample_size
from allocator.quadrature import FloatArray

__all__ = ["EarlyDetection", "early_detection"]

GROWTH = 1.05
"""Ratio of the units at one step to those at the step before."""
NODES = 96
REACH_SD = 8.0
"""Paths further below the drift than this are given up; a normal has 1e-15 there."""
STEPS_MAX = 3000


@dataclass(frozen=True, slots=True)
class EarlyDetection:
    """When a guardrail finds a loss.

    Parameters
    ----------
    loss : the effect, signed, in the metric's unit; `lift` relative to the baseline, None where that is 0.
    total : units in all by which the loss is found with probability `power`; `units` an arm, control first. Not rounded.
    mean_total : units in all at which it is found on average; the last thousandth counts as found at the end of `looks`.
    at_end : units in all that a test with one look at the end, on one side, needs for the same power.
    looks : (units in all, probability that the loss is found by then), ascending, up to a probability of at least .999.
    """

    loss: float
    lift: float | None
    units: tuple[float, ...]
    total: float
    mean_total: float
    at_end: float
    power: float
    design: Design
    looks: tuple[tuple[float, float], ...]
    method: str
    assumptions: tuple[str, ...]


def early_detection(
    baseline: Baseline, loss: float, design: Design, *, minimum: float = 100.0, tuned_at: float | None = None
) -> EarlyDetection:
    """Units by which a loss is found with the design's power at its alpha, whenever one looks.

    Parameters
    ----------
    loss : the harmful difference from control, signed, in the metric's unit, not 0. Looked for on that side only, whatever
        ``design.two_sided`` says.
    minimum : units each compared arm has before the first look, finite, > 0: before that the estimate is not normal.
    tuned_at : units in all at which the boundary is tightest, finite, > 0; None: what a single look at the end would need.

    Raises
    ------
    ArgumentError : an argument is outside its domain.
    """
    check_effect("loss", loss, baseline)
    one_sided = Design(design.shares, design.alpha, design.power, two_sided=False, comparisons=design.comparisons)
    fixed = sample_size(baseline, loss, one_sided)
    checked("minimum", minimum, "a finite number of units above 0", is_positive(minimum))
    tuned = fixed.total if tuned_at is None else tuned_at
    checked("tuned_at", tuned_at, "a finite number of units above 0", is_positive(tuned))
    control, arm = design.compared
    drift = abs(loss) / math.sqrt(baseline.variance(baseline.value) / control + baseline.variance(baseline.value + loss) / arm)
    rho = float(best_rho(tuned, one_sided.alpha_each, two_sided=False))
    n, found = _found(minimum / min(control, arm), drift, one_sided.alpha_each, rho, min(max(design.power, 0.999), 1 - 1e-9))
    total = float(np.interp(design.power, found, n)) if found[0] < design.power else float(n[0])
    return EarlyDetection(
        loss=loss,
        lift=fixed.lift,
        units=tuple(share * total for share in design.shares),
        total=total,
        mean_total=_mean(n, found),
        at_end=fixed.total,
        power=design.power,
        design=one_sided,
        looks=tuple(zip(n.tolist(), found.tolist(), strict=True)),
        method="one-sided normal-mixture confidence sequence; when it is crossed by numerical integration",
        assumptions=(
            _validity(one_sided),
            f"The first look is at {minimum:g} units an arm; from there on means are taken for normal with known variance.",
            "The boundary is tightest at "
            + ("what one look at the end needs." if tuned_at is None else f"{tuned:g} units in all."),
            INDEPENDENT,
            *baseline.assumptions,
        ),
    )


def _validity(design: Design) -> str:
    several = f" / {design.divisor} for each comparison (Bonferroni)" if design.divisor > 1 else ""
    return f"Looked at all the time, and valid at any time at {design.alpha:g}{several}."


# -- crossing --------------------------------------------------------------------------------------------------------------------


def _found(first: float, drift: float, alpha: float, rho: float, until: float) -> tuple[FloatArray, FloatArray]:
    """Units from `first` on, `GROWTH` apart, and the probability of having crossed by each; the last one is at least `until`."""
    x, w = np.polynomial.legendre.leggauss(NODES)
    n, bound = [first], float(one_sided_normal_bound(first, alpha, rho))
    s, weight = _nodes(first, drift, bound, x, w)
    mass = weight * _density(s, drift * first, first)
    crossed = [float(scipy.special.ndtr((drift * first - bound) / math.sqrt(first)))]
    while crossed[-1] < until and len(n) < STEPS_MAX:
        step, gap = n[-1] * (GROWTH - 1), bound - s
        n.append(n[-1] + step)
        bound = float(one_sided_normal_bound(n[-1], alpha, rho))
        to, weight = _nodes(n[-1], drift, bound, x, w)
        below = -np.expm1(-2 / step * np.outer(bound - to, gap))
        mass, s = weight * ((_density(to[:, None], s + drift * step, step) * below) @ mass), to
        crossed.append(max(crossed[-1], 1 - float(mass.sum())))
    return np.array(n), np.array(crossed)


def _nodes(n: float, drift: float, bound: float, x: FloatArray, w: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gauss-Legendre from far below the drift up to the boundary, or to far above the drift if that is lower."""
    sd = math.sqrt(n)
    low, high = drift * n - REACH_SD * sd, min(bound, drift * n + REACH_SD * sd)
    half = max(high - low, 0.0) / 2
    return low + half * (x + 1), half * w


def _density(at: FloatArray, mean: FloatArray | float, variance: float) -> FloatArray:
    return np.asarray(np.exp(-((at - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance))


def _mean(n: FloatArray, found: FloatArray) -> float:
    """Units when found on average: the integral of the probability of not having found it yet."""
    missing = 1 - found
    return float(n[0] + np.diff(n) @ (missing[1:] + missing[:-1]) / 2)
