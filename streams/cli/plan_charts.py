"""The charts of `allocator plan --plot`: power by units, and the least detectable effect by time or units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from allocator.inference import Plan, Split, power_of
from streams.cli.plan_rows import Question, Row, detectable_with
from streams.plots import Line, Mark, Panel

__all__ = ["panels"]

POINTS = 121
APART = 6.0
"""Rows whose totals differ by more than this factor are drawn on a logarithmic axis."""


def panels(question: Question, rows: Sequence[Row]) -> list[Panel]:
    """Both charts, for the rows of `answer`."""
    return [_power(question, rows), _detectable(question, rows)]


def _power(question: Question, rows: Sequence[Row]) -> Panel:
    effect = rows[0].plan.effect
    totals = [row.plan.total for row in rows] + [row.guardrail.total for row in rows if row.guardrail]
    x, log = _between(min(totals), max(totals))
    lines = []
    for i, row in enumerate(rows):
        power = [power_of(question.baseline, effect, n, question.design(row.split)).power for n in x]
        lines.append(Line(row.split.name, x, power, colour=i))
        if row.guardrail is not None:
            n, found = zip(*row.guardrail.looks, strict=True)
            label = f"{row.split.name}: {_signed(question, row.guardrail.loss)} by a guardrail"
            lines.append(Line(label, x, np.interp(x, n, found, left=0.0).tolist(), dashed=True, colour=i))
    return Panel(
        title=f"Power to find {_signed(question, effect)}, {question.metric}",
        x_label="units in all arms",
        y_label="power",
        lines=lines,
        marks=[Mark("y", question.power, f"{100 * question.power:g} %"), Mark("x", totals[0], _units(rows[0].plan))],
        x_log=log,
        y_numbers="percent",
        y_range=(0.0, 1.02),
    )


def _detectable(question: Question, rows: Sequence[Row]) -> Panel:
    by_days = question.traffic is not None
    planned = [row.duration.days if row.duration else row.plan.total for row in rows]
    x, log = _between(min(planned), max(planned))
    lines = [Line(row.split.name, x, [_size(question, row.split, at) for at in x]) for row in rows]
    marks = [Mark("x", planned[0], f"{planned[0]:.1f} days" if by_days else _units(rows[0].plan))]
    if question.effect is not None:
        marks.append(Mark("y", abs(_relative(question, question.effect)), _signed(question, question.effect)))
    return Panel(
        title=f"Least effect found with power {100 * question.power:g} %",
        x_label="days, until the last reward is in" if by_days else "units in all arms",
        y_label="lift" if question.baseline.value else "difference",
        lines=lines,
        marks=marks,
        x_log=log,
        y_log=log,
        y_numbers="percent" if question.baseline.value else "plain",
    )


def _between(low: float, high: float) -> tuple[list[float], bool]:
    """Places from well before to well after, and whether they are logarithmic."""
    if high > APART * low:
        return np.geomspace(low / 10, high * 3, POINTS).tolist(), True
    return np.linspace(low / 8, high * 2, POINTS).tolist(), False


def _size(question: Question, split: Split, at: float) -> float:
    """Of the least detectable effect, after `at` days or with `at` units; nan where there is none."""
    found = detectable_with(question, split, at if question.traffic is None else question.traffic.units_after(at))
    return float("nan") if found is None else abs(_relative(question, found.effect))


def _units(plan: Plan) -> str:
    return f"{plan.whole_total:,} units".replace(",", " ")


def _relative(question: Question, effect: float) -> float:
    return effect / abs(question.baseline.value) if question.baseline.value else effect


def _signed(question: Question, effect: float) -> str:
    value = _relative(question, effect)
    return f"{100 * value:+.3g} %" if question.baseline.value else f"{value:+.3g}"
