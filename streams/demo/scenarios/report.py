"""A scenario's last words: what was true, what the allocator found, and whether the events add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import Struct
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from allocator.weights import PPM
from streams.demo.live import number, per_cent
from streams.demo.report import events_line
from streams.demo.scenarios.player import Played
from streams.demo.scenarios.scenario import Finding, Found, Scenario
from streams.demo.summary import Events, State, counted_of

__all__ = ["Summary", "events_of", "print_summary", "summarise"]


class Summary(Struct, frozen=True, kw_only=True):
    """The whole result."""

    scenario: str
    title: str
    people: int
    days: float
    seconds: float
    findings: list[Finding]
    experiments: dict[str, dict[str, Any]]
    """By name: shares by segment, people by arm, those held back, the true gain of allocating, the reason of the last weights."""
    events: Events

    @property
    def right(self) -> bool:
        """Whether all was found out, and the events add up."""
        return self.events.add_up and all(finding.right for finding in self.findings)


def summarise(scenario: Scenario, played: Played, found: Mapping[str, Found]) -> Summary:
    """What it came to. Experiments in `found` under the scenario's names for them."""
    return Summary(
        scenario=scenario.name,
        title=scenario.title,
        people=played.people,
        days=scenario.world.days,
        seconds=round(played.seconds, 3),
        findings=scenario.judge(scenario.world, found),
        experiments={name: _experiment(found[name]) for name in scenario.experiments},
        events=events_of(played, {name: one.state for name, one in found.items()}),
    )


def events_of(played: Played, states: Mapping[str, State]) -> Events:
    """Each kind of record must be counted as often as it was sent, and each arm must have the people that it was served to."""
    outcomes: dict[str, int] = {}
    for state in states.values():
        for name, count in state.counters.items():
            outcomes[name] = outcomes.get(name, 0) + count
    sent = {"exposures": played.exposures, "rewards": played.rewards}
    differences = [
        f"{kind}: {number:,} sent, {counted_of(outcomes, kind):,} counted"
        for kind, number in sent.items()
        if counted_of(outcomes, kind) != number
    ]
    for name, books in played.books.items():
        units = {arm.id: arm.n for arm in states.get(name, State()).arms}
        for arm, people in books.arms.items():
            if units.get(arm, 0) != people:
                differences.append(f"{name}, {arm}: {people:,} people served, {units.get(arm, 0):,} units in its arm")
    if played.undelivered:
        differences.append(f"{played.undelivered:,} records never reached the broker")
    return Events(sent=sent, outcomes=outcomes, differences=differences)


def print_summary(console: Console, summary: Summary) -> None:
    """For people."""
    say = partial(console.print, highlight=False, soft_wrap=not console.is_terminal)
    say(f"\n{summary.title[0].upper()}{summary.title[1:]}.")
    say(f"{number(summary.people)} people in {summary.days:g} days, played in {summary.seconds:.0f} s.\n")
    for name, one in summary.experiments.items():
        say(f"[bold]{name}[/]: {one['reason']}")
        for segment, shares in one["shares"].items():
            where = f"  {segment}: " if segment else "  "
            say(where + ", ".join(f"{arm} {per_cent(share)}" for arm, share in sorted(shares.items(), key=lambda s: -s[1])))
    say(_table(summary.findings))
    say(events_line(summary.events))


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for title in ("question", "what is true", "what was found", ""):
        table.add_column(title)
    for finding in findings:
        verdict = "[green]right[/]" if finding.right else "[bold red]WRONG[/]"
        table.add_row(finding.question, finding.truth, finding.found, verdict)
    return table


def _experiment(found: Found) -> dict[str, Any]:
    return {
        "shares": {segment or "": {arm.id: arm.ppm / PPM for arm in w.arms} for segment, w in found.weights.items()},
        "version": found.weights[None].version,
        "reason": found.weights[None].reason,
        "people": dict(found.served.arms),
        "held_back": found.served.held_back,
        "gain": dict(found.served.gain),
    }
