"""Covariates in the report: each effect without and with CUPED, and the variance saved."""

from __future__ import annotations

from allocator.inference import AdjustedEffect, adjusted_effects
from streams.report.effects import ALPHA
from streams.report.inputs import Inputs
from streams.report.record import Section
from streams.report.words import count, interval, signed

__all__ = ["covariates"]


def covariates(inputs: Inputs) -> Section | None:
    """Of every metric whose mean is over all units, the objective first; None without covariates."""
    experiment = inputs.experiment
    if not experiment.covariates or not inputs.others:
        return None
    metrics = [name for name in experiment.metrics if name not in experiment.reported]
    found: list[AdjustedEffect] = []
    for metric in sorted(metrics, key=lambda name: name != experiment.objective):
        found += adjusted_effects(experiment, inputs.evidence, metric, inputs.now, ALPHA)
    names = ", ".join(covariate.name for covariate in experiment.covariates)
    if not found:
        return Section(title="Covariates", summary=f"{names}: no period has all its rewards in and two units on every arm")
    return Section(
        title="Covariates",
        summary=_summary(names, found),
        columns=["metric", "arm", ">difference", "95 %, one look", ">adjusted", "95 %, one look", ">saved", ">units", ""],
        rows=[_row(each) for each in found],
        method=found[0].method,
        assumptions=list(found[0].assumptions),
    )


def _row(each: AdjustedEffect) -> list[str]:
    return [
        each.metric,
        each.arm,
        signed(each.raw),
        interval(*each.raw_interval),
        signed(each.adjusted),
        interval(*each.adjusted_interval),
        f"{100 * each.saved:z.1f} %",
        count(each.units),
        "" if each.balanced else "out of balance: do not use it",
    ]


def _summary(names: str, found: list[AdjustedEffect]) -> str:
    best = max(found, key=lambda each: each.saved)
    saved = f"{names}: up to {100 * best.saved:z.0f} % of the variance is saved, on {best.metric}"
    if best.saved > 0:
        saved += f", where {100 * (1 - best.saved):.0f} % of the units do as well"
    lacking = max(each.lacking for each in found)
    lacking_share = f"; {100 * lacking:.1f} % of units lack one" if lacking else ""
    return f"{saved}{lacking_share}; intervals are for a look at a time fixed beforehand"
