"""What the bench found, as rows with ratios, and how it is shown."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rich import box
from rich.console import Group
from rich.table import Table

from tests.bench.protocol import Measured
from tests.reference import Answer

__all__ = ["BARE", "FAUST", "FAUST_TUNED", "WORKER", "Row", "Verdict", "as_tables", "row_of", "verdicts"]

BARE, FAUST, FAUST_TUNED, WORKER = "bare aiokafka", "plain Faust", "tuned Faust", "this worker"

FAUST_RATIO_MIN = 50.0
ASSIGN_ARMS, ASSIGN_NS_MAX = 4, 2000


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One program on the reference job."""

    who: str
    events: int
    events_per_s: float
    cpu_s_per_million: float
    rss_mib: float
    answer: str
    """``exact``, ``WRONG``, or ``counted`` for a program that has no more to answer than how many events there were."""

    @property
    def wrong(self) -> bool:
        return self.answer == "WRONG"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was to be reached, and whether it was."""

    target: str
    measured: float
    met: bool


def row_of(who: str, measured: Measured, answer: Answer) -> Row:
    """The row of a program whose answer should have been `answer`."""
    right = measured.events == answer.events and (measured.sums is None or measured.sums == answer.sums)
    said = "exact" if measured.sums is not None else "counted"
    return Row(
        who=who,
        events=measured.events,
        events_per_s=measured.events / measured.seconds,
        cpu_s_per_million=measured.cpu_s / measured.events * 1e6,
        rss_mib=measured.rss_mib,
        answer=said if right else "WRONG",
    )


def ratio(rows: Sequence[Row], who: str, to: str) -> float:
    """Events a second of one row over those of another."""
    rate = {row.who: row.events_per_s for row in rows}
    return rate[who] / rate[to]


def verdicts(rows: Sequence[Row], assign: Sequence[dict[str, int]]) -> list[Verdict]:
    """What the project has promised of these figures."""
    times = ratio(rows, WORKER, FAUST)
    ns = next(row["ns"] for row in assign if row["arms"] == ASSIGN_ARMS)
    return [
        Verdict(target=f"this worker at least {FAUST_RATIO_MIN:g} × plain Faust", measured=times, met=times >= FAUST_RATIO_MIN),
        Verdict(target=f"router.assign at most {ASSIGN_NS_MAX} ns at {ASSIGN_ARMS} arms", measured=ns, met=ns <= ASSIGN_NS_MAX),
    ]


def as_tables(rows: Sequence[Row], assign: Sequence[dict[str, int]], title: str) -> Group:
    """Everything, for a terminal."""
    return Group(_rows_table(rows, title), _assign_table(assign), *map(_sentence, verdicts(rows, assign)))


def _rows_table(rows: Sequence[Row], title: str) -> Table:
    """Events a second, over those of plain Faust and of bare aiokafka; CPU seconds a million events; the most memory held."""
    table = _table(title)
    table.add_column("who", no_wrap=True)
    for column in ("events", "events/s", "× Faust", "× bare", "CPU s/M", "RSS MiB"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("answer", no_wrap=True)
    for row in rows:
        table.add_row(
            row.who,
            f"{row.events:,}",
            f"{row.events_per_s:,.0f}",
            f"{ratio(rows, row.who, FAUST):.1f}",
            f"{ratio(rows, row.who, BARE):.2g}",
            f"{row.cpu_s_per_million:.1f}",
            f"{row.rss_mib:.0f}",
            f"[bold red]{row.answer}[/]" if row.wrong else row.answer,
        )
    return table


def _assign_table(assign: Sequence[dict[str, int]]) -> Table:
    table = _table("router.assign, ns a call")
    for column in ("arms", "everybody enrolled", "half enrolled, a tenth of them held back"):
        table.add_column(column, justify="right")
    for row in assign:
        table.add_row(str(row["arms"]), str(row["ns"]), str(row["ns_ramp_and_holdback"]))
    return table


def _table(title: str) -> Table:
    """Narrow enough for 80 columns, which is what a pipe has."""
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)


def _sentence(verdict: Verdict) -> str:
    return f"{verdict.target}: {verdict.measured:.0f}, {'[green]met[/]' if verdict.met else '[bold red]NOT met[/]'}"
