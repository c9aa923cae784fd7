"""The report in the terminal: the verdict first, then tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from streams.cli.output import console, share, table
from streams.phrases import rough_duration
from streams.report.words import about, count, figure, interval, lift_interval, percent, signed

if TYPE_CHECKING:
    from rich.console import Console

    from streams.report import Report

__all__ = ["headline", "show"]

TONES = {"promote": "bold green", "keep going": "bold blue", "stop": "bold yellow", "broken": "bold red"}
KNOWN = {"better": "[green]better[/]", "worse": "[red]worse[/]", "unclear": "[dim]unclear[/]"}
SEGMENTS_MAX = 20


def headline(report: Report) -> str:
    """The verdict and its reason on one line."""
    return f"{report.verdict.headline}: {report.verdict.reason}"


def show(report: Report) -> None:
    """All of it, on standard output."""
    out = console()
    _verdict(out, report)
    _effects(out, report)
    _arms(out, report)
    _segments(out, report)
    for section in report.sections:
        out.print(f"[bold]{escape(section.title)}[/]  [dim]{escape(section.summary)}[/]")
        if section.rows:
            shown = table(*section.columns)
            for row in section.rows:
                shown.add_row(*(escape(cell) for cell in row))
            out.print(shown)
    _cost(out, report)
    out.print("[bold]Methods[/]  [dim]what each assumes is in --json and --html[/]")
    for method in report.methods:
        out.print(f"  {escape(method.part)}: [dim]{escape(method.method)}[/]")


def _verdict(out: Console, report: Report) -> None:
    verdict, spec = report.verdict, report.spec
    out.print(f"[{TONES[verdict.kind]}]{escape(verdict.headline)}[/]: {escape(verdict.reason)}")
    if verdict.remaining_units is not None:
        days = verdict.remaining_days
        takes = "" if days is None else f", {rough_duration(days * 86400)}"
        out.print(f"  [dim]about {about(verdict.remaining_units)} more units{takes}: {verdict.remaining_method}[/]")
    for alarm in report.alarms:
        out.print(f"  [red]{escape(alarm.check)}: {escape(alarm.found)}; {escape(alarm.repair)}[/]")
    for caution in verdict.cautions:
        out.print(f"  [yellow]{escape(caution)}[/]")
    held_back = f" and {count(report.held_back_units)} held back" if report.held_back_units else ""
    owner = f", {spec.owner}" if spec.owner else ""
    units = f"{count(report.units)} units{held_back}"
    out.print(f"[bold]{spec.experiment}[/]{escape(owner)}: {spec.status}, {spec.policy} on {spec.objective}, {units}")
    if spec.hypothesis:
        out.print(f"  {escape(spec.hypothesis)}")
    out.print(f"  [dim]{escape(report.reason)}[/]\n")


def _effects(out: Console, report: Report) -> None:
    if not report.effects:
        return
    out.print(f"[bold]Effects against {report.spec.control}[/]  [dim]95 % intervals, valid however often one looks[/]")
    shown = table("metric", "arm", "", ">lift", "95 %", ">difference", "95 %", ">units", "method")
    for row in report.effects:
        state = KNOWN[row.known] + (" [dim]preliminary[/]" if row.preliminary else "")
        lifts = percent(row.lift), lift_interval(row.lift_low, row.lift_high)
        how = row.refusal or row.method
        shown.add_row(row.metric, row.arm, state, *lifts, signed(row.estimate), interval(row.low, row.high), count(row.n), how)
    out.print(shown)


def _arms(out: Console, report: Report) -> None:
    out.print(f"[bold]Arms on {report.spec.objective}[/]")
    shown = table("arm", ">share", ">units", ">mean", "95 %", ">P(best)", ">expected loss")
    for row in report.arms:
        mean = figure(row.mean), _around(row.interval)
        shown.add_row(row.id, share(row.ppm), count(row.n), *mean, f"{row.p_best:.3f}", figure(row.expected_loss))
    out.print(shown)


def _segments(out: Console, report: Report) -> None:
    if not report.segments:
        return
    reasons = "; ".join(filter(None, (report.interaction_reason, report.simpson_reason)))
    out.print(f"[bold]Segments[/]  {escape(reasons)}")
    shown = table("segment", "arm", ">share", ">units", ">mean", "95 %", ">P(best)", ">effect", "95 %", "")
    for segment in report.segments[:SEGMENTS_MAX]:
        name = segment.segment
        for row in segment.arms:
            ppm = "–" if row.ppm is None else share(row.ppm)
            effect = ("control", "", "") if row.id == report.spec.control else _effect(row.effect, row.low, row.high, row.known)
            mean = figure(row.mean), _around(row.interval)
            shown.add_row(escape(name), row.id, ppm, count(row.n), *mean, f"{row.p_best:.3f}", *effect)
            name = ""
        shown.add_section()
    out.print(shown)
    if len(report.segments) > SEGMENTS_MAX:
        out.print(f"  [dim]the {SEGMENTS_MAX} largest of {len(report.segments)}; --json has all[/]")


def _around(ends: tuple[float, float] | None) -> str:
    return "–" if ends is None else f"{figure(ends[0])} to {figure(ends[1])}"


def _effect(estimate: float | None, low: float | None, high: float | None, known: str) -> tuple[str, str, str]:
    return signed(estimate), interval(low, high), KNOWN[known]


def _cost(out: Console, report: Report) -> None:
    out.print(f"[bold]Cost so far[/]  [dim]in units of {report.spec.objective}, against the best arm[/]")
    shown = table("arm", ">units", ">estimate", ">at most")
    for row in report.cost:
        name = "all" if row.arm is None else f"{row.arm}{' held back' if row.held_back else ''}"
        shown.add_row(name, count(row.units), figure(row.estimate), figure(row.most))
    out.print(shown)
