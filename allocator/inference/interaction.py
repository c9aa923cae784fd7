"""Does an arm's effect, or which arm is the best, differ between segments? At any time, over all segments and arms together.

Two questions, because effects that differ in size are common and change nothing, while a best arm that differs asks for weights
by segment.

The effect of an arm in a segment less its effect in the rest of the experiment, I = D_s - D_r. Units of both are disjoint, and
each D has the asymptotic e-process of `asymptotic`, with total n D, variance v and tuning ρ. For any one value δ of both effects
the product E_s(δ) E_r(δ) is an e-process, so the least of it over δ is one of "D_s = D_r", whatever the effect is:

    ln e = I² / (2 V) - g        V = (v_s + ρ_s) / n_s² + (v_r + ρ_r) / n_r²
    g = ½ ln((v_s + ρ_s) / ρ_s) + ½ ln((v_r + ρ_r) / ρ_r)        interval: I ± √(2 V (ln(1/α) + g))

(Ville 1939; the least over a nuisance parameter as in Wasserman, Ramdas & Balakrishnan 2020, PNAS 117(29), "Universal
inference"). e-BH over all of them keeps the share of false discoveries.

A crossing: the arm a that is the best in a segment and the arm b that is the best over all are proven to change places, a before
b in the segment and b before a in the rest. Both have to be proven, so a pair needs no more than one error rate (Berger 1982,
"Multiparameter hypothesis testing and acceptance sampling"; Gail & Simon 1985 call it qualitative interaction). Which segments
and pairs are looked at is chosen by the data, so alpha is shared by all: segments × arms (arms - 1) / 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from allocator.errors import ArgumentError
from allocator.experiment import Direction
from allocator.inference import asymptotic
from allocator.inference.asymptotic import UNITS_MIN, Running
from allocator.inference.boundaries import log_threshold
from allocator.inference.estimate import Estimate
from allocator.inference.multiplicity import e_benjamini_hochberg
from allocator.inference.observations import Observations
from allocator.inference.p_values import always_valid
from allocator.inference.period_sums import PeriodSums, middle, period_sums
from allocator.inference.pseudo_outcomes import Contrast
from allocator.inference.statements import of_difference
from allocator.moments import Moments
from allocator.quadrature import FloatArray

__all__ = ["Crossing", "Interaction", "SegmentContrast", "interaction"]

REST = "rest"
FIELDS = ("n", "y", "y2", "w", "w2", "wy", "w2y", "w2y2")
"""Sums of `PeriodSums`."""
METHOD = "product of the asymptotic e-processes of the effect in the segment and in the rest, least over the effect"
ALIKE = "pending rewards, if any are counted as zeros, are as frequent in every segment"


@dataclass(frozen=True, slots=True)
class SegmentContrast:
    """An arm's effect in a segment against its effect elsewhere.

    Parameters
    ----------
    segment, arm : whose effect.
    elsewhere : the other segment if there are two, else "rest".
    effect, effect_elsewhere : arm less control, in the metric's unit.
    estimate : of the first less the second.
    discovered : whether e-BH over all contrasts calls it different from 0.
    """

    segment: str
    arm: str
    elsewhere: str
    effect: float
    effect_elsewhere: float
    estimate: Estimate
    discovered: bool


@dataclass(frozen=True, slots=True)
class Crossing:
    """A segment whose best arm is not that of the whole.

    Parameters
    ----------
    arm, instead_of : the best arm in the segment, and the best one over all segments.
    here, elsewhere : difference `arm` less `instead_of` in the segment and in the rest, with simultaneous intervals.
    proven : whether they have opposite signs, both proven over all segments and pairs.
    """

    segment: str
    arm: str
    instead_of: str
    here: Estimate
    elsewhere: Estimate
    proven: bool


@dataclass(frozen=True, slots=True)
class Interaction:
    """What segments have to do with the effect of the arms.

    Parameters
    ----------
    contrasts : by segment, then by arm; of two segments those of the first one, as those of the second differ in sign alone.
    best, best_overall : the best arm in every segment and over all, None where no arm has units enough.
    crossings : the segments whose best arm is another one.
    effects_differ, best_differs : whether some contrast is discovered, and some crossing proven.
    reason : what was found, in a sentence that names segments and arms.
    """

    contrasts: tuple[SegmentContrast, ...]
    best: Mapping[str, str | None]
    best_overall: str | None
    crossings: tuple[Crossing, ...]
    effects_differ: bool
    best_differs: bool
    reason: str
    alpha: float
    method: str
    assumptions: tuple[str, ...]


def interaction(
    by_segment: Mapping[str, Observations],
    control: str,
    direction: Direction = "up",
    *,
    alpha: float = 0.05,
    units_min: float = UNITS_MIN,
) -> Interaction:
    """The test of every segment against the rest.

    Parameters
    ----------
    by_segment : the same metric, arms and periods in at least two segments; an arm without units in a period has zero moments.
        With a single period for all time the result is right at one look; peeking needs the periods.
    direction : which way the metric is better.
    alpha : of the contrasts together (false discovery rate), and of the crossings together (probability of any false one).
    units_min : effective units demanded of an arm and of control, on both sides.

    Raises
    ------
    ArgumentError : fewer than two segments, segments that do not match, an unknown control, alpha outside (0, 1).
    """
    log_threshold(alpha)
    first = _matching(by_segment)
    table = _Table.of(list(by_segment), list(by_segment.values()))
    c, title = first.control(control), of_difference("asymptotic", first)
    contrasts = _contrasts(table, first, c, alpha, units_min, title[1])
    best, overall = _best(table, first.arms, direction, units_min)
    crossings = tuple(
        _crossing(table, first, k, (name, arm, overall), direction, alpha, units_min, title)
        for k, (name, arm) in enumerate(best.items())
        if arm is not None and overall is not None and arm != overall
    )
    called = e_benjamini_hochberg([contrast.estimate for contrast in contrasts], alpha)
    contrasts = tuple(
        SegmentContrast(x.segment, x.arm, x.elsewhere, x.effect, x.effect_elsewhere, x.estimate, found)
        for x, found in zip(contrasts, called.discovered, strict=True)
    )
    return Interaction(
        contrasts=contrasts,
        best=best,
        best_overall=overall,
        crossings=crossings,
        effects_differ=any(x.discovered for x in contrasts),
        best_differs=any(x.proven for x in crossings),
        reason=_reason(contrasts, crossings),
        alpha=alpha,
        method=f"{METHOD}; {called.method}; crossings by Bonferroni over {_pairs(table, first)} segments and pairs",
        assumptions=(*called.assumptions, "segments were declared beforehand, and a unit's does not depend on its arm"),
    )


@dataclass(frozen=True, slots=True)
class _Table:
    """Sums of every segment, of the rest of each, and of all together; the first two have segments as their first axis."""

    names: list[str]
    here: PeriodSums
    rest: PeriodSums
    whole: PeriodSums

    @classmethod
    def of(cls, names: list[str], segments: Sequence[Observations]) -> _Table:
        first = segments[0]
        if first.node is not None:
            return cls._of_node(names, segments)
        origin = middle(first.resolution, first.j, [cell for each in segments for cell in each.periods])
        found = [period_sums(first.resolution, first.j, first.arms, each.periods, origin) for each in segments]
        stacked = {name: np.stack([getattr(sums, name) for sums in found]) for name in FIELDS}
        total = {name: values.sum(axis=0) for name, values in stacked.items()}
        others = {name: total[name] - values for name, values in stacked.items()}
        present, at = found[0].present, found[0].origin
        return cls(
            names,
            PeriodSums(**stacked, present=present, origin=at),
            PeriodSums(**others, present=present, origin=at),
            PeriodSums(**total, present=present, origin=at),
        )

    @classmethod
    def _of_node(cls, names: list[str], segments: Sequence[Observations]) -> _Table:
        """Each part is linearised about its own means: a ratio's in the rest is not made of those in its segments."""
        whole = [
            {arm: Moments.total(cell[arm].metrics, [each.periods[p][arm].sums for each in segments]) for arm in cell}
            for p, cell in enumerate(segments[0].periods)
        ]
        rest = [
            [{arm: cell[arm] - own[arm] for arm in cell} for cell, own in zip(whole, each.periods, strict=True)]
            for each in segments
        ]
        return cls(
            names,
            _stacked([each.sums() for each in segments]),
            _stacked([replace(each, periods=periods).sums() for each, periods in zip(segments, rest, strict=True)]),
            replace(segments[0], periods=whole).sums(),
        )

    def elsewhere(self, k: int) -> str:
        return self.names[1 - k] if len(self.names) == 2 else REST


