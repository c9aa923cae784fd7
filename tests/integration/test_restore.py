"""A worker that is stopped or killed in the middle ends with exactly the answer of one that was not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.kafka.broker import Broker
from tests.reference import Answer, fill
from tests.waiting import until
from tests.workers import WorkerProcess, arm_sums, counters

pytestmark = pytest.mark.kafka

UNITS = 100_000
SMALL_CHUNKS = ("--chunk-records-max", "500", "--batch-bytes", "20000")
"""A chunk is then many record batches: with one batch a chunk, a crash could be harmless by luck."""


def read_events(worker: WorkerProcess) -> int:
    """Events counted so far, over all experiments."""
    names = [e["name"] for e in worker.get("/api/experiments") or []]
    details = [worker.get(f"/api/experiments/{name}") for name in names]
    return sum(detail["events_read"] for detail in details if detail)


def test_one_pass(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    answer = fill(kafka.bootstrap, prefix, UNITS)
    with WorkerProcess(kafka.bootstrap, prefix, tmp_path).running() as worker:
        assert_answer(kafka, prefix, worker, answer)
        assert worker.stop() == 0


@pytest.mark.parametrize("how", ["kill", "stop"])
@pytest.mark.parametrize("wiped", [False, True])
def test_ended_in_the_middle(kafka: Broker, prefix: str, tmp_path: Path, how: str, wiped: bool) -> None:
    answer = fill(kafka.bootstrap, prefix, UNITS)
    worker = WorkerProcess(kafka.bootstrap, prefix, tmp_path, *SMALL_CHUNKS)
    with worker.running():
        read = until(worker.events_read, 60)
        getattr(worker, how)()
        if wiped:
            worker.data_dir.rename(tmp_path / "lost")
        worker.start()
        assert_answer(kafka, prefix, worker, answer)
        assert 0 < worker.events_read() <= answer.events - read, "nothing was left to do, or what was done was done again"


def assert_answer(kafka: Broker, prefix: str, worker: WorkerProcess, answer: Answer) -> None:
    """The topics and the API say exactly what the generator does."""
    until(lambda: read_events(worker) >= answer.events, 120, lambda: f"{read_events(worker)} of {answer.events} events")
    assert arm_sums(kafka.bootstrap, prefix) == answer.sums
    assert counters(kafka.bootstrap, prefix) == {k: n for k, n in answer.counters.items() if n}
    for name, arms in answer.sums.items():
        detail = worker.get(f"/api/experiments/{name}")
        assert {arm["id"]: arm["n"] for arm in detail["arms"]} == {arm: n for arm, (n, _) in arms.items()}


def test_the_broker_is_killed_in_the_middle(own_kafka: Callable[..., Broker], prefix: str, tmp_path: Path) -> None:
    kafka = own_kafka()
    answer = fill(kafka.bootstrap, prefix, UNITS)
    with WorkerProcess(kafka.bootstrap, prefix, tmp_path, *SMALL_CHUNKS).running() as worker:
        until(worker.events_read, 60)
        kafka.kill()
        kafka.start()
        assert_answer(kafka, prefix, worker, answer)
