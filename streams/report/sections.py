"""Parts of the report that are a sentence and a table, in the order of `SECTIONS`. A new one is a function in it."""

from __future__ import annotations

from collections.abc import Callable

from streams.holdback import HoldbackMetric
from streams.report.covariates import covariates
from streams.report.guardrails import guardrails
from streams.report.health import health
from streams.report.inputs import Inputs
from streams.report.record import Section
from streams.report.stage import stage
from streams.report.tree import tree
from streams.report.words import count

__all__ = ["SECTIONS"]


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


SECTIONS: tuple[Callable[[Inputs], Section | None], ...] = (tree, guardrails, covariates, stage, holdback, health, counters)
