"""This worker, measured from outside: `allocator worker` on an empty directory until all events are counted.

The clock starts when the worker was last seen not ready, before it fetches anything, and stops when the committed partial that
completes the count has reached a reader of the partials topic. So the first fetch, the transactions, and the time that
partials wait are all in it, and the weights decided meanwhile. The sums are read from the same topic.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
from confluent_kafka import Message

from allocator.moments import layout_of
from streams.records import COUNTERS, Partial
from streams.topics import Topics
from tests.bench.following import await_sum
from tests.bench.protocol import Job, Measured, Sums, cpu_s, peak_rss_mib, run_job
from tests.workers import WorkerProcess, partials

__all__ = ["TimedWorker", "await_counted", "count_all", "partials", "sums_of"]

COUNT_TIMEOUT_S = 240.0
METRICS_MAX = 50

_decode = msgspec.json.Decoder(Partial).decode


class TimedWorker(WorkerProcess):
    """A worker that remembers when it was last found not ready."""

    not_ready_at = 0.0

    def ready(self) -> bool:
        asked_at = time.perf_counter()
        if super().ready():
            return True
        self.not_ready_at = asked_at
        return False

    def pid(self) -> int:
        """Of the running process."""
        assert self.process is not None
        return self.process.pid


def count_all(job: Job) -> Measured:
    """Run the worker until its partials account for all events."""
    with tempfile.TemporaryDirectory() as directory:
        worker = TimedWorker(job.bootstrap, job.prefix, Path(directory))
        with worker.running():
            started_at, cpu = worker.not_ready_at, cpu_s(worker.pid())
            counted = await_counted(job.bootstrap, job.prefix, job.events)
            seconds, cpu = time.perf_counter() - started_at, cpu_s(worker.pid()) - cpu
            rss_mib = peak_rss_mib(worker.pid())
            sums = sums_of(partials(job.bootstrap, job.prefix))
            worker.stop()
    return Measured(events=counted, seconds=seconds, cpu_s=cpu, rss_mib=rss_mib, sums=sums)


def await_counted(bootstrap: str, prefix: str, events: int) -> int:
    """Follow the counters in the partials until they add up; returns what they add up to, less if the time is over."""
    return await_sum(bootstrap, Topics(prefix).partials, events, _counted, COUNT_TIMEOUT_S, lambda: None)


def _counted(message: Message) -> int | None:
    key, value = message.key() or b"", message.value()
    return sum(_decode(value).counters.values()) if value is not None and key.endswith(b"|%d" % COUNTERS) else None


def sums_of(newest: Iterable[Partial]) -> Sums:
    """{experiment: {arm: [n, a metric's sum, …]}} over all partitions, periods, segments and propensities."""
    metrics_of = {layout_of(metrics).length: metrics for metrics in range(1, METRICS_MAX + 1)}
    sums: Sums = {}
    for partial in newest:
        arms = sums.setdefault(partial.experiment, {})
        if (cell := partial.cell) is not None:
            own = cell.sums[: 1 + metrics_of[len(cell.sums)]]
            known = arms.get(cell.arm)
            arms[cell.arm] = own if known is None else [a + b for a, b in zip(known, own, strict=True)]
    return sums


if __name__ == "__main__":
    run_job(count_all)
