"""Parts of the report that are a sentence and a table, in the order of `SECTIONS`. A new one is a function in it."""

from __future__ import annotations

from collections.abc import Callable

from streams.holdback import HoldbackMetric
from streams.phrases import rough_duration
from streams.report.health import health
from streams.report.inputs import Inputs
from streams.report.record import Section
from streams.report.words import count, time

__all__ = ["SECTIONS"]


def guardrails(inputs: Inputs) -> Section | None:
    """The breaches that stand."""
    weights = inputs.weights.get(None)
    if weights is None or not weights.standing.breaches:
        return None
    breaches = weights.standing.breaches
    return Section(
        title="Guardrails",
        summary=f"{len(breaches)} broken, until a person overrules it" if len(breaches) > 1 else "one is broken",
        columns=["metric", "arm", "action", ">estimate", ">bound", ">units", ">version", "since"],
        rows=[
            [b.metric, b.arm, b.action, f"{b.estimate:+.4g}", f"{b.bound:+.4g}", count(b.units), str(b.version), time(b.ts)]
            for b in breaches
        ],
        method="anytime-valid bound of the difference from control, against the tolerance",
    )


def stage(inputs: Inputs) -> Section | None:
    """Where the ramp is."""
    weights = inputs.weights.get(None)
    if weights is None or weights.standing.stage_since == 0:
        return None
    standing = weights.standing
    ago = rough_duration(max(inputs.now - standing.stage_since, 0.0))
    entered = f"entered {ago} ago, after {count(standing.stage_units)} units"
    return Section(title="Stage", summary=f"stage {standing.stage + 1}, {weights.enrolment.ppm / 1e4:g} % enrolled, {entered}")


def holdback(inputs: Inputs) -> Section | None:
    """What allocating has done to each metric, against the units held back on control."""
    state = inputs.holdback
    if state is None:
        return None
    held = f"{count(state.held_back)} units held back on {inputs.experiment.control}, {count(state.allocated)} allocated"
    method = next((found.method for found in state.metrics.values()), "")
    columns = ["metric", ">effect a unit", ">95 % interval", ">gained so far", ">95 % interval", ">units"]
    rows = [_held_back(name, found) for name, found in state.metrics.items()]
    return Section(title="Holdback", summary=held, columns=columns, rows=rows, method=method)


def counters(inputs: Inputs) -> Section:
    """Every event read, by what became of it."""
    total = sum(inputs.counters.values())
    kinds: dict[str, dict[str, int]] = {}
    for name, events in inputs.counters.items():
        kind, _, outcome = name.partition(".")
        kinds.setdefault(outcome, {})[kind] = events
    return Section(
        title="Events",
        summary=f"{count(total)} read, each in one place",
        columns=["outcome", ">exposures", ">rewards"],
        rows=[[outcome, *(count(by.get(kind, 0)) for kind in ("exposures", "rewards"))] for outcome, by in kinds.items()],
    )


def _held_back(name: str, found: HoldbackMetric) -> list[str]:
    if found.effect is None or found.gain is None or found.interval is None or found.gain_interval is None:
        return [name, "", found.refusal, "", "", count(found.held_back + found.allocated)]
    (low, high), (least, most) = found.interval, found.gain_interval
    effect = [f"{found.effect:+.4g}", f"{low:.4g} to {high:.4g}"]
    return [name, *effect, f"{found.gain:.4g}", f"{least:.4g} to {most:.4g}", count(found.held_back + found.allocated)]


SECTIONS: tuple[Callable[[Inputs], Section | None], ...] = (guardrails, stage, holdback, health, counters)
