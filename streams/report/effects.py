"""Effects on every metric, what the experiment has cost, and effects by period, as rows of the report."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from allocator.cost import ArmCost, Cost, cost_so_far
from allocator.decide import slices_of
from allocator.experiment import Direction
from allocator.inference import Estimate, NoveltyResult, differences, e_benjamini_hochberg, effects_by_period, lifts, novelty
from streams.report.inputs import Inputs, number
from streams.report.record import CostRow, EffectRow, Known, MethodRow, NoveltyRow

__all__ = ["cost", "effects", "known", "novelties"]

ALPHA = 0.05
PENDING = "preliminary: no period's rewards are all in, and those still to come count as zeros"


def effects(inputs: Inputs) -> tuple[list[EffectRow], list[MethodRow]]:
    """Of every other arm on every metric, the objective first."""
    experiment = inputs.experiment
    found: list[tuple[Estimate, Estimate, bool]] = []
    methods: dict[str, MethodRow] = {}
    names = (*experiment.metrics, *experiment.derived)
    for metric in sorted(names, key=lambda name: name != experiment.objective) if inputs.others else ():
        observations, preliminary = inputs.observed(metric)
        by = differences(observations, experiment.control, alpha=ALPHA)
        found += [
            (d, lift, preliminary) for d, lift in zip(by, lifts(observations, experiment.control, alpha=ALPHA), strict=True)
        ]
        notes = [PENDING] if preliminary else []
        methods[metric] = MethodRow(part=f"effect on {metric}", method=by[0].method, assumptions=[*notes, *by[0].assumptions])
    called = e_benjamini_hochberg([difference for difference, _, _ in found], ALPHA)
    rows = [
        _row(inputs, difference, lift, preliminary, is_called)
        for (difference, lift, preliminary), is_called in zip(found, called.discovered, strict=True)
    ]
    together = [MethodRow(part="effects called different", method=called.method, assumptions=[called.assumptions[-1]])]
    return rows, [*methods.values(), *(together if len(rows) > 1 else [])]


def _row(inputs: Inputs, difference: Estimate, lift: Estimate, preliminary: bool, discovered: bool) -> EffectRow:
    metric = difference.metric or inputs.experiment.objective
    direction = inputs.experiment.direction_of(metric)
    return EffectRow(
        metric=metric,
        arm=difference.arm,
        against=inputs.experiment.control,
        direction=direction,
        estimate=number(difference.estimate),
        low=number(difference.low),
        high=number(difference.high),
        lift=number(lift.estimate),
        lift_low=number(lift.low),
        lift_high=number(lift.high),
        alpha=ALPHA,
        p_value=difference.p_value,
        n=difference.n,
        known=known(difference.low, difference.high, direction),
        discovered=discovered,
        preliminary=preliminary,
        refusal=difference.refusal,
        method=difference.method,
    )


def known(low: float, high: float, direction: Direction) -> Known:
    """What the interval of a difference from control says."""
    if low <= 0 <= high:
        return "unclear"
    return "better" if (low > 0) == (direction == "up") else "worse"


def cost(inputs: Inputs, barred: Collection[str] = ()) -> tuple[list[CostRow], list[MethodRow]]:
    """By arm, those held back, and all together. Where segments have weights of their own, against the best arm of each.

    `barred` : arms that guardrails keep from being chosen; none of them is the best.
    """
    experiment, objective, control = inputs.experiment, inputs.experiment.objective, inputs.experiment.control
    if len(slices_of(experiment)) > 1:
        by_segment = inputs.observed_by_segment(objective)
        units = {name: [moments.n for moments in cells] for name, cells in inputs.evidence.by_segment.items()}
        found = [cost_so_far(each, units[name], control, 0, ALPHA / len(by_segment), barred) for name, each in by_segment.items()]
    else:
        observations, _ = inputs.observed(objective)
        found = [cost_so_far(observations, [m.n for m in inputs.evidence.total], control, inputs.held_back.n, ALPHA, barred)]
    rows = [_cost([each.arms[k] for each in found], arm) for k, arm in enumerate(experiment.arm_ids) if found]
    rows += [_cost([each.held_back], control, held_back=True) for each in found if each.held_back]
    rows.append(_cost(found, None))
    if not found:
        return rows, []
    notes = [f"summed over {len(found)} segments, units held back left out"] if len(found) > 1 else []
    return rows, [MethodRow(part="cost so far", method=found[0].method, assumptions=[*notes, *found[0].assumptions])]


def _cost(parts: Sequence[ArmCost | Cost], arm: str | None, *, held_back: bool = False) -> CostRow:
    estimate, most = sum(part.estimate for part in parts), sum(part.most for part in parts)
    units = sum(part.units for part in parts)
    return CostRow(arm=arm, units=units, held_back=held_back, estimate=number(estimate), most=number(most))


def novelties(inputs: Inputs) -> tuple[list[NoveltyRow], list[MethodRow]]:
    """The effect of every other arm on the objective by period, and whether it changes; nothing where it is made of others."""
    experiment, now = inputs.experiment, inputs.now
    observations, _ = inputs.observed(experiment.objective)
    if observations.node is not None:
        return [], []
    j, metric, resolution = observations.j, observations.metric, observations.resolution
    numbers = list(inputs.evidence.by_period)[: len(observations.periods)]
    starts = [period * experiment.period_s for period in numbers]
    ends = [min(start + experiment.period_s, max(now, start)) for start in starts]
    rows, last = [], None
    for arm in inputs.others:
        both = [p for p, cells in enumerate(observations.periods) if arm in cells and experiment.control in cells]
        control, other = ([observations.periods[p][name] for p in both] for name in (experiment.control, arm))
        table = effects_by_period(control, other, [starts[p] for p in both], [ends[p] for p in both], j, resolution)
        last = novelty(table, metric.direction, alpha=ALPHA)
        columns = table.cohort_s.tolist(), table.effect.tolist(), table.se.tolist()
        rows.append(_novelty(arm, last, columns))
    return rows, [MethodRow(part="effect by period", method=last.method, assumptions=list(last.assumptions))] if last else []


def _novelty(arm: str, found: NoveltyResult, columns: tuple[list[float], list[float], list[float]]) -> NoveltyRow:
    ts, effect, se = columns
    return NoveltyRow(arm=arm, verdict=found.verdict, reason=found.reason, ts=ts, effect=effect, se=se)
