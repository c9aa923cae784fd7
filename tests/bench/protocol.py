"""What a program of the bench is asked and what it answers. Python or not, every peer keeps to this.

    PROGRAM BOOTSTRAP PREFIX EVENTS

It reads the topics `<prefix>.exposures.v1` and `<prefix>.rewards.v1` from the beginning, stops once it has counted EVENTS events,
exits 0, and its last line on standard output is one JSON object:

    {"events": 2040014, "seconds": 8.1, "cpu_s": 9.9, "rss_mib": 310.5, "sums": {"exp-0": {"a": [25021, 2498], …}, …}}

- `seconds` and `cpu_s` (user and system, all threads) are from the first event to the last one counted, without the start-up.
- `rss_mib` is the most memory the process ever held.
- `sums` is {experiment: {arm: [units exposed, sum of their rewards]}}, or null if the peer counts events and nothing else.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

__all__ = ["Job", "Measured", "Stopwatch", "Sums", "cpu_s", "peak_rss_mib", "run_job"]

Sums = dict[str, dict[str, list[int]]]


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A program's answer."""

    events: int
    seconds: float
    cpu_s: float
    rss_mib: float
    sums: Sums | None


class Job(msgspec.Struct, frozen=True):
    """What a program is asked."""

    bootstrap: str
    prefix: str
    events: int


class Stopwatch:
    """Wall and CPU time of this process since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def measured(self, events: int, sums: Sums | None) -> Measured:
        """The answer, if the last event has just been counted."""
        seconds, cpu_s = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return Measured(events=events, seconds=seconds, cpu_s=cpu_s, rss_mib=peak_rss_mib(), sums=sums)


def peak_rss_mib(pid: int | str = "self") -> float:
    """Most memory a running process ever held, from Linux's /proc: getrusage would count what its parent held at the fork."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def cpu_s(pid: int) -> float:
    """User and system time of a running process so far, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()  # the name before may hold blanks
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_job(measure: Callable[[Job], Measured]) -> None:
    """The main program of a peer in Python: arguments in, answer out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap")
    parser.add_argument("prefix")
    parser.add_argument("events", type=int)
    answer = measure(Job(**vars(parser.parse_args())))
    print(msgspec.json.encode(answer).decode(), flush=True)
