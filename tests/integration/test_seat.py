"""Whose seat in the group it is: a dead worker's is taken again by who has its disk; one that stops leaves it to the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from deploy.kafka.broker import Broker
from streams.identity import FILE
from streams.settings import WorkerSettings
from tests.waiting import until
from tests.workers import WorkerProcess

pytestmark = pytest.mark.kafka

SESSION = ("--session-timeout", "60")
SOONER_S = 40
"""A dead session lasts at least 45 s, as heartbeats are 15 s apart."""


def members(kafka: Broker, prefix: str) -> int:
    """How many the group has, dead ones whose session has not ended among them."""
    group = WorkerSettings(data_dir=Path(), prefix=prefix).group
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})  # must outlive the question, or there is no answer
    return len(admin.describe_consumer_groups([group])[group].result().members)


def test_a_worker_that_died_takes_its_own_seat(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    worker = WorkerProcess(kafka.bootstrap, prefix, tmp_path, *SESSION)
    with worker.running():
        worker.kill()
        worker.launch()
        until(worker.ready, SOONER_S, "it waited for the end of its own session")
        # The control: who does not know who it was waits for the dead one.
        worker.kill()
        (worker.data_dir / FILE).unlink()
        worker.launch()
        until(lambda: members(kafka, prefix) == 2, SOONER_S, "it never joined")
        assert not worker.ready()


def test_a_worker_that_stops_leaves(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    with WorkerProcess(kafka.bootstrap, prefix, tmp_path, *SESSION).running() as worker:
        assert members(kafka, prefix) == 1
        assert worker.stop() == 0
        assert members(kafka, prefix) == 0
