"""Whether an arm is worse than control by more than a guardrail tolerates, tested at every decision and valid at any time.

With μ the arm's mean, μ_c control's, a tolerance of τ (relative) or δ (absolute), and s = +1 where lower is better, else -1, the
arm is worse than tolerated by

    g = s (μ - r μ_c) - δ,   r = 1 + s τ  (where control's mean may be negative: the r of 1 ± τ that says less),

and "g ≤ 0" is tested on that side alone by the one-sided normal mixture of `inference.boundaries`, an asymptotic confidence
sequence (Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024, Annals of Statistics 52(6)) on inverse-propensity pseudo-outcomes.

1. Means are self-normalised: Σ w y / Σ w with w = 1 / propensity (Hájek 1971). Each Σ w (y - μ) is a martingale whatever steers
   the allocation, and what the estimated Σ w adds is of second order. So totals do, whatever their number of periods: a decision
   costs the same on the first day and on the hundredth. Where means drift, all arms' are averages over the same time.
2. An arm and control are compared on the periods in which both had units: not with those before an arm came, or after it went.
3. The variance of Σ w (y - μ) is the larger of what is seen and Σ w² times a value's variance, for the reasons that
   `inference.asymptotic` gives. Its clock is the sum of the arm's and control's, and the mixture is tuned to where even shares
   come to `TUNED_AT` times `min_units` units an arm.
4. No verdict until both are worth `min_units` equally weighted units: (Σ w)² / Σ w² (Kish 1965).

Alpha is of a guardrail: over a whole run, looked at at every decision, the probability that it fires on any arm that is within
its tolerance is at most alpha. It is split evenly over the arms (Bonferroni), and not over guardrails: of five, each has its own.

A unit whose reward is still to come counts with 0, under every arm. As arms are compared over the same time that shrinks means
alike: an absolute difference shows later, a relative one stays. An arm whose rewards come later than control's looks worse
meanwhile. Held-back units are not in the evidence, so they are not used.

`means_of` is the one place that reads a metric from moments. Of a metric made of others (`allocator.metric_tree`) it takes the
value at weighted means, and its variance by the delta method.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.guardrail import Guardrail
from allocator.inference.asymptotic import VARIANCE_UNITS
from allocator.inference.boundaries import best_rho, log_threshold, one_sided_normal_bound, one_sided_normal_log_mixture
from allocator.inference.period_sums import PeriodSums
from allocator.metric_tree import Node, node_of, resolutions_of, samples_of_node
from allocator.moments import WEIGHT_UNIT, Moments, layout_of
from allocator.quadrature import FloatArray

__all__ = ["TUNED_AT", "GuardrailReading", "Means", "Reader", "broken", "guardrail_readings", "means_of"]

TUNED_AT = 20.0
"""Times `min_units`: units an arm at which the test is most powerful."""

MILLIONTH = 1 / WEIGHT_UNIT
METHOD = "one-sided normal-mixture confidence sequence of inverse-propensity weighted means"


@dataclass(frozen=True, slots=True, eq=False)
class Means:
    """Weighted means of some sets of units; arrays of shape (sets,), natural units.

    Parameters
    ----------
    mean, variance : Σ w y / Σ w, and the estimated variance of it.
    weight : Σ w, which estimates the units of all arms in the same time.
    effective : (Σ w)² / Σ w²; 0 without units.
    spread : variance of one unit's value; 0 while nothing is known of it.
    """

    mean: FloatArray
    variance: FloatArray
    weight: FloatArray
    effective: FloatArray
    spread: FloatArray

    @classmethod
    def of(cls, sums: PeriodSums) -> Means:
        """Of sums over any periods, shape (..., sets). A set's spread is its own, or that drawn towards all sets', if larger."""
        n, y, y2, w, w2 = sums.n, sums.y, sums.y2, sums.w, sums.w2
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = sums.wy / w
            spread = _drawn(n, _variance(n, y, y2), _variance(*(x.sum(axis=-1, keepdims=True) for x in (n, y, y2))))
            squares = np.maximum(np.maximum(sums.w2y2 - 2 * mean * sums.w2y + mean * mean * w2, 0.0), w2 * spread)
            return cls(sums.origin + mean, squares / (w * w), w, np.where(w > 0, w * w / w2, 0.0), spread)

    def part(self, places: slice) -> Means:
        """Some of the sets."""
        mean, variance, weight = self.mean[places], self.variance[places], self.weight[places]
        return Means(mean, variance, weight, self.effective[places], self.spread[places])


Reader = Callable[[str, Sequence[Moments]], Means]
"""The means of a metric, by its name, of some sets of units."""


@dataclass(frozen=True, slots=True)
class GuardrailReading:
    """One guardrail and one arm.

    Parameters
    ----------
    metric, arm : which.
    broken : whether the arm is worse than tolerated, at the guardrail's alpha.
    units : the arm's.
    estimate : of its difference from control, in the metric's unit; nan without units.
    bound : the end of the difference's one-sided interval that is nearer to 0, or beyond; nan while there is none.
    allowed : the largest difference tolerated, signed; of a relative tolerance at control's estimated mean.
    control_mean : that one.
    refusal : why there is no verdict yet; empty if there is one.
    method, assumptions : what the verdict rests on.
    """

    metric: str
    arm: str
    broken: bool
    units: int
    estimate: float
    bound: float
    allowed: float
    control_mean: float
    refusal: str
    method: str
    assumptions: tuple[str, ...]


def guardrail_readings(
    experiment: Experiment,
    evidence: Evidence,
    reader: Reader | None = None,
    *,
    among: Collection[tuple[str, str]] | None = None,
    broken_only: bool = False,
) -> tuple[GuardrailReading, ...]:
    """Every guardrail with every arm but control, in the order of the spec.

    Parameters
    ----------
    reader : None for `means_of`.
    among : only these pairs of metric and arm.
    broken_only : only those that are broken, which spares the bounds of all others.
    """
    control, arms = experiment.control, experiment.arm_ids
    if len(arms) < 2:
        return ()
    read, beside = reader or partial(means_of, experiment), _Pairs(evidence, control)
    pairs = {arm: beside.of(arm) for arm in arms if arm != control}
    found: list[GuardrailReading] = []
    for metric, guardrail in experiment.guardrails.items():
        asked = [arm for arm in arms if arm != control and (among is None or (metric, arm) in among)]
        if not asked:
            continue
        rows = [pairs[arm] for arm in asked]
        means = read(metric, [own for own, _ in rows] + [beside for _, beside in rows])
        down = node_of(experiment, metric).metric.direction == "down"
        own, beside_it = means.part(slice(len(asked))), means.part(slice(len(asked), None))
        test = _Test.of(guardrail, own, beside_it, down=down, arms=len(arms))
        shown = np.flatnonzero(test.broken).tolist() if broken_only else range(len(asked))
        found += [test.reading(k, metric, asked[k], rows[k][0].n) for k in shown]
    return tuple(found)


def means_of(experiment: Experiment, metric: str, sets: Sequence[Moments]) -> Means:
    """Of a metric, observed or derived. ArgumentError: the experiment has no such metric."""
    node, resolutions = node_of(experiment, metric), resolutions_of(experiment)
    if node.kind == "leaf" and node.reported is None:
        return _observed(node.column, resolutions[node.column], sets)
    return _derived(node, resolutions, sets)


def _derived(node: Node, resolutions: Sequence[float], sets: Sequence[Moments]) -> Means:
    """The node's value at weighted means. Its variance is that of a unit's linearised value times Σ w² / (Σ w)²: moments have no
    weighted products of two columns. So units' variance must not depend on their propensity.
    """
    layout = layout_of(sets[0].metrics)
    w, ww = np.array([[m.sums[layout.w], m.sums[layout.w2]] for m in sets], dtype=np.float64).T
    wy = np.array([[m.sums[layout.wy + j] * step for j, step in enumerate(resolutions)] for m in sets])
    own, everyone = (
        samples_of_node(node, resolutions, of) for of in (sets, [Moments.total(sets[0].metrics, [m.sums for m in sets])])
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        value, _ = node.at(wy / w[:, None])
        known = np.isfinite(value) & (own.n > 0)
        spread = np.where(known, _drawn(own.n, own.squares / own.n, everyone.squares / everyone.n), 0.0)
        effective = np.where(known, w * w / ww, 0.0)
        return Means(value, spread / effective, w * MILLIONTH, effective, spread)


def _observed(j: int, step: float, sets: Sequence[Moments]) -> Means:
    """Exact about the whole step nearest to the mean of all units, floats from there."""
    layout = layout_of(sets[0].metrics)
    at = (0, 1 + j, layout.square[j], layout.w, layout.w2, layout.wy + j, layout.w2y + j, layout.w2y2 + j)
    rows = [[m.sums[i] for i in at] for m in sets]
    units = sum(row[0] for row in rows)
    o = sum(row[1] for row in rows) // units if units else 0
    shifted = [
        (n, y - o * n, yy - 2 * o * y + o * o * n, w, ww, wy - o * w, wwy - o * ww, wwyy - 2 * o * wwy + o * o * ww)
        for n, y, yy, w, ww, wy, wwy, wwyy in rows
    ]
    units_of = (1.0, step, step**2, MILLIONTH, MILLIONTH**2, MILLIONTH * step, MILLIONTH**2 * step, (MILLIONTH * step) ** 2)
    n, y, yy, w, ww, wy, wwy, wwyy = (np.array(shifted, dtype=np.float64) * units_of).T
    return Means.of(PeriodSums(n, y, yy, w, ww, wy, wwy, wwyy, np.ones(len(sets), dtype=bool), o * step))


def broken(guardrail: Guardrail, arm: Means, control: Means, *, down: bool, arms: int) -> npt.NDArray[np.bool_]:
    """Which of the arms, compared each with its control, are worse than tolerated; shape (sets,).

    Parameters
    ----------
    down : whether lower is better.
    arms : of the experiment, control among them; at least 2.
    """
    return _Test.of(guardrail, arm, control, down=down, arms=arms).broken


def _drawn(n: FloatArray, own: FloatArray, of_all: FloatArray) -> FloatArray:
    """A set's own variance of a value, or that drawn towards all sets', if larger."""
    return np.asarray(np.maximum(own, (n * own + VARIANCE_UNITS * of_all) / (n + VARIANCE_UNITS)))


def _variance(n: FloatArray, y: FloatArray, y2: FloatArray) -> FloatArray:
    most = np.maximum(n, 1.0)
    return np.asarray(np.maximum(y2 - y * y / most, 0.0) / most)


class _Pairs:
    """Of each arm, its units and control's from the periods in which both had some."""

    def __init__(self, evidence: Evidence, control: str) -> None:
        self._control = control
        self._total = dict(zip(evidence.arms, evidence.total, strict=True))
        self._gaps = [
            {arm: row for arm, row in sums.items() if row[0]}
            for sums in evidence.periods.values()
            if 0 in [sums[arm][0] if arm in sums else 0 for arm in evidence.arms]
        ]
        """Periods in which some arm had no units."""

    def of(self, arm: str) -> tuple[Moments, Moments]:
        return self._beside(arm, self._control), self._beside(self._control, arm)

    def _beside(self, arm: str, other: str) -> Moments:
        apart = [served[arm] for served in self._gaps if arm in served and other not in served]
        total = self._total[arm]
        return total - Moments.total(total.metrics, apart) if apart else total


