"""What allocating is worth: units as they were allocated against those held back on control, in the long run.

A unit is held back by a hash that knows nothing of it, so in every period the units held back are a random sample of all, and so
are the others. In period t, with N_t units of which n_t are allocated and h_t held back, the mean of all units had they been
allocated is estimated by the mean of the n_t, had they been held back by that of the h_t, and

    effect = Σ_t N_t (ȳ_t - x̄_t) / Σ_t N_t,    gain = effect · Σ_t n_t.

That is the difference of AIPW outcomes (`allocator.inference.pseudo_outcomes`) with 1 / propensity = N_t / n_t and N_t / h_t: the
shares as they came out in the period, post-stratified by it (Holt & Smith 1979, JRSS A 142(1)), so that neither another holdback
nor a mean that drifts gets in between. The interval is the asymptotic confidence sequence of these outcomes. Propensities of arms
do not come into it: as allocated is as allocated, whatever moved the shares, up to and after a promotion.

Moments of the holdback train nothing: they are not in `allocator.evidence.Evidence`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import sqrt

from allocator.errors import ArgumentError
from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.inference import Estimate, Observations, differences
from allocator.inference.statements import DRIFT, FINAL, LIMIT
from allocator.moments import WEIGHT_UNIT, Moments, layout_of

__all__ = ["ALLOCATED", "HELD_BACK", "Cohorts", "HoldbackEffect", "PeriodEffect", "holdback_effect"]

ALLOCATED, HELD_BACK = "as allocated", "held back"
METHOD = "asymptotic confidence sequence of the difference by period, weighted by the period's units"
ASSUMPTIONS = (
    "units are held back by a hash that knows nothing of them, and their share is steady within a period",
    "what is allocated to others does not reach the units held back",
    "a unit counts by its first exposure, with its rewards within the window",
    LIMIT,
    DRIFT,
    FINAL,
)
OF_GAIN = "the units allocated gain on average what all units would"


@dataclass(frozen=True, slots=True)
class Cohorts:
    """Moments by period of exposure (its number, exposure time // period): all units that were allocated, all held back."""

    allocated: Mapping[int, Moments]
    held_back: Mapping[int, Moments]

    @property
    def units(self) -> tuple[int, int]:
        """Allocated, held back."""
        return sum(m.n for m in self.allocated.values()), sum(m.n for m in self.held_back.values())


@dataclass(frozen=True, slots=True)
class PeriodEffect:
    """One period by itself; `se` is the standard error of its effect, nan with fewer than two units on either side."""

    start: float
    """Seconds since the epoch."""
    allocated: int
    held_back: int
    effect: float
    se: float


@dataclass(frozen=True, slots=True)
class HoldbackEffect:
    """One metric, in its natural unit.

    Parameters
    ----------
    effect : the difference of a unit as allocated from one held back, with an interval valid at any time.
    allocated, held_back : units that it rests on, of periods whose rewards are all in and which had some of both.
    gain, gain_low, gain_high : the effect times the units allocated, what allocating has made of the metric's sum so far.
    gain_assumptions : besides those of the effect.
    periods : the same period by period, in order of time.
    """

    effect: Estimate
    allocated: int
    held_back: int
    gain: float
    gain_low: float
    gain_high: float
    gain_assumptions: tuple[str, ...]
    periods: tuple[PeriodEffect, ...]


def holdback_effect(experiment: Experiment, metric: str, cohorts: Cohorts, now: float, *, alpha: float = 0.05) -> HoldbackEffect:
    """The long-run effect of allocating on one metric, and what it has gained.

    Parameters
    ----------
    metric : an observed one that every unit counts in.
    cohorts : laid out as ``experiment.columns``.
    now : seconds since the epoch. A period counts once its last unit's window, and the grace for late events, are over.
    alpha : probability that the interval ever misses the effect.

    Raises
    ------
    ArgumentError : there is no such metric, it is made of others or leaves units out, or `alpha` is not in (0, 1).
    """
    both = sorted(p for p, m in cohorts.held_back.items() if m.n and p in cohorts.allocated and cohorts.allocated[p].n)
    pairs = {p: (cohorts.allocated[p], cohorts.held_back[p]) for p in both}
    evidence = Evidence(
        (ALLOCATED, HELD_BACK),
        len(experiment.columns),
        {},
        {p: {ALLOCATED: _weighted(a, a.n + h.n), HELD_BACK: _weighted(h, a.n + h.n)} for p, (a, h) in pairs.items()},
    )
    observations = Observations.of(experiment, metric, evidence, now)
    if observations.node is not None:
        raise ArgumentError("metric", metric, "an observed metric whose missing units count as zero")
    counted = both[: len(observations.periods)]  # those over by now come first
    [found] = differences(observations, HELD_BACK, alpha=alpha, method="asymptotic")
    if not counted:
        found = replace(found, refusal="no period with units held back has all its rewards in")
    effect = replace(found, method=METHOD, assumptions=ASSUMPTIONS)
    allocated, held_back = (sum(pairs[p][side].n for p in counted) for side in (0, 1))
    j, resolution = observations.j, observations.resolution
    return HoldbackEffect(
        effect=effect,
        allocated=allocated,
        held_back=held_back,
        gain=effect.estimate * allocated,
        gain_low=effect.low * allocated if allocated else effect.low,
        gain_high=effect.high * allocated if allocated else effect.high,
        gain_assumptions=(OF_GAIN,),
        periods=tuple(_period(p * experiment.period_s, *pairs[p], j, resolution) for p in counted),
    )


def _weighted(cohort: Moments, units: int) -> tuple[int, ...]:
    """The cohort's sums as if each of its n units had come with probability n / units."""
    layout, sums, n, total = layout_of(cohort.metrics), list(cohort.sums), cohort.n, WEIGHT_UNIT * units
    sums[layout.w], sums[layout.w2] = total, -(-total * total // n)  # upwards: below w² / n it would be no sum of squares
    for s, square, wy, w2y, w2y2, _ in layout.of_metric:
        sums[wy] = total * sums[s] // n
        sums[w2y], sums[w2y2] = total * total * sums[s] // (n * n), total * total * sums[square] // (n * n)
    return tuple(sums)


def _period(start: float, allocated: Moments, held_back: Moments, j: int, resolution: float) -> PeriodEffect:
    variance = allocated.variance(j, resolution) / allocated.n + held_back.variance(j, resolution) / held_back.n
    return PeriodEffect(
        start=start,
        allocated=allocated.n,
        held_back=held_back.n,
        effect=allocated.mean(j, resolution) - held_back.mean(j, resolution),
        se=sqrt(variance) if variance >= 0 else variance,
    )
