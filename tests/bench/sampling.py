"""A worker watched from outside while it works: memory, disk, what it has counted, and how soon it answers `/ready`."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import httpx
import msgspec

from tests.workers import WorkerProcess

__all__ = ["Line", "Sample", "Sampler", "averaged", "directory_bytes", "fitted"]

SAMPLE_EVERY_S = 1.0
READY_EVERY_S = 0.05
READY_TIMEOUT_S = 30.0


class Sample(msgspec.Struct, frozen=True):
    """One moment. `records` is what the stores of the join hold, dead units included, as RocksDB reckons it."""

    at_s: float
    events: int
    rss_mib: float
    disk_mib: float
    records: int
    queue_mib: float
    """Of events fetched and not counted yet, as the worker reckons it."""


class Line(msgspec.Struct, frozen=True):
    """A slope with its standard error."""

    slope: float
    error: float


class Sampler:
    """Watches while it is entered, from two threads."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.samples: list[Sample] = []
        self.ready_s: list[float] = []
        """How long each answer of /ready took."""
        self.not_ready = 0
        """How often it was not 200, or none came."""
        self._worker = worker
        self._began = time.perf_counter()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=watch, daemon=True) for watch in (self._watch_sizes, self._watch_ready)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def events(self) -> int:
        """Counted, as of the newest sample."""
        return self.samples[-1].events if self.samples else 0

    def resting(self, since_s: float, for_s: float) -> bool:
        """Whether neither disk nor records have changed for the last `for_s` of the time after `since_s`."""
        newest = self.samples[-1]
        recent = [s for s in self.samples if s.at_s >= newest.at_s - for_s]
        return newest.at_s - for_s > since_s and len({(s.records, s.disk_mib) for s in recent}) == 1

    def _watch_sizes(self) -> None:
        while not self._ended.wait(SAMPLE_EVERY_S):
            with suppress(httpx.HTTPError):  # late, and noted as such by the other thread
                self.samples.append(self._sample())

    def _sample(self) -> Sample:
        assert self._worker.process is not None
        text = httpx.get(f"{self._worker.url}/metrics", timeout=READY_TIMEOUT_S).text
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return Sample(
            at_s=time.perf_counter() - self._began,
            events=sum(int(float(v)) for name, v in values.items() if name.startswith("allocator_events_read_total{")),
            rss_mib=_rss_mib(self._worker.process.pid),
            disk_mib=directory_bytes(self._worker.data_dir) / (1 << 20),
            records=int(float(values.get('allocator_store_records{agent="join"}', 0))),
            queue_mib=float(values["allocator_queue_bytes"]) / (1 << 20),
        )

    def _watch_ready(self) -> None:
        with httpx.Client(timeout=READY_TIMEOUT_S) as client:
            while not self._ended.wait(READY_EVERY_S):
                asked_at = time.perf_counter()
                try:
                    self.not_ready += client.get(f"{self._worker.url}/ready").status_code != 200
                except httpx.HTTPError:
                    self.not_ready += 1
                self.ready_s.append(time.perf_counter() - asked_at)


def averaged(points: Sequence[tuple[float, float]], every: int) -> list[tuple[float, float]]:
    """The mean of each so many points in a row; fewer that are left over at the end are left out."""
    whole = range(0, len(points) - every + 1, every)
    return [(sum(x for x, _ in points[i : i + every]) / every, sum(y for _, y in points[i : i + every]) / every) for i in whole]


def fitted(points: Sequence[tuple[float, float]]) -> Line:
    """The least-squares line through (x, y)."""
    n = len(points)
    if n < 3:
        return Line(0.0, float("inf"))
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    residual = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    return Line(slope, (residual / (n - 2) / spread) ** 0.5)


def directory_bytes(path: Path) -> int:
    """Sizes of all files below. One that goes meanwhile counts nothing."""
    total = 0
    for file in path.rglob("*"):
        with suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


def _rss_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024
