"""The demo's last words: the summary as a table and a few lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from allocator.weights import PPM
from streams.demo.live import number, per_cent
from streams.demo.summary import Accuracy, Events, Summary

__all__ = ["accuracy_table", "events_line", "outcomes_by_name", "print_summary", "regret_line"]


def print_summary(console: Console, summary: Summary) -> None:
    """Everything but the dashboard's address."""
    played, accuracy = summary.played, summary.accuracy
    # A terminal gets whole words a line, a file whole sentences.
    say = partial(console.print, highlight=False, soft_wrap=not console.is_terminal)
    say(accuracy_table(summary))
    say(regret_line(accuracy))
    shares = ", ".join(f"{arm.id} {per_cent(arm.ppm / PPM)}" for arm in sorted(summary.arms, key=lambda arm: -arm.ppm))
    say(f"Final weights (version {summary.version}): {shares}.")
    say(events_line(summary.events))
    say(
        f"On purpose, {number(played.doubled)} records were sent twice and the rewards of {number(played.early)} requests before "
        "their exposure."
    )


def regret_line(accuracy: Accuracy) -> str:
    """What learning cost, beside what not learning would have."""
    regret, without = (100 * (accuracy.hindsight - share) for share in (accuracy.earned, accuracy.uniform))
    line = f"Regret against {accuracy.best} alone: {regret:.2f} points; even traffic would have had {without:.2f}"
    if accuracy.captured is None or accuracy.captured <= 0:
        return line + "."
    return f"{line}, so {per_cent(accuracy.captured)} of it was saved while finding out which model is best."


def accuracy_table(summary: Summary) -> Table:
    """What was earned beside what would have been, best first."""
    accuracy = summary.accuracy
    rows = [("the allocator, as played", accuracy.earned, "bold green"), ("even traffic, expected", accuracy.uniform, "")]
    for model, share in accuracy.alone.items():
        rows.append((f"{model} alone" + (", the best in hindsight" if model == accuracy.best else ""), share, ""))
    played = summary.played
    title = f"{number(played.requests)} requests in {played.seconds:.0f} s"
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column(title)
    table.add_column("right", justify="right")
    table.add_column("against even traffic", justify="right")
    for name, share, style in sorted(rows, key=lambda row: -row[1]):
        table.add_row(name, per_cent(share, 2), _points(accuracy, share), style=style)
    return table


def _points(accuracy: Accuracy, share: float) -> str:
    return "" if share == accuracy.uniform else f"{100 * (share - accuracy.uniform):+.2f} points"


def events_line(events: Events) -> str:
    """The sum, or where it fails."""
    parts = " + ".join(f"{number(count)} {name}" for name, count in outcomes_by_name(events.outcomes).items()) or "0"
    sent = number(sum(events.sent.values()))
    if events.add_up:
        return f"The counts add up: {sent} events sent = {parts}."
    return f"THE COUNTS DO NOT ADD UP: {sent} events sent, counted: {parts}. " + "; ".join(events.differences) + "."


def outcomes_by_name(outcomes: Mapping[str, int]) -> dict[str, int]:
    """Exposures and rewards of the same outcome together, applied first, then by number."""
    total: Counter[str] = Counter()
    for name, count in outcomes.items():
        total[name.partition(".")[2]] += count
    ordered = sorted(total.items(), key=lambda item: (item[0] != "applied", -item[1], item[0]))
    return {name: count for name, count in ordered if count}
