"""A plan as a table for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape

from allocator.inference import Duration, EarlyDetection, Plan, Split, Traffic
from streams.cli.output import console, table
from streams.cli.plan_rows import Question, Row, days_shown, detectable_with
from streams.phrases import rough_duration

__all__ = ["as_builtins", "grouped", "percent", "show"]

NAMES_MAX = 4
"""Arms with one share that are named one by one; more are counted."""


def show(question: Question, rows: Sequence[Row], plot: Path | None) -> None:
    """Print it."""
    out = console()
    out.print(escape(_headline(question, rows[0].plan)), soft_wrap=True)
    out.print(_units(question, rows))
    if question.traffic is not None:
        out.print(_by_time(question, rows))
        out.print(_arriving(question.traffic), style="dim", soft_wrap=True)
    for row in rows:
        if row.guardrail is not None:
            out.print(escape(_guardrail(row, row.guardrail)), soft_wrap=True)
    for sentence in _assumptions(rows):
        out.print(escape(sentence), style="dim", soft_wrap=True)
    if plot is not None:
        typer.echo(f"wrote {plot}")


def as_builtins(question: Question, rows: Sequence[Row], plot: Path | None) -> dict[str, Any]:
    """The whole answer, not rounded."""
    return {
        "metric": question.metric,
        "baseline": question.baseline.value,
        "alpha": question.alpha,
        "comparisons": question.comparisons,
        "two_sided": question.two_sided,
        "units_per_day": question.traffic.units_per_day if question.traffic else None,
        "usable": question.traffic.usable if question.traffic else None,
        "rows": [_row(row) for row in rows],
        "by_days": [_after(question, rows, days) for days in days_shown(rows)],
        "plot": str(plot) if plot is not None else None,
    }


# -- people ----------------------------------------------------------------------------------------------------------------------


def _headline(question: Question, plan: Plan) -> str:
    sides = "two-sided" if question.two_sided else "one-sided"
    each = f" / {question.comparisons} for each of {question.comparisons} arms (Bonferroni)" if question.comparisons > 1 else ""
    given = question.effect is not None and question.total is not None
    found = "the least effect" if question.effect is None else _effect(plan)
    power = "" if given else f" with power {percent(question.power)}"
    return f"{question.metric}: {_number(plan.baseline)} on control, {found} found{power}; {sides}, α {question.alpha:g}{each}"


def _units(question: Question, rows: Sequence[Row]) -> Any:
    found = _found_column(question)
    columns = ["split", "arm", ">share", ">units", ">in all", *([f">{found}"] if found else [])]
    shown = table(*columns, *([">days", ">weeks to enrol"] if question.traffic else []))
    for row in rows:
        cells = [grouped(row.plan.whole_total), *([_found(question, row.plan)] if found else []), *_time(row.duration)]
        for i, (arms, share, units) in enumerate(_arms(row)):
            last = cells if i == 0 else [""] * len(cells)
            shown.add_row(escape(row.split.name) if i == 0 else "", escape(arms), percent(share), grouped(units), *last)
        shown.add_section()
    return shown


def _arms(row: Row) -> Iterator[tuple[str, float, int]]:
    """Control by itself, then arms in runs of one share: names, share and units of each."""
    whole = row.plan.whole_units
    yield row.split.arms[0], row.split.shares[0], whole[0]
    for share, run in groupby(range(1, len(whole)), key=lambda k: row.split.shares[k]):
        arms = list(run)
        names = ", ".join(row.split.arms[k] for k in arms)
        each = f"each of {len(arms)} others" if len(arms) > NAMES_MAX else f"each of {names}" if len(arms) > 1 else names
        yield each, share, whole[arms[0]]


def _found_column(question: Question) -> str:
    if question.effect is None:
        return "least effect"
    return "" if question.total is None else "power"


def _found(question: Question, plan: Plan) -> str:
    return _effect(plan) if question.effect is None else percent(plan.power)


def _by_time(question: Question, rows: Sequence[Row]) -> Any:
    assert question.traffic is not None
    shown = table("after", ">units", *(f">least effect, {row.split.name}" for row in rows))
    for days in days_shown(rows):
        total = question.traffic.units_after(days)
        found = [detectable_with(question, row.split, total) for row in rows]
        after = f"{days // 7} weeks" if days % 7 == 0 and days > 7 else "1 week" if days == 7 else f"{days} d"
        shown.add_row(after, grouped(total), *("-" if plan is None else _effect(plan) for plan in found))
    return shown


def _arriving(traffic: Traffic) -> str:
    used = "" if traffic.usable == 1 else f", of which {percent(traffic.usable)} are enrolled and not held back"
    window = "" if traffic.window_days == 0 else f"; a unit's rewards are in after {rough_duration(86400 * traffic.window_days)}"
    return f"{grouped(traffic.units_per_day)} new units a day{used}{window}"


def _guardrail(row: Row, found: EarlyDetection) -> str:
    time = "" if row.guardrail_duration is None else f" ({_days(row.guardrail_duration)})"
    return (
        f"{row.split.name}, looked at all the time: a loss of {_size(found.loss, found.lift)} is found within "
        f"{grouped(found.total)} units{time} with power {percent(found.power)}, on average after {grouped(found.mean_total)}; "
        f"one look at the end needs {grouped(found.at_end)}"
    )


def _assumptions(rows: Sequence[Row]) -> list[str]:
    """Methods and assumptions of every row, each said once."""
    said: dict[str, None] = {}
    for row in rows:
        for result in (row.plan, row.duration, row.guardrail):
            if result is not None:
                said[f"method: {result.method}"] = None
    for row in rows:
        if row.split.assumption:
            said[f"assumes: {row.split.assumption}"] = None
        for result in (row.plan, row.duration, row.guardrail):
            said.update((f"assumes: {sentence}", None) for sentence in (result.assumptions if result else ()))
    return list(said)


def _time(duration: Duration | None) -> list[str]:
    return [] if duration is None else [_days(duration), str(duration.whole_weeks)]


def _days(duration: Duration) -> str:
    return rough_duration(86400 * duration.days) if duration.days < 2 else f"{duration.days:.1f} d"


def _effect(plan: Plan) -> str:
    """``0.105 (+5 %)``; without a lift the difference."""
    return f"{_number(plan.baseline + plan.effect)} ({_size(plan.effect, plan.lift, sign='+')})"


def _size(effect: float, lift: float | None, sign: str = "") -> str:
    return f"{effect:{sign}.3g}" if lift is None else f"{100 * (lift if sign else abs(lift)):{sign}.3g} %"


def _number(value: float) -> str:
    return f"{value:.4g}"


def percent(share: float) -> str:
    """``80 %``."""
    return f"{100 * share:.3g} %"


def grouped(units: float) -> str:
    """``29 498``."""
    return f"{units:,.0f}".replace(",", " ") if units < 1e15 else f"{units:.3g}"


# -- programs --------------------------------------------------------------------------------------------------------------------


def _row(row: Row) -> dict[str, Any]:
    plan = row.plan
    return {
        "split": row.split.name,
        "arms": [
            {"arm": arm, "share": share, "units": units}
            for arm, share, units in zip(row.split.arms, row.split.shares, plan.whole_units, strict=True)
        ],
        "total": plan.whole_total,
        "effect": plan.effect,
        "lift": plan.lift,
        "power": plan.power,
        "days": row.duration.days if row.duration else None,
        "whole_weeks": row.duration.whole_weeks if row.duration else None,
        "method": plan.method,
        "assumptions": [
            *([row.split.assumption] if row.split.assumption else []),
            *plan.assumptions,
            *(row.duration.assumptions if row.duration else ()),
        ],
        "guardrail": _guardrail_row(row) if row.guardrail else None,
    }


def _guardrail_row(row: Row) -> dict[str, Any]:
    found = row.guardrail
    assert found is not None
    return {
        "loss": found.loss,
        "lift": found.lift,
        "power": found.power,
        "total": found.total,
        "mean_total": found.mean_total,
        "at_end": found.at_end,
        "days": row.guardrail_duration.days if row.guardrail_duration else None,
        "method": found.method,
        "assumptions": found.assumptions,
    }


def _after(question: Question, rows: Sequence[Row], days: int) -> dict[str, Any]:
    assert question.traffic is not None
    total = question.traffic.units_after(days)
    return {"days": days, "units": total, "least_effect": {row.split.name: _least(question, row.split, total) for row in rows}}


def _least(question: Question, split: Split, total: float) -> float | None:
    found = detectable_with(question, split, total)
    return None if found is None else found.effect
