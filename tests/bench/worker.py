"""This worker, measured from outside: `allocator worker` on an empty directory until all events are counted.

The clock starts when the worker was last seen not ready, before it fetches anything, and stops when the committed partial that
completes the count has reached a reader of the partials topic. So the first fetch, the transactions, and the up to 100 ms that
partials wait are all in it. The sums are read from the same topic.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import httpx
import msgspec
from confluent_kafka import Consumer, TopicPartition

from streams.records import COUNTERS, Partial
from streams.topics import Topics
from tests.bench.protocol import Job, Measured, peak_rss_mib, run_job
from tests.workers import WorkerProcess, arm_sums

COUNT_TIMEOUT_S = 240.0


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

    def cpu_s(self) -> float:
        """User and system time of the process so far."""
        text = httpx.get(f"{self.url}/metrics", timeout=5).text
        return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith("process_cpu_seconds_total"))


def count_all(job: Job) -> Measured:
    """Run the worker until its partials account for all events."""
    with tempfile.TemporaryDirectory() as directory:
        worker = TimedWorker(job.bootstrap, job.prefix, Path(directory))
        with worker.running():
            started_at, cpu_s = worker.not_ready_at, worker.cpu_s()
            counted = _await_counted(job)
            seconds, cpu_s = time.perf_counter() - started_at, worker.cpu_s() - cpu_s
            rss_mib = peak_rss_mib(worker.pid())
            sums = arm_sums(job.bootstrap, job.prefix)
            worker.stop()
    return Measured(events=counted, seconds=seconds, cpu_s=cpu_s, rss_mib=rss_mib, sums=sums)


def _await_counted(job: Job) -> int:
    """Follow the counters in the partials until they add up; returns what they add up to, less if the time is over."""
    topic = Topics(job.prefix).partials
    consumer = Consumer(
        {
            "bootstrap.servers": job.bootstrap,
            "group.id": "bench",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    events: dict[bytes, int] = {}
    deadline = time.monotonic() + COUNT_TIMEOUT_S
    try:
        consumer.assign([TopicPartition(topic, p, 0) for p in consumer.list_topics(topic, timeout=10).topics[topic].partitions])
        while sum(events.values()) < job.events and time.monotonic() < deadline:
            message = consumer.poll(1.0)
            key, value = (message.key(), message.value()) if message is not None and message.error() is None else (None, None)
            if key is not None and value is not None and key.endswith(b"|%d" % COUNTERS):
                events[key] = sum(msgspec.json.decode(value, type=Partial).counters.values())
    finally:
        consumer.close()
    return sum(events.values())


if __name__ == "__main__":
    run_job(count_all)
