"""Guardrails in the report: every one with every arm, whether broken, clean or still waiting for units, and what was done."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from allocator.breaches import DONE
from allocator.experiment import Experiment
from allocator.guardrail import Guardrail
from allocator.guardrails import GuardrailReading, guardrail_readings
from allocator.standing import Breach
from streams.report.inputs import Inputs
from streams.report.record import Section
from streams.report.words import count, time

__all__ = ["guardrails"]

Breaches = Mapping[tuple[str, str], Breach]
"""By metric and arm."""


def guardrails(inputs: Inputs) -> Section | None:
    """None without guardrails. Figures are as of now; those by which a breach was found are told with what was done."""
    experiment, weights = inputs.experiment, inputs.weights.get(None)
    breaches = {(breach.metric, breach.arm): breach for breach in (weights.standing.breaches if weights else ())}
    readings = guardrail_readings(experiment, inputs.evidence)
    if not readings and not breaches:
        return None
    known = {(reading.metric, reading.arm) for reading in readings}
    rows = [_row(experiment, reading, breaches.get((reading.metric, reading.arm))) for reading in readings]
    rows += [_gone(breach) for at, breach in breaches.items() if at not in known]
    return Section(
        title="Guardrails",
        summary="; ".join(_summary(experiment, rows, breaches)),
        columns=["metric", "arm", "state", ">difference", ">bound", ">tolerated", ">units", "action"],
        rows=rows,
        method=readings[0].method if readings else "",
        assumptions=list(dict.fromkeys(line for reading in readings for line in reading.assumptions)),
    )


def _row(experiment: Experiment, reading: GuardrailReading, breach: Breach | None) -> list[str]:
    guardrail = experiment.guardrails[reading.metric]
    figures = [_size(guardrail, x, reading.control_mean) for x in (reading.estimate, reading.bound, reading.allowed)]
    overruled = reading.arm in experiment.overruled.get(reading.metric, ())
    if breach is not None:
        state, action = "broken", _done(breach, guardrail, reading.control_mean)
    elif reading.broken:
        state, action = "broken", "not yet acted on: the next decision does"
    elif reading.refusal:
        state, action = "waiting", reading.refusal
    else:
        state, action = "clean", f"{guardrail.action} if it breaks"
    if overruled:
        action = f"overruled by a person: alerts only; {action}" if state != "clean" else "overruled by a person: alerts only"
    return [reading.metric, reading.arm, state, *figures, count(reading.units), action]


def _gone(breach: Breach) -> list[str]:
    """Of a guardrail that the spec has no more: it stands until the next decision."""
    sizes = [_size(None, x, math.nan) for x in (breach.estimate, breach.bound)]
    action = f"{_done(breach, None, math.nan)}; not in the spec"
    return [breach.metric, breach.arm, "broken", *sizes, "–", count(breach.units), action]


def _done(breach: Breach, guardrail: Guardrail | None, control_mean: float) -> str:
    then = f"{_size(guardrail, breach.estimate, control_mean)}, bound {_size(guardrail, breach.bound, control_mean)}"
    return f"{DONE[breach.action]} {time(breach.ts)}, version {breach.version}, at {count(breach.units)} units: {then}"


def _size(guardrail: Guardrail | None, value: float, control_mean: float) -> str:
    """Of control's mean where the tolerance is a share of it, else in the metric's unit."""
    if not math.isfinite(value):
        return "–"
    if guardrail is not None and guardrail.relative and control_mean:
        return f"{100 * value / abs(control_mean):+.3g} %"
    return f"{value:+.4g}"


def _summary(experiment: Experiment, rows: list[list[str]], breaches: Breaches) -> Iterator[str]:
    """How many are in which state, and how a person lets the first arm back that something was done about."""
    states = [row[2] for row in rows]
    counts = {"broken": "broken", "waiting": "waiting for units", "clean": "clean"}
    yield ", ".join(f"{states.count(state)} {word}" for state, word in counts.items() if state in states)
    acting = next((breach for breach in breaches.values() if breach.action != "alert"), None)
    if acting is not None:
        command = f"allocator overrule {experiment.experiment} {acting.metric} {acting.arm} --why …"
        yield f"what was done stands until a person ends it: {command}"
