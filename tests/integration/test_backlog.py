"""A worker that is far behind catches up within its memory, and answers meanwhile: Kafka's heartbeats, and `/ready`."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from deploy.kafka.broker import Broker
from tests.bench.sampling import Sampler
from tests.reference import Answer, fill
from tests.waiting import until
from tests.workers import WorkerProcess, arm_sums, counters

pytestmark = pytest.mark.kafka

UNITS = 60_000
QUEUE_MIB = 16
BATCH_BYTES = 32_768
"""A Kafka batch is never taken in parts: with small ones, what is held comes close to what may be held."""
ALLOWED_BYTES = 1.2 * (QUEUE_MIB << 20)
"""The limit, and a batch for each of twelve queues."""


def catch_up(kafka: Broker, prefix: str, directory: Path, queue_mib: int) -> tuple[Answer, Sampler, int, str]:
    """The answer due, how the worker did meanwhile, the most its queues held in bytes, and what it logged."""
    answer = fill(kafka.bootstrap, prefix, UNITS, batch_bytes=BATCH_BYTES)
    worker = WorkerProcess(kafka.bootstrap, prefix, directory, "--queue-mib", str(queue_mib))
    with worker.running():
        with Sampler(worker) as sampler:
            until(lambda: worker.events_read() >= answer.events, 120, worker.events_read)
            most = until(lambda: queue_bytes_max(worker), 10)
        assert worker.stop() == 0
    return answer, sampler, most, worker.log.read_text()


def queue_bytes_max(worker: WorkerProcess) -> int:
    text = httpx.get(f"{worker.url}/metrics", timeout=5).text
    return next(int(float(line.split()[-1])) for line in text.splitlines() if line.startswith("allocator_queue_bytes_max "))


def test_far_behind(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    answer, sampler, most, log = catch_up(kafka, prefix, tmp_path, QUEUE_MIB)
    assert (QUEUE_MIB << 20) / 4 < most <= ALLOWED_BYTES
    assert sampler.ready_s
    assert not sampler.not_ready, f"{sampler.not_ready} of {len(sampler.ready_s)} times"
    assert log.count("streams.tasks: assigned") == 1, "Kafka took the partitions away"
    assert arm_sums(kafka.bootstrap, prefix) == answer.sums
    assert counters(kafka.bootstrap, prefix) == {k: n for k, n in answer.counters.items() if n}


def test_with_room_for_more_it_would_hold_more(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    """Control: there was enough to fetch."""
    *_, most, _ = catch_up(kafka, prefix, tmp_path, 10 * QUEUE_MIB)
    assert most > ALLOWED_BYTES
