"""The reference job by this worker and by what it is compared with, on one broker in one run; and what an assignment costs.

    make bench            or     python -m tests.bench [--units N] [--faust-events N] [--bootstrap HOST:PORT] [--json]

How to read it: compare ratios, and only within one run. Absolute figures follow the machine and whatever else runs on it (repeats
differ by 40 %); CPU seconds an event move least. Every program reads the same log to its end, one after the other, and its answer
is checked: a row that says WRONG has no speed worth comparing, and the exit code is then 1. Faust gets only the first units of
the job, on topics of their own, because its rate is steady and two million events would take it a quarter of an hour.

Needs Java 17 and Maven (as the tests do), unless --bootstrap names a broker to use; its topics are removed at the end.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from confluent_kafka.admin import AdminClient
from rich.console import Console

from deploy.kafka.broker import Broker, BrokerError
from tests.bench import assign
from tests.bench.protocol import Measured
from tests.bench.table import BARE, FAUST, FAUST_TUNED, WORKER, Row, as_tables, row_of, verdicts
from tests.reference import fill

ROOT = Path(__file__).resolve().parents[2]
UNITS = 1_000_000
FAUST_EVENTS = 20_000
PROGRAM_TIMEOUT_S = 300.0
LOG_TAIL_LINES = 20

progress = Console(stderr=True)


class BenchError(Exception):
    """A program of the bench ended without an answer."""


def main() -> int:
    """Run everything and print it. Returns the exit code."""
    options = _options()
    load = os.getloadavg()[0]
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as directory, _kafka(options.bootstrap, Path(directory)) as bootstrap:
            rows = run_programs(bootstrap, f"bench-{secrets.token_hex(3)}", options.units, options.faust_events, Path(directory))
    except (BenchError, BrokerError) as error:
        progress.print(error, style="red", markup=False)
        return 1
    progress.print("router.assign …")
    nanoseconds = assign.table()
    if options.json:
        found = {"rows": rows, "assign": nanoseconds, "verdicts": verdicts(rows, nanoseconds)}
        print(msgspec.json.encode({**found, "cpus": os.cpu_count(), "load_before": load}).decode())
    else:
        title = f"The reference job; {os.cpu_count()} CPUs shared with the broker, load {load:.1f} before the run"
        Console().print(as_tables(rows, nanoseconds, title))
    return 1 if any(row.wrong for row in rows) else 0


def run_programs(bootstrap: str, prefix: str, units: int, faust_events: int, directory: Path) -> list[Row]:
    """Fill the topics, then run each program in turn: while one is measured, nothing else of the bench works."""
    few = f"{prefix}-few"
    try:
        progress.print(f"filling topics: {units:,} units …")
        answers = {prefix: fill(bootstrap, prefix, units), few: fill(bootstrap, few, max(1, faust_events // 2))}
        programs = (
            (BARE, "tests.bench.peers.bare_aiokafka", prefix),
            (WORKER, "tests.bench.worker", prefix),
            (FAUST, "tests.bench.peers.plain_faust", few),
            (FAUST_TUNED, "tests.bench.peers.tuned_faust", few),
        )
        rows = []
        for who, module, topics in programs:
            answer = answers[topics]
            progress.print(f"{who}: {answer.events:,} events …")
            measured = run([sys.executable, "-m", module, bootstrap, topics, str(answer.events)], directory / f"{module}.log")
            rows.append(row_of(who, measured, answer))
        return rows
    finally:
        _delete_topics(bootstrap, prefix)


def run(command: list[str], log: Path) -> Measured:
    """The answer of one program. Raises BenchError, with the end of its log, if it gives none."""
    with log.open("wb") as stderr:
        try:
            ended = subprocess.run(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, timeout=PROGRAM_TIMEOUT_S, check=True
            )
            return msgspec.json.decode(ended.stdout.splitlines()[-1], type=Measured)
        except (subprocess.SubprocessError, IndexError, msgspec.DecodeError) as error:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
            raise BenchError(f"{' '.join(command)}: {error}\n{tail}") from error


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--units", type=int, default=UNITS, help=f"of the job: 2.04 events each (default {UNITS})")
    parser.add_argument("--faust-events", type=int, default=FAUST_EVENTS, help=f"for plain Faust, about (default {FAUST_EVENTS})")
    parser.add_argument("--bootstrap", help="a broker to use; without it one is started and removed")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    return parser.parse_args()


@contextmanager
def _kafka(bootstrap: str | None, directory: Path) -> Iterator[str]:
    """The broker given, or one of our own."""
    if bootstrap is not None:
        yield bootstrap
        return
    with Broker(directory / "kafka") as broker:
        yield broker.bootstrap


def _delete_topics(bootstrap: str, prefix: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    made = [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith(prefix)]
    for deleted in (admin.delete_topics(made) if made else {}).values():
        deleted.result()


if __name__ == "__main__":
    sys.exit(main())
