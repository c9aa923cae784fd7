"""What an event costs this worker with more experiments, more metrics and more partitions: where it bends.

One thing is varied at a time, from a job of ten experiments, one metric and four partitions. Every job has about the same
number of events, so with more metrics it has fewer units, each with a reward of every metric. CPU is of the worker alone, all
threads; its start is not in it, but publishing the moments and deciding the weights is, which is what grows with the
experiments.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from rich.table import Table

from tests.bench.report import machine, new_table, progress, publish
from tests.bench.rich import Shape, fill
from tests.bench.speed import run
from tests.bench.stage import Stage, stage
from tests.bench.table import Row, row_of

__all__ = ["add_options", "main"]

EVENTS = 400_000
AXES = {"experiments": (1, 10, 100, 1000), "metrics": (1, 3, 10, 20), "partitions": (4, 16, 64)}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command line of this bench."""
    parser.add_argument("--events", type=int, default=EVENTS, help=f"of each job, about (default {EVENTS:,})")
    parser.add_argument("--axis", choices=AXES, help="one table instead of all three")


def main(options: argparse.Namespace) -> bool:
    """Run every job and print a table an axis. Whether every answer was right."""
    before = machine()
    axes = {axis: AXES[axis] for axis in ([options.axis] if options.axis else AXES)}
    rows: dict[Shape, Row] = {}
    with stage(options.bootstrap) as on:
        for shape in {shape_of(options.events, axis, value): None for axis, values in axes.items() for value in values}:
            rows[shape] = run_shape(on, shape, len(rows))
    tables = {axis: [(value, rows[shape_of(options.events, axis, value)]) for value in values] for axis, values in axes.items()}
    found = {"bench": "cost", "tables": tables, **before}
    publish(found, [_table(axis, of_axis) for axis, of_axis in tables.items()], [], as_json=options.json)
    return not any(row.wrong for row in rows.values())


def shape_of(events: int, axis: str, value: int) -> Shape:
    """The job with one thing varied, of about so many events."""
    shape = replace(Shape(units=0), **{axis: value})
    return replace(shape, units=max(1, events // (1 + shape.metrics)))


def run_shape(on: Stage, shape: Shape, number: int) -> Row:
    """Fill topics of its own, count them, and delete them."""
    prefix, topics = f"{on.prefix}-{number}", on.topics()
    who = f"experiments {shape.experiments}, metrics {shape.metrics}, partitions {shape.partitions}"
    try:
        answer = fill(on.bootstrap, prefix, shape)
        before = on.written()
        command = [sys.executable, "-m", "tests.bench.worker", on.bootstrap, prefix, str(answer.events)]
        measured = run(command, on.directory / "worker.log")
        after = on.written()
        row = row_of(who, measured, answer, None if before is None or after is None else after - before)
    finally:
        on.clear(keep=topics)
    progress.print(f"{who}: {row.events_per_s:,.0f}/s, {row.cpu_s_per_million:.1f} µs an event, {row.answer}")
    return row


def _table(axis: str, rows: list[tuple[int, Row]]) -> Table:
    table = new_table(f"Cost against {axis}", (), (axis, "events/s", "CPU µs/event", "RSS MiB", "bytes/event", "answer"))
    for value, row in rows:
        written = "–" if row.bytes_per_event is None else f"{row.bytes_per_event:.0f}"
        answer = f"[bold red]{row.answer}[/]" if row.wrong else row.answer
        figures = (f"{row.events_per_s:,.0f}", f"{row.cpu_s_per_million:.1f}", f"{row.rss_mib:.0f}")
        table.add_row(f"{value:,}", *figures, written, answer)
    return table
