"""The ramp of enrolment in the report: its stages, the one in force, and what its gate waits for."""

from __future__ import annotations

from allocator.durations import format_duration
from allocator.ramp import Stage
from allocator.sample_ratio import sample_ratio_clean
from allocator.stages import Step, next_standing
from allocator.standing import Standing
from streams.phrases import rough_duration
from streams.report.inputs import Inputs
from streams.report.record import Section
from streams.report.words import count

__all__ = ["stage"]


def stage(inputs: Inputs) -> Section | None:
    """None without stages. What is waited for is as of now, by the rules of the next decision."""
    experiment, weights = inputs.experiment, inputs.weights.get(None)
    if not experiment.stages:
        return None
    standing = weights.standing if weights else Standing()
    units = sum(moments.n for moments in inputs.evidence.total)

    def ratio_clean() -> bool:
        served = {arm.id for arm in weights.arms if arm.ppm} if weights else experiment.arm_ids
        return sample_ratio_clean(experiment, inputs.evidence, served)

    published_ppm = weights.enrolment.ppm if weights else None
    step = next_standing(experiment, standing, published_ppm, units, inputs.now, ratio_clean)
    entered = standing.stage_since > 0
    return Section(
        title="Stage",
        summary=_summary(inputs, standing, step, units) if entered else f"not entered yet; next: {step.reason}",
        columns=["stage", ">enrolled", ">least time", ">least units", "goes on", ""],
        rows=[
            _row(place, each, _state(place, standing.stage if entered else -1, step))
            for place, each in enumerate(experiment.stages)
        ],
    )


def _summary(inputs: Inputs, standing: Standing, step: Step, units: int) -> str:
    stages = inputs.experiment.stages
    since = rough_duration(max(inputs.now - standing.stage_since, 0.0))
    here = f"stage {standing.stage + 1} of {len(stages)}, {standing.stage_ppm / 1e4:g} % enrolled"
    stay = f"entered {since} ago, {count(max(units - standing.stage_units, 0))} units since"
    return f"{here}, {stay}; {_awaited(step)}"


def _awaited(step: Step) -> str:
    if step.state == "last":
        return "the last one"
    return f"with the next decision: {step.reason}" if step.moved else f"gate: {step.reason}"


def _row(place: int, each: Stage, state: str) -> list[str]:
    name = f"{place + 1}" + (f" {each.name}" if each.name else "")
    least = format_duration(each.min_time_s) if each.min_time_s else "–"
    units = count(each.min_units) if each.min_units else "–"
    return [name, f"{100 * each.enrolment:.3g} %", least, units, "by itself" if each.advance == "auto" else "by a person", state]


def _state(place: int, in_force: int, step: Step) -> str:
    if place != in_force:
        return "passed" if place < in_force else ""
    return f"in force; {_awaited(step)}"