@dataclass(frozen=True, slots=True, eq=False)
class _Test:
    """Of one guardrail; arrays of shape (2, arms), for both r of a relative tolerance, or (arms,). Sums: means times `weight`."""

    guardrail: Guardrail
    alpha: float
    """Of one arm."""
    arm: Means
    control: Means
    sign: int
    weight: FloatArray
    excess: FloatArray
    clock: FloatArray
    rho: FloatArray
    ready: npt.NDArray[np.bool_]
    broken: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, guardrail: Guardrail, arm: Means, control: Means, *, down: bool, arms: int) -> _Test:
        sign, alpha = (1 if down else -1), guardrail.alpha / (arms - 1)
        r = 1.0 + np.array([[sign], [-sign]]) * guardrail.relative
        weight = (arm.weight + control.weight) / 2
        clock = (arm.variance + r * r * control.variance) * weight**2
        ready = (np.minimum(arm.effective, control.effective) >= guardrail.min_units) & (clock[0] > 0)
        excess = np.where(ready, sign * (arm.mean - r * control.mean) - guardrail.absolute, 0.0)
        even = arms * arms * TUNED_AT * guardrail.min_units * (arm.spread + r * r * control.spread)
        rho = best_rho(np.where(ready, even, 1.0), min(alpha, 0.45), two_sided=False)
        clock = np.where(ready, clock, 1.0)
        log_e = one_sided_normal_log_mixture(excess * weight, clock, rho)
        broken = ready & (log_e >= log_threshold(alpha)).all(axis=0)
        return cls(guardrail, alpha, arm, control, sign, weight, excess, clock, rho, ready, broken)

    def reading(self, k: int, metric: str, arm: str, units: int) -> GuardrailReading:
        guardrail, ready = self.guardrail, bool(self.ready[k])
        difference, control_mean = float(self.arm.mean[k] - self.control.mean[k]), float(self.control.mean[k])
        radius = float("nan")
        if ready:
            radii = one_sided_normal_bound(self.clock[:, k], self.alpha, self.rho[:, k]) / self.weight[k]
            radius = float(radii[np.argmin(self.excess[:, k] - radii)])
        effective = min(float(self.arm.effective[k]), float(self.control.effective[k]))
        return GuardrailReading(
            metric=metric,
            arm=arm,
            broken=bool(self.broken[k]),
            units=units,
            estimate=difference,
            bound=difference - self.sign * radius,
            allowed=self.sign * (guardrail.relative * abs(control_mean) + guardrail.absolute),
            control_mean=control_mean,
            refusal="" if ready else _refusal(effective, guardrail.min_units),
            method=METHOD,
            assumptions=(
                f"Looked at all the time, and valid at any time at {guardrail.alpha:g}"
                + (f" / {round(guardrail.alpha / self.alpha)} for each arm." if self.alpha < guardrail.alpha else "."),
                "Values have somewhat more than a variance, and alpha is reached in the limit of many units.",
                "The logged propensities are those that units were assigned with.",
                "Rewards still to come count as 0, and come as late under every arm.",
            ),
        )


def _refusal(effective: float, min_units: int) -> str:
    if effective < min_units:
        return f"worth {effective:.0f} equally weighted units, {min_units} are demanded of the arm and of control"
    return "all values so far are equal, or the metric has no value yet"
