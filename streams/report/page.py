"""The report as one HTML file that needs nothing else: styles and charts are in it, and no script. Light, dark, and on paper."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from streams.phrases import rough_duration
from streams.report import figures, words
from streams.report.record import Report

__all__ = ["page"]

COLOURS = 8
TONES = {
    "ok": "better", "clean": "better", "better": "better", "warn": "wait", "broken": "worse", "worse": "worse",
    "waiting": "", "unknown": "", "unclear": "",
}  # fmt: skip
"""Of words that a table of a section shows as a pill."""
SEGMENTS_MAX = 20
"""Shown; the record has all of them."""


def page(report: Report) -> str:
    """The document."""
    arms = [arm.id for arm in report.arms]
    segments = report.segments[:SEGMENTS_MAX]
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            colour={arm: k % COLOURS for k, arm in enumerate(arms)},
            shares=figures.shares_over_time(report.history, arms, min(report.ts, report.valid_until or report.ts)),
            posteriors=figures.posteriors(report.densities, arms),
            trend=figures.effects_over_time(report.novelty, arms),
            bars=figures.bars(report.effects),
            segments=segments,
            segment_bars=figures.segment_bars(segments),
            colours=COLOURS,
            tones=TONES,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("streams.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters: Mapping[str, Any] = {
        "about": words.about,
        "count": words.count,
        "duration": rough_duration,
        "figure": words.figure,
        "interval": words.interval,
        "lift_interval": words.lift_interval,
        "percent": words.percent,
        "share": words.share,
        "signed": words.signed,
        "time": words.time,
    }
    environment.filters.update(filters)
    return environment
