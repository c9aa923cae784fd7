"""Simpson's paradox: do arms compare otherwise when segments are weighed alike in every arm?

The pooled mean of an arm weighs segments by the arm's own units; the standardised one by the units of all arms, Σ_s q_s ȳ_ks
with q_s = N_s / N (direct standardisation; Simpson 1951; Bickel, Hammel & O'Connell 1975, Science 187, on admissions to
Berkeley). They part where an arm was given to other segments than another one was, as weights by segment do on purpose.

Under one split for all segments they differ by chance imbalance only, whose variance is at most that of the pooled difference.
So a warning needs both: another sign, or another best arm, and a gap of more than `ERRORS_MIN` standard errors of the pooled
difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from allocator.errors import ArgumentError
from allocator.experiment import Direction
from allocator.moments import Moments
from allocator.quadrature import FloatArray

__all__ = ["Reversal", "Simpson", "simpson"]

ERRORS_MIN = 2.0


@dataclass(frozen=True, slots=True)
class Reversal:
    """Two arms that change places: arm less `against`, in the metric's unit, and the standard error of the pooled one."""

    arm: str
    against: str
    pooled: float
    standardised: float
    pooled_se: float


@dataclass(frozen=True, slots=True)
class Simpson:
    """Both answers. Without two arms that share a segment there are none: means are nan and nothing is warned of.

    Parameters
    ----------
    warned : whether there are reversals.
    reversals : against control, and between the two best arms.
    arms, pooled, standardised : a mean an arm, nan for one without units.
    pooled_best, standardised_best : None where there is none.
    shares : segment → q_s, over the segments in which every arm with units has some.
    left_out : the other segments with units; neither answer counts them.
    reason : in a sentence, with the numbers.
    """

    warned: bool
    reversals: tuple[Reversal, ...]
    arms: tuple[str, ...]
    pooled: tuple[float, ...]
    standardised: tuple[float, ...]
    pooled_best: str | None
    standardised_best: str | None
    shares: Mapping[str, float]
    left_out: tuple[str, ...]
    reason: str
    method: str
    assumptions: tuple[str, ...]


def simpson(
    by_segment: Mapping[str, Sequence[Moments]],
    arms: Sequence[str],
    control: str,
    metric: int,
    resolution: float = 1.0,
    direction: Direction = "up",
) -> Simpson:
    """Compare the pooled means with the standardised ones.

    Parameters
    ----------
    by_segment : segment → every arm's moments, in the order of `arms`, as `Evidence.by_segment`.
    metric, resolution : place in the metric vector, natural units per step.

    Raises
    ------
    ArgumentError : an unknown control, or a segment without one moments an arm.
    """
    if control not in arms:
        raise ArgumentError("control", control, f"one of {', '.join(arms)}")
    for name, cells in by_segment.items():
        if len(cells) != len(arms):
            raise ArgumentError(f"by_segment[{name!r}]", f"{len(cells)} moments", f"one for each of {len(arms)} arms")
    occupied = {name: cells for name, cells in by_segment.items() if any(m.n for m in cells)}
    served = [k for k in range(len(arms)) if any(cells[k].n for cells in occupied.values())]
    common = {name: cells for name, cells in occupied.items() if all(cells[k].n for k in served)}
    total = [Moments.total(m[0].metrics, [m.sums for m in m]) for m in zip(*common.values(), strict=True)]
    units = sum(m.n for m in total)
    shares = {name: sum(m.n for m in cells) / units for name, cells in common.items()}
    pooled, standardised = np.full(len(arms), np.nan), np.full(len(arms), np.nan)
    se = np.full(len(arms), np.nan)
    for k in served if common else ():
        pooled[k] = total[k].mean(metric, resolution)
        standardised[k] = sum(share * common[name][k].mean(metric, resolution) for name, share in shares.items())
        se[k] = (total[k].variance(metric, resolution) / total[k].n) ** 0.5
    firsts = _best(arms, pooled, direction), _best(arms, standardised, direction)
    pairs = [(arm, control) for arm in arms if arm != control]
    if firsts[0] is not None and firsts[1] is not None and firsts[0] != firsts[1] and control not in firsts:
        pairs.append((firsts[1], firsts[0]))
    found = [_reversal(list(arms), pair, pooled, standardised, se) for pair in pairs]
    reversals = tuple(reversal for reversal in found if reversal is not None)
    return Simpson(
        warned=bool(reversals),
        reversals=reversals,
        arms=tuple(arms),
        pooled=tuple(pooled.tolist()),
        standardised=tuple(standardised.tolist()),
        pooled_best=firsts[0],
        standardised_best=firsts[1],
        shares=shares,
        left_out=tuple(name for name in occupied if name not in common),
        reason=_reason(reversals, _parted(arms, control, pooled, standardised, se), common, occupied),
        method=f"pooled means against direct standardisation by segment, a gap above {ERRORS_MIN:g} standard errors",
        assumptions=("segments were declared beforehand, and a unit's does not depend on its arm",),
    )


def _best(arms: Sequence[str], means: FloatArray, direction: Direction) -> str | None:
    if np.all(np.isnan(means)):
        return None
    return arms[int(np.nanargmax(means) if direction == "up" else np.nanargmin(means))]


def _reversal(
    arms: list[str], pair: tuple[str, str], pooled: FloatArray, standardised: FloatArray, se: FloatArray
) -> Reversal | None:
    a, b = (arms.index(arm) for arm in pair)
    raw, fair, error = float(pooled[a] - pooled[b]), float(standardised[a] - standardised[b]), float(np.hypot(se[a], se[b]))
    turned = raw * fair < 0 and abs(raw - fair) > ERRORS_MIN * error  # false also for nan
    return Reversal(*pair, raw, fair, error) if turned else None


def _parted(arms: Sequence[str], control: str, pooled: FloatArray, standardised: FloatArray, se: FloatArray) -> str:
    """The arm whose pooled difference from control is furthest off, if it is by more than chance; empty if none is."""
    c = list(arms).index(control)
    raw, fair = pooled - pooled[c], standardised - standardised[c]
    z = np.nan_to_num(np.abs(raw - fair) / np.hypot(se, se[c]))
    k = int(np.argmax(z))
    return (
        f"{arms[k]} against {control} is {raw[k]:+.3g} pooled, {fair[k]:+.3g} with segments weighed alike"
        if z[k] > ERRORS_MIN
        else ""
    )


def _reason(reversals: Sequence[Reversal], parted: str, common: Mapping[str, object], occupied: Mapping[str, object]) -> str:
    if reversals:
        return "; ".join(
            f"{r.arm} against {r.against}: pooled {r.pooled:+.3g}, with segments weighed alike {r.standardised:+.3g}"
            for r in reversals
        )
    if len(occupied) < 2:
        return "units of one segment only"
    if parted:
        return f"pooled and standardised means agree on which arm is ahead, not on how far: {parted}"
    return "pooled and standardised means agree" if common else "no segment has units of every arm"
