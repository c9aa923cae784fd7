"""The reference job by this worker and by what it is compared with, on one broker in one run; and what an assignment costs.

Every program reads the same log to its end, one after the other, and its answer is checked. Each round begins and ends with
Kafka Streams, so that this worker runs between two of its runs; figures are medians over all rounds. quixstreams and Faust get
only the first units of the job, on topics of their own: their rates are steady, and two million events would take them minutes.
The rich job (three metrics, ten segments, five periods, twenty propensities) has a fourth as many exposures as events, not
half.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tests.bench import assign, rich
from tests.bench.protocol import Measured
from tests.bench.report import machine, progress, publish
from tests.bench.stage import Stage, stage
from tests.bench.table import (
    BARE,
    FAUST,
    FAUST_TUNED,
    KAFKA_STREAMS,
    QUIX,
    WORKER,
    WORKER_RICH,
    Row,
    as_tables,
    median_row,
    row_of,
    verdicts,
)
from tests.reference import Answer, fill

__all__ = ["BenchError", "add_options", "main", "run"]

ROOT = Path(__file__).resolve().parents[2]
UNITS, FAUST_EVENTS, QUIX_EVENTS = 1_000_000, 20_000, 400_000
TIMEOUT_S, FAUST_TIMEOUT_S = 420.0, 150.0
LOG_TAIL_LINES = 20


class BenchError(Exception):
    """A program of the bench ended without an answer."""


@dataclass(frozen=True, slots=True)
class Program:
    """Who runs, the module that does, and the job it gets."""

    who: str
    module: str
    job: str
    timeout_s: float = TIMEOUT_S


ROUND = (
    Program(BARE, "tests.bench.peers.bare_aiokafka", "all"),
    Program(KAFKA_STREAMS, "tests.bench.peers.kafka_streams", "all"),
    Program(WORKER, "tests.bench.worker", "all"),
    Program(WORKER_RICH, "tests.bench.worker", "rich"),
    Program(KAFKA_STREAMS, "tests.bench.peers.kafka_streams", "all"),
    Program(QUIX, "tests.bench.peers.quix", "some"),
    Program(FAUST, "tests.bench.peers.plain_faust", "few", FAUST_TIMEOUT_S),
    Program(FAUST_TUNED, "tests.bench.peers.tuned_faust", "few", FAUST_TIMEOUT_S),
)
NAMES = {
    "bare": BARE,
    "kafka-streams": KAFKA_STREAMS,
    "worker": WORKER,
    "rich": WORKER_RICH,
    "quix": QUIX,
    "faust": FAUST,
    "tuned-faust": FAUST_TUNED,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command line of this bench."""
    parser.add_argument("--units", type=int, default=UNITS, help=f"of the job: 2.04 events each (default {UNITS:,})")
    parser.add_argument("--faust-events", type=int, default=FAUST_EVENTS, help=f"for Faust, about (default {FAUST_EVENTS:,})")
    parser.add_argument("--quix-events", type=int, default=QUIX_EVENTS, help=f"for quixstreams (default {QUIX_EVENTS:,})")
    parser.add_argument("--repeat", type=int, default=1, help="rounds; figures are medians (default 1)")
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="WHO", help=f"some of: {', '.join(NAMES)}")


def main(options: argparse.Namespace) -> bool:
    """Run everything and print it. Whether every program gave an answer, and the right one."""
    before = machine()
    chosen = [NAMES[name] for name in options.only] if options.only else list(NAMES.values())
    programs = [program for program in ROUND if program.who in chosen]
    sizes = {"all": options.units, "rich": options.units // 2, "some": options.quix_events // 2, "few": options.faust_events // 2}
    with stage(options.bootstrap) as on:
        rows, failed = run_programs(on, programs, sizes, options.repeat)
    nanoseconds = []
    if not options.only:
        progress.print("router.assign …")
        nanoseconds = assign.table()
    title = (
        f"The reference job, {options.units:,} units; {before['cpus']} CPUs shared with the broker, "
        f"load {before['load_before']:.1f} before the run"
    )
    found = {"bench": "speed", "rows": rows, "failed": failed, "assign": nanoseconds, **before}
    publish(found, as_tables(rows, nanoseconds, title), verdicts(rows, nanoseconds), as_json=options.json)
    return not failed and not any(row.wrong for row in rows)


def run_programs(on: Stage, programs: list[Program], sizes: dict[str, int], repeat: int) -> tuple[list[Row], list[str]]:
    """Fill the topics, then run each program in turn: while one is measured, nothing else of the bench works.

    Returns a row each, and who gave no answer: that does not keep the others from being measured.
    """
    answers: dict[str, Answer] = {}
    for job in dict.fromkeys(program.job for program in programs):
        progress.print(f"filling topics: {sizes[job]:,} units …")
        prefix, units = f"{on.prefix}-{job}", max(1, sizes[job])
        answers[job] = rich.fill(on.bootstrap, prefix, rich.rich(units)) if job == "rich" else fill(on.bootstrap, prefix, units)
    runs: dict[str, list[Row]] = {}
    failed: list[str] = []
    for _ in range(repeat):
        for program in programs:
            try:
                row = run_program(on, program, answers[program.job])
            except BenchError as error:
                progress.print(error, style="red", markup=False)
                failed.append(program.who)
                continue
            runs.setdefault(program.who, []).append(row)
            progress.print(f"{program.who}: {row.events:,} events, {row.events_per_s:,.0f}/s, {row.answer}")
    return [median_row(of_one) for of_one in runs.values()], failed


def run_program(on: Stage, program: Program, answer: Answer) -> Row:
    """One run, from a log that nobody has read to one that holds nothing of it."""
    topics, before = on.topics(), on.written()
    command = [sys.executable, "-m", program.module, on.bootstrap, f"{on.prefix}-{program.job}", str(answer.events)]
    try:
        measured = run(command, on.directory / f"{program.module}.log", program.timeout_s)
        after = on.written()
        return row_of(program.who, measured, answer, None if before is None or after is None else after - before)
    finally:
        on.clear(keep=topics)


def run(command: list[str], log: Path, timeout_s: float = TIMEOUT_S) -> Measured:
    """The answer of one program. Raises BenchError, with the end of its log, if it gives none."""
    with log.open("wb") as stderr:
        program = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True)
        try:
            said, _ = program.communicate(timeout=timeout_s)
            if program.returncode != 0:
                raise BenchError(f"ended with {program.returncode}")
            return msgspec.json.decode(said.splitlines()[-1], type=Measured)
        except (BenchError, subprocess.TimeoutExpired, IndexError, msgspec.DecodeError) as error:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
            raise BenchError(f"{' '.join(command)}: {error}\n{tail}") from error
        finally:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)  # it may have started others
            program.wait()