def _stacked(each: Sequence[PeriodSums]) -> PeriodSums:
    """Differences between arms alone are asked for, so each may keep an origin of its own."""
    arrays = {name: np.stack([getattr(sums, name) for sums in each]) for name in FIELDS}
    return PeriodSums(**arrays, present=np.stack([sums.present for sums in each]), origin=0.0)


@dataclass(frozen=True, slots=True)
class _Reading:
    """The last look of a running mean; shape (segments, arms)."""

    n: FloatArray
    mean: FloatArray
    spread: FloatArray
    """(v + ρ) / n²."""
    penalty: FloatArray
    """½ ln((v + ρ) / ρ)."""

    @classmethod
    def of(cls, running: Running) -> _Reading:
        known = running.qualified[..., -1, :]
        n = np.where(known, running.n[..., -1, :], np.nan)
        v, rho = running.variance[..., -1, :], running.rho[..., -1, :]
        return cls(running.n[..., -1, :], running.mean[..., -1, :], (v + rho) / n**2, 0.5 * np.log((v + rho) / rho))


def _contrasts(
    table: _Table, first: Observations, control: int, alpha: float, units_min: float, assumptions: tuple[str, ...]
) -> tuple[SegmentContrast, ...]:
    here = _Reading.of(asymptotic.of_contrast(table.here, Contrast(control), units_min))
    rest = _Reading.of(asymptotic.of_contrast(table.rest, Contrast(control), units_min))
    gap, spread, penalty = here.mean - rest.mean, here.spread + rest.spread, here.penalty + rest.penalty
    known = np.isfinite(spread)
    log_e = np.where(known, gap**2 / (2 * spread) - penalty, 0.0)
    radius = np.where(known, np.sqrt(2 * spread * (log_threshold(alpha) + penalty)), np.inf)
    found = []
    for s, segment in enumerate(table.names[: 1 if len(table.names) == 2 else None]):
        for k, arm in enumerate(first.arms):
            if k == control:
                continue
            middle_of, half = (float(gap[s, k]), float(radius[s, k])) if known[s, k] else (0.0, np.inf)
            p_value, e_value = always_valid(float(log_e[s, k]))
            estimate = Estimate(
                arm=arm,
                quantity="difference",
                estimate=float(gap[s, k]),
                low=middle_of - half,
                high=middle_of + half,
                alpha=alpha,
                n=int(here.n[s, k] + rest.n[s, k]),
                method=METHOD,
                assumptions=(*assumptions, ALIKE),
                p_value=p_value,
                e_value=e_value,
                against=first.arms[control],
                metric=first.name,
                refusal="" if known[s, k] else f"fewer than {units_min:g} effective units of an arm, here or elsewhere",
            )
            effects = float(here.mean[s, k]), float(rest.mean[s, k])
            found.append(SegmentContrast(segment, arm, table.elsewhere(s), *effects, estimate, discovered=False))
    return tuple(found)


