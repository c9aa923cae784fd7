"""A broker that takes smaller batches than the worker sends: it stops, says so, and is exact with smaller ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.kafka.broker import Broker
from streams.topics import Topics
from tests.chaos.checker import differences
from tests.chaos.job import SMALL_CHUNKS, job
from tests.chaos.schedule import EXIT_STATE_AHEAD, Runner
from tests.reference import PARTITIONS, Answer
from tests.waiting import until
from tests.workers import PROGRAM, WorkerProcess, counters, read_topic

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

UNITS = 5000
TAKEN_BYTES = 7000
"""Of batches of up to 10 000 bytes some are taken and some are not."""
FEW_BYTES = 1000
"""Hardly any."""
DEAF = ("-m", "tests.chaos.careless_worker", "--without", "outcomes")


def narrow_job(kafka: Broker, prefix: str, taken_bytes: int) -> Answer:
    """The reference job, and a changelog that does not take every batch."""
    config = {"cleanup.policy": "compact", "max.message.bytes": str(taken_bytes)}
    changelog = NewTopic(Topics(prefix).join_changelog, PARTITIONS, 1, config=config)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for done in admin.create_topics([changelog]).values():
        done.result()
    return job(kafka, prefix, UNITS)


def worker(kafka: Broker, prefix: str, directory: Path, *options: str, program: tuple[str, ...] = PROGRAM) -> WorkerProcess:
    return WorkerProcess(kafka.bootstrap, prefix, directory, *SMALL_CHUNKS, *options, program=program)


def test_a_batch_that_is_too_large(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    answer, refused = narrow_job(kafka, prefix, TAKEN_BYTES), worker(kafka, prefix, tmp_path)
    refused.launch()
    assert refused.process is not None
    assert refused.process.wait(60) == EXIT_STATE_AHEAD
    last = refused.log.read_text().splitlines()[-1]
    assert "Kafka refuses a record batch as too large: give the worker a smaller --batch-bytes, or raise" in last
    chaos = Runner(kafka, prefix, [worker(kafka, prefix, tmp_path, "--batch-bytes", str(TAKEN_BYTES))])
    with chaos.running(0):
        chaos.heal()
    assert chaos.exits == []
    assert differences(kafka.bootstrap, prefix, answer) == []


def test_without_hearing_each_batchs_outcome_what_is_published_would_be_lost(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    """The control: aiokafka commits a transaction although a batch in it was refused."""
    answer, deaf = narrow_job(kafka, prefix, FEW_BYTES), worker(kafka, prefix, tmp_path, program=DEAF)
    with deaf.running():
        until(lambda: counters(kafka.bootstrap, prefix) == answer.counters, 60, deaf.log.read_text)
        changelog = read_topic(kafka.bootstrap, Topics(prefix).join_changelog)
    units = {message.key() for message in changelog if not message.key().startswith(b"\x00")}
    assert len(units) < UNITS / 2, "all of it is published, and less than half of it is in the changelog"
