"""What the reference job gave, as rows with ratios, and how it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import msgspec
from rich.table import Table

from tests.bench.protocol import Measured
from tests.bench.report import Verdict, at_least, at_most, new_table
from tests.reference import Answer

__all__ = [
    "BARE",
    "FAUST",
    "FAUST_TUNED",
    "KAFKA_STREAMS",
    "QUIX",
    "WORKER",
    "WORKER_RICH",
    "Row",
    "as_tables",
    "median_row",
    "ratio",
    "row_of",
    "verdicts",
]

BARE, FAUST, FAUST_TUNED, WORKER = "bare aiokafka", "plain Faust", "tuned Faust", "this worker"
KAFKA_STREAMS, QUIX, WORKER_RICH = "Kafka Streams", "quixstreams", "this worker, rich"

TARGETS = (
    (WORKER, KAFKA_STREAMS, 2.0),
    (WORKER, QUIX, 6.0),
    (WORKER, FAUST, 80.0),
    (WORKER, BARE, 0.5),
    (WORKER_RICH, KAFKA_STREAMS, 1.5),
)
"""At least so many times the events a second."""
ASSIGN_ARMS, ASSIGN_NS_MAX = 4, 2000


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One program on one job: the median of its runs."""

    who: str
    events: int
    events_per_s: float
    cpu_s_per_million: float
    rss_mib: float
    bytes_per_event: float | None
    """Written to Kafka's logs, start-up and shut-down included; None if they cannot be looked at."""
    answer: str
    """``exact``, ``WRONG``, or ``counted`` for a program that has no more to answer than how many events there were."""
    runs: int = 1

    @property
    def wrong(self) -> bool:
        return self.answer == "WRONG"


def row_of(who: str, measured: Measured, answer: Answer, written: int | None = None) -> Row:
    """The row of a program whose answer should have been `answer`, and that wrote so many bytes."""
    right = measured.events == answer.events and (measured.sums is None or measured.sums == answer.sums)
    said = "exact" if measured.sums is not None else "counted"
    return Row(
        who=who,
        events=measured.events,
        events_per_s=measured.events / measured.seconds,
        cpu_s_per_million=measured.cpu_s / measured.events * 1e6,
        rss_mib=measured.rss_mib,
        bytes_per_event=None if written is None else written / measured.events,
        answer=said if right else "WRONG",
    )


def median_row(runs: Sequence[Row]) -> Row:
    """The runs of one program as one row, each figure the median of its own; wrong if any of them is."""
    written = [row.bytes_per_event for row in runs if row.bytes_per_event is not None]
    return Row(
        who=runs[0].who,
        events=runs[0].events,
        events_per_s=median(row.events_per_s for row in runs),
        cpu_s_per_million=median(row.cpu_s_per_million for row in runs),
        rss_mib=median(row.rss_mib for row in runs),
        bytes_per_event=median(written) if written else None,
        answer=next((row.answer for row in runs if row.wrong), runs[0].answer),
        runs=sum(row.runs for row in runs),
    )


def ratio(rows: Sequence[Row], who: str, to: str) -> float | None:
    """Events a second of one row over those of another; None if either was not run."""
    rate = {row.who: row.events_per_s for row in rows}
    return rate[who] / rate[to] if who in rate and to in rate else None


def verdicts(rows: Sequence[Row], assign: Sequence[dict[str, int]]) -> list[Verdict]:
    """What the project has promised of these figures, as far as they were measured."""
    found = [(who, to, bound, ratio(rows, who, to)) for who, to, bound in TARGETS]
    ns = [row["ns"] for row in assign if row["arms"] == ASSIGN_ARMS]
    return [
        *(at_least(f"{who}:", times, bound, f"× {to}") for who, to, bound, times in found if times is not None),
        *(at_most("router.assign", each, ASSIGN_NS_MAX, f"ns at {ASSIGN_ARMS} arms") for each in ns),
    ]


def as_tables(rows: Sequence[Row], assign: Sequence[dict[str, int]], title: str) -> list[Table]:
    """Everything, for a terminal."""
    return [_rows_table(rows, title), *([_assign_table(assign)] if assign else [])]


def _rows_table(rows: Sequence[Row], title: str) -> Table:
    """Ratios are of events a second; CPU seconds a million events; the most memory held; bytes written to Kafka an event."""
    peers = {KAFKA_STREAMS: "×KS", QUIX: "×quix", FAUST: "×Faust", BARE: "×bare"}
    compared = [who for who in peers if any(row.who == who for row in rows)]
    figures = ("events/s", *(peers[who] for who in compared), "CPU s/M", "MiB", "B/ev")
    table = new_table(title, ["who"], figures)
    table.add_column("answer", no_wrap=True)
    for row in rows:
        times = (ratio(rows, row.who, to) for to in compared)
        table.add_row(
            row.who,
            f"{row.events_per_s:,.0f}",
            *(f"{x:.3g}" if x is not None else "" for x in times),
            f"{row.cpu_s_per_million:.1f}",
            f"{row.rss_mib:.0f}",
            "–" if row.bytes_per_event is None else f"{row.bytes_per_event:.0f}",
            f"[bold red]{row.answer}[/]" if row.wrong else row.answer,
        )
    return table


def _assign_table(assign: Sequence[dict[str, int]]) -> Table:
    table = new_table("router.assign, ns a call", (), ("arms", "everybody enrolled", "half enrolled, a tenth of them held back"))
    for row in assign:
        table.add_row(str(row["arms"]), str(row["ns"]), str(row["ns_ramp_and_holdback"]))
    return table