def _best(table: _Table, arms: Sequence[str], direction: Direction, units_min: float) -> tuple[dict[str, str | None], str | None]:
    """By AIPW means, among the arms with units enough."""
    sign = 1.0 if direction == "up" else -1.0

    def best(sums: PeriodSums) -> list[str | None]:
        running = asymptotic.of_contrast(sums, Contrast(), units_min)
        mean = np.where(running.qualified[..., -1, :], sign * running.mean[..., -1, :], -np.inf)
        return [arms[int(np.argmax(row))] if np.isfinite(row).sum() > 1 else None for row in np.atleast_2d(mean)]

    return dict(zip(table.names, best(table.here), strict=True)), best(table.whole)[0]


def _crossing(
    table: _Table,
    first: Observations,
    segment: int,
    named: tuple[str, str, str],
    direction: Direction,
    alpha: float,
    units_min: float,
    title: tuple[str, tuple[str, ...]],
) -> Crossing:
    name, arm, overall = named
    k, against, level = first.arms.index(arm), Contrast(first.arms.index(overall)), alpha / _pairs(table, first)

    def difference(sums: PeriodSums) -> Estimate:
        running = asymptotic.of_contrast(sums, against, units_min)
        low, high = running.interval(level)
        p_value, e_value = always_valid(float(running.log_e(0.0)[segment, -1, k]))
        return Estimate(
            arm=arm,
            quantity="difference",
            estimate=float(running.mean[segment, -1, k]),
            low=float(low[segment, -1, k]),
            high=float(high[segment, -1, k]),
            alpha=level,
            n=int(running.n[segment, -1, k]),
            method=title[0],
            assumptions=(*title[1], ALIKE),
            p_value=p_value,
            e_value=e_value,
            against=overall,
            metric=first.name,
            refusal="" if running.qualified[segment, -1, k] else f"fewer than {units_min:g} effective units of an arm",
        )

    here, elsewhere = difference(table.here), difference(table.rest)
    ahead, behind = (here, elsewhere) if direction == "up" else (elsewhere, here)
    return Crossing(name, arm, overall, here, elsewhere, proven=ahead.low > 0 > behind.high)


