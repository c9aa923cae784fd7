"""Runs `allocator worker` as its user does: a process of its own, looked at through HTTP and its topics."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
from confluent_kafka import Consumer, TopicPartition

from deploy.kafka.broker import _free_port as free_port  # none that a client gets while the worker is down
from streams.records import COUNTERS, Partial
from streams.topics import Topics
from tests.waiting import until

__all__ = ["WorkerProcess", "arm_sums", "counters", "read_topic"]

READY_TIMEOUT_S = 60.0
PROGRAM = ("-m", "streams.cli")


class WorkerProcess:
    """One worker that can be killed and started again on the same data directory and port: it is then the same for Kafka.

    `program` is what Python runs in place of the command line; it takes the same arguments.
    """

    def __init__(self, bootstrap: str, prefix: str, directory: Path, *options: str, program: Sequence[str] = PROGRAM) -> None:
        self.data_dir, self.log = directory / "data", directory / "worker.log"
        directory.mkdir(parents=True, exist_ok=True)
        self._command = [
            *(sys.executable, *program, "worker", "--bootstrap", bootstrap, "--prefix", prefix),
            *("--data-dir", str(self.data_dir), *options),
        ]  # fmt: skip
        self.url = f"http://127.0.0.1:{free_port()}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> WorkerProcess:
        """Start, and return once its state is restored."""
        self.launch()
        until(self.ready, READY_TIMEOUT_S, lambda: self.log.read_text()[-3000:])
        return self

    def launch(self) -> None:
        """Start, and return at once."""
        port = self.url.rpartition(":")[2]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*self._command, "--web-port", port], stdout=log, stderr=subprocess.STDOUT)

    def ready(self) -> bool:
        """Whether /ready says so. AssertionError if the process ended."""
        assert self.process is not None
        assert self.process.poll() is None, f"worker ended with {self.process.returncode}: {self.log.read_text()[-3000:]}"
        try:
            return httpx.get(f"{self.url}/ready", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def get(self, path: str) -> Any:
        """JSON of an API path; None for anything but 200."""
        try:
            answer = httpx.get(f"{self.url}{path}", timeout=5)
        except httpx.HTTPError:
            return None
        return answer.json() if answer.status_code == 200 else None

    def events_read(self) -> int:
        """Events read since this process started, both topics."""
        try:
            text = httpx.get(f"{self.url}/metrics", timeout=5).text
        except httpx.HTTPError:
            return 0
        return sum(int(float(line.split()[-1])) for line in text.splitlines() if line.startswith("allocator_events_read_total{"))

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGTERM)
        return self.process.wait(timeout=30)

    @contextmanager
    def running(self) -> Iterator[WorkerProcess]:
        """Started, and ended with the block."""
        try:
            yield self.start()
        finally:
            if self.process is not None and self.process.poll() is None:
                self.kill()


def read_topic(bootstrap: str, topic: str, isolation: str = "read_committed") -> list[Any]:
    """Every record up to the end as it is now, as confluent-kafka messages; only committed ones unless asked otherwise."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "test-reader",
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        partitions = list(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
        messages, ended, deadline = [], 0, time.monotonic() + 60
        while ended < len(partitions):
            assert time.monotonic() < deadline, f"{topic} was not read to its end"
            for message in consumer.consume(1000, 0.05):  # which waits as long for records that will not come
                if message.error():
                    ended += 1
                else:
                    messages.append(message)
        return messages
    finally:
        consumer.close()


def partials(bootstrap: str, prefix: str) -> list[Partial]:
    """The newest partial under each key: what any reader of the topic sees."""
    newest = {m.key(): m.value() for m in read_topic(bootstrap, Topics(prefix).partials)}
    return [msgspec.json.decode(value, type=Partial) for value in newest.values()]


def arm_sums(bootstrap: str, prefix: str) -> dict[str, dict[str, list[int]]]:
    """{experiment: {arm: [n, sum of the first metric]}} over all partials."""
    sums: dict[str, dict[str, list[int]]] = {}
    for partial in partials(bootstrap, prefix):
        if (cell := partial.cell) is not None:
            arm = sums.setdefault(partial.experiment, {}).setdefault(cell.arm, [0, 0])
            arm[0] += cell.sums[0]
            arm[1] += cell.sums[1]
    return sums


def counters(bootstrap: str, prefix: str) -> dict[str, int]:
    """Events by outcome over all experiments and partitions."""
    total: Counter[str] = Counter()
    for partial in partials(bootstrap, prefix):
        if partial.period == COUNTERS:
            total.update(partial.counters)
    return dict(total)
