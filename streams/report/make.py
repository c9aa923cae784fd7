"""From what was read to the report: every part in turn, and the verdict, whose cautions the parts bring. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from allocator.standing import Standing
from allocator.verdict import Alarm, Case, Verdict, lease_alarms, verdict
from streams.report.curves import densities, history
from streams.report.effects import cost, effects, novelties
from streams.report.health import health_alarms
from streams.report.inputs import Inputs, number
from streams.report.record import AlarmRow, ArmRow, MethodRow, NoveltyRow, Report, SpecRow, VerdictRow
from streams.report.sections import SECTIONS
from streams.report.segments import segments

__all__ = ["make_report"]


def make_report(inputs: Inputs, alarms: Sequence[Alarm] = ()) -> Report:
    """The report. `alarms` are those of health checks; that of the weights' lease is added."""
    experiment, weights = inputs.experiment, inputs.weights.get(None)
    rows, effect_methods = effects(inputs)
    trends, trend_methods = novelties(inputs)
    parts = segments(inputs)
    alarms = [*alarms, *lease_alarms(experiment, weights, inputs.now), *health_alarms(experiment.experiment, inputs.health)]
    cautions = [*_trend_cautions(trends), *parts.cautions, *_status_cautions(inputs), *inputs.cautions]
    case = Case.of(experiment, inputs.evidence, inputs.now, weights, alarms=alarms, cautions=cautions)
    found = verdict(case)
    costs, cost_methods = cost(inputs, case.barred)
    return Report(
        ts=inputs.now,
        verdict=_verdict(found),
        spec=_spec(inputs),
        version=weights.version if weights else 0,
        published_ts=weights.ts if weights else None,
        valid_until=weights.valid_until if weights else None,
        reason=weights.reason if weights else "no weights have been published yet",
        units=sum(moments.n for moments in inputs.evidence.total),
        held_back_units=inputs.held_back.n,
        standing=weights.standing if weights else Standing(),
        alarms=[AlarmRow(check=a.check, found=a.found, repair=a.repair) for a in alarms],
        arms=_arms(inputs, case),
        effects=rows,
        cost=costs,
        novelty=trends,
        segments=parts.rows,
        interaction=parts.interaction,
        interaction_reason=parts.interaction_reason,
        crossings=parts.crossings,
        simpson=parts.simpson,
        simpson_reason=parts.simpson_reason,
        sections=[section for make in SECTIONS if (section := make(inputs)) is not None],
        history=history(inputs.decisions),
        densities=densities(inputs.posteriors),
        counters=dict(inputs.counters),
        methods=[
            MethodRow(part="verdict", method=found.method, assumptions=list(found.assumptions)),
            MethodRow(
                part=f"arms on {experiment.objective}",
                method=f"{inputs.posteriors.method}, 95 % equal-tailed intervals, P(best) by quadrature",
                assumptions=list(inputs.posteriors.assumptions),
            ),
            *effect_methods,
            *cost_methods,
            *trend_methods,
            *parts.methods,
        ],
    )


def _verdict(found: Verdict) -> VerdictRow:
    remaining = found.remaining
    return VerdictRow(
        headline=found.headline,
        kind=found.kind,
        arm=found.arm,
        reason=found.reason,
        rule=found.rule,
        remaining_units=remaining.units if remaining else None,
        remaining_days=remaining.days if remaining else None,
        remaining_method=remaining.method if remaining else "",
        cautions=list(found.cautions),
    )


def _spec(inputs: Inputs) -> SpecRow:
    experiment = inputs.experiment
    return SpecRow(
        experiment=experiment.experiment,
        owner=experiment.owner,
        hypothesis=experiment.hypothesis,
        unit=experiment.unit,
        control=experiment.control,
        objective=experiment.objective,
        policy=experiment.policy.name,
        status=experiment.status,
        revision=experiment.revision,
        spec_hash=experiment.spec_hash,
        enrolment=experiment.enrolment,
        holdback=experiment.holdback,
    )


def _arms(inputs: Inputs, case: Case) -> list[ArmRow]:
    """P(best) and expected loss are among the arms that may be chosen."""
    posteriors, weights, pending = inputs.posteriors, inputs.weights.get(None), inputs.context.pending
    ppm = {arm.id: arm.ppm for arm in weights.arms} if weights else {}
    units = [moments.n for moments in inputs.evidence.total]
    still = [0.0] * len(units) if pending is None else pending.of_arms(units)
    intervals = posteriors.interval().tolist()
    return [
        ArmRow(
            id=arm,
            n=units[k],
            ppm=ppm.get(arm, 0),
            mean=number(mean),
            interval=None if number(mean) is None else (intervals[k][0], intervals[k][1]),
            p_best=0.0 if arm in case.barred else case.prob_best(arm),
            expected_loss=None if arm in case.barred else number(case.expected_loss(arm)),
            pending=still[k],
        )
        for k, (arm, mean) in enumerate(zip(posteriors.arms, posteriors.mean.tolist(), strict=True))
    ]


def _trend_cautions(trends: Sequence[NoveltyRow]) -> list[str]:
    return [f"{row.arm}: {row.reason}" for row in trends if row.verdict in ("fading", "learning")]


def _status_cautions(inputs: Inputs) -> list[str]:
    return ["paused: weights are held where they are"] if inputs.experiment.status == "paused" else []