def _pairs(table: _Table, first: Observations) -> int:
    arms = len(first.arms)
    return max(1, len(table.names) * arms * (arms - 1) // 2)


def _reason(contrasts: Sequence[SegmentContrast], crossings: Sequence[Crossing]) -> str:
    proven = [f"{x.arm} in {x.segment}, {x.instead_of} elsewhere" for x in crossings if x.proven]
    if proven:
        return f"the best arm differs: {'; '.join(proven)}"
    clearest = sorted((x for x in contrasts if x.discovered), key=lambda x: -(x.estimate.e_value or 0.0))
    if clearest:
        x = clearest[0]
        more = f", and {len(clearest) - 1} more" if len(clearest) > 1 else ""
        return (
            f"effects differ, the best arm is not proven to: {x.arm} has {x.effect:+.3g} in {x.segment}, "
            f"{x.effect_elsewhere:+.3g} in {x.elsewhere}{more}"
        )
    if all(x.estimate.refusal for x in contrasts):
        return "too few units by segment to tell"
    return "no effect is proven to differ by segment"


def _matching(by_segment: Mapping[str, Observations]) -> Observations:
    if len(by_segment) < 2:
        raise ArgumentError("by_segment", list(by_segment), "at least two segments")
    for (_, one), (name, other) in pairwise(by_segment.items()):
        same = (one.metric, one.j, one.arms, len(one.periods)) == (other.metric, other.j, other.arms, len(other.periods))
        if not same or [set(cell) for cell in one.periods] != [set(cell) for cell in other.periods]:
            raise ArgumentError(f"by_segment[{name!r}]", other.name, "the metric, arms and periods of every other segment")
    return next(iter(by_segment.values()))
