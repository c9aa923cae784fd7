"""Segments as parts of the report: each one's arms, whether effects or the best arm differ, and Simpson's paradox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from allocator.inference import Observations, differences
from allocator.inference.interaction import interaction
from allocator.inference.simpson import simpson
from allocator.policies import Context
from streams.report.effects import ALPHA, known
from streams.report.inputs import Inputs, number
from streams.report.record import CrossingRow, InteractionRow, MethodRow, ReversalRow, SegmentArmRow, SegmentRow

__all__ = ["Segments", "segments"]


@dataclass(slots=True)
class Segments:
    """What the report says of segments; everything is empty without segments."""

    rows: list[SegmentRow] = field(default_factory=list)
    interaction: list[InteractionRow] = field(default_factory=list)
    interaction_reason: str = ""
    crossings: list[CrossingRow] = field(default_factory=list)
    simpson: list[ReversalRow] = field(default_factory=list)
    simpson_reason: str = ""
    cautions: list[str] = field(default_factory=list)
    methods: list[MethodRow] = field(default_factory=list)


def segments(inputs: Inputs) -> Segments:
    """Of an experiment that declares segments: every one of them, with units or not, the largest first."""
    made = Segments()
    if not inputs.experiment.segments:
        return made
    observed = inputs.observed_by_segment(inputs.experiment.objective)
    every = {name: observed.get(name) for name in (*observed, *inputs.experiment.segments)}
    made.rows = sorted((_segment(inputs, name, each) for name, each in every.items()), key=lambda row: -row.n)
    if len(observed) > 1 and inputs.others:
        _add_interaction(inputs, made, observed)
        _add_simpson(inputs, made)
    return made


def _segment(inputs: Inputs, name: str, observations: Observations | None) -> SegmentRow:
    """`observations`: None where the segment has no units."""
    experiment = inputs.experiment
    context = Context.of(experiment, inputs.evidence, inputs.now, name, inputs.context)
    posteriors, moments = context.posteriors(), context.moments
    effects = {}
    if inputs.others and observations is not None:
        effects = {x.arm: x for x in differences(observations, experiment.control, alpha=ALPHA)}
    weights = inputs.weights.get(name)
    ppm = {arm.id: arm.ppm for arm in weights.arms} if weights else {}
    intervals, p_best, means = posteriors.interval().tolist(), posteriors.prob_best().tolist(), posteriors.mean.tolist()
    direction, rows = experiment.direction_of(experiment.objective), []
    for k, arm in enumerate(experiment.arm_ids):
        mean, effect = number(means[k]), effects.get(arm)
        row = SegmentArmRow(
            id=arm,
            n=moments[k].n,
            ppm=ppm.get(arm),
            mean=mean,
            interval=None if mean is None else (intervals[k][0], intervals[k][1]),
            p_best=p_best[k],
            effect=None if effect is None else number(effect.estimate),
            low=None if effect is None else number(effect.low),
            high=None if effect is None else number(effect.high),
            known="unclear" if effect is None else known(effect.low, effect.high, direction),
        )
        rows.append(row)
    n = sum(m.n for m in moments)
    total = sum(m.n for m in inputs.evidence.total)
    return SegmentRow(segment=name, n=n, share=n / total if total else 0.0, arms=rows)


def _add_interaction(inputs: Inputs, made: Segments, observed: Mapping[str, Observations]) -> None:
    experiment, objective = inputs.experiment, inputs.experiment.objective
    found = interaction(observed, experiment.control, experiment.direction_of(objective), alpha=ALPHA)
    made.interaction_reason = found.reason
    made.interaction = [
        InteractionRow(
            segment=x.segment,
            arm=x.arm,
            elsewhere=x.elsewhere,
            estimate=number(x.estimate.estimate),
            low=number(x.estimate.low),
            high=number(x.estimate.high),
            e_value=x.estimate.e_value,
            discovered=x.discovered,
        )
        for x in found.contrasts
    ]
    made.crossings = [
        CrossingRow(
            segment=x.segment,
            arm=x.arm,
            instead_of=x.instead_of,
            here=number(x.here.estimate),
            elsewhere=number(x.elsewhere.estimate),
            proven=x.proven,
        )
        for x in found.crossings
    ]
    if found.best_differs:
        made.cautions.append(found.reason)
    made.methods.append(MethodRow(part="segments against the rest", method=found.method, assumptions=list(found.assumptions)))


def _add_simpson(inputs: Inputs, made: Segments) -> None:
    experiment, objective = inputs.experiment, inputs.experiment.objective
    observations, _ = inputs.observed(objective)
    if observations.node is not None:  # a reversal is told from means of one column
        return
    j, resolution = observations.j, observations.resolution
    direction = experiment.direction_of(objective)
    found = simpson(inputs.evidence.by_segment, experiment.arm_ids, experiment.control, j, resolution, direction)
    made.simpson_reason = found.reason
    made.simpson = [
        ReversalRow(arm=x.arm, against=x.against, pooled=x.pooled, standardised=x.standardised) for x in found.reversals
    ]
    if found.warned:
        made.cautions.append(f"Simpson's paradox: {found.reason}")
    made.methods.append(MethodRow(part="Simpson's paradox", method=found.method, assumptions=list(found.assumptions)))
