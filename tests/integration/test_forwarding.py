"""Events of producers that partition otherwise than Kafka's own: each comes to its unit's partition once and is counted there."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path

import httpx
import orjson
import pytest
from confluent_kafka import Producer

from deploy.kafka.broker import Broker
from streams.connection import Connection
from streams.doctor import examine
from streams.partitioning import partition_of
from streams.topics import Topics
from tests.forwarding import moves
from tests.reference import ARMS, PARTITIONS, START_TS, fill
from tests.waiting import until
from tests.workers import WorkerProcess, arm_sums, counters

pytestmark = pytest.mark.kafka

UNITS = 4000
TIMEOUT_S = 60.0

WITHOUT_FORWARDING = """
import streams.join.agent
from streams.cli import main

streams.join.agent.homes = lambda units, partition, partitions: {}
main()
"""
TO_THE_HIGH_WATER_MARK = """
from streams.cli import main
from streams.seam.faust import _ConsumerThread

_ConsumerThread.highwater = lambda thread, tp: thread._ensure_consumer().highwater(tp)
main()
"""
"""Only who has read what nobody has committed yet is then at the end."""


def counted(kafka: Broker, prefix: str, events: int) -> None:
    """Return when so many events have an outcome."""
    until(lambda: sum(counters(kafka.bootstrap, prefix).values()) >= events, TIMEOUT_S, lambda: counters(kafka.bootstrap, prefix))


def test_rewards_sent_with_librdkafkas_default_are_counted_once(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    answer, topics = fill(kafka.bootstrap, prefix, UNITS, by_default=["rewards"]), Topics(prefix)
    before = moves(kafka.bootstrap, prefix)
    assert len(before.astray) == answer.counters["rewards.forwarded"] > UNITS / 2
    shown = f'allocator_events{{outcome="forwarded",topic="{topics.rewards}"}} {float(len(before.astray))}'
    with WorkerProcess(kafka.bootstrap, prefix, tmp_path).running() as worker:
        counted(kafka, prefix, answer.events)
        until(lambda: shown in httpx.get(f"{worker.url}/metrics").text, TIMEOUT_S, shown)
        assert worker.stop() == 0
    assert arm_sums(kafka.bootstrap, prefix) == answer.sums
    assert counters(kafka.bootstrap, prefix) == {name: n for name, n in answer.counters.items() if n}
    after = moves(kafka.bootstrap, prefix)
    assert (sorted(after.forwarded), sorted(after.astray), after.changed) == (sorted(before.astray), sorted(before.astray), [])
    assert "are on the wrong partition, and are forwarded" in worker.log.read_text()
    checks = {c.name: c for c in asyncio.run(examine(Connection(kafka.bootstrap), topics, partitions=PARTITIONS))}
    assert checks[f"partitioner of {topics.exposures}"].state == "ok"
    assert "librdkafka's default" in checks[f"partitioner of {topics.rewards}"].found


def test_without_forwarding_they_would_miss_their_exposures(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    answer = fill(kafka.bootstrap, prefix, UNITS, by_default=["rewards"])
    missed = answer.counters.pop("rewards.forwarded")
    with WorkerProcess(kafka.bootstrap, prefix, tmp_path, program=("-c", WITHOUT_FORWARDING)).running():
        counted(kafka, prefix, answer.events)
    found = counters(kafka.bootstrap, prefix)
    assert found["rewards.waiting"] + found["rewards.duplicate"] >= missed
    assert found["rewards.applied"] < answer.counters["rewards.applied"] / 2
    assert arm_sums(kafka.bootstrap, prefix) != answer.sums


@pytest.mark.parametrize("program", [("-m", "streams.cli"), ("-c", TO_THE_HIGH_WATER_MARK)], ids=["protected", "control"])
def test_a_neighbours_open_transaction_holds_nobody_up(
    kafka: Broker, prefix: str, tmp_path: Path, program: tuple[str, str]
) -> None:
    """Forwarding opens transactions on other partitions' sources: what is behind them cannot be read, the rest must go on."""
    topics, sent = Topics(prefix), fill(kafka.bootstrap, prefix, 100).events
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "partitioner": "murmur2_random"})
    neighbour = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": prefix, "partitioner": "murmur2_random"})
    (held,), (free, other) = units_of(0, 1), units_of(1, 2)
    with WorkerProcess(kafka.bootstrap, prefix, tmp_path, program=program).running():
        for unit in (held, free):
            send(producer, topics.exposures, unit)
        counted(kafka, prefix, sent + 2)
        neighbour.init_transactions(TIMEOUT_S)
        neighbour.begin_transaction()
        send(neighbour, topics.exposures, held)
        send(producer, topics.exposures, other)  # when this is read, the worker has been told of the open transaction, too
        counted(kafka, prefix, sent + 3)
        for unit in (held, free):
            send(producer, topics.rewards, unit)
        goes_on = program[0] == "-m"
        counted(kafka, prefix, sent + 4 + goes_on)
        if not goes_on:
            send(producer, topics.rewards, other)
            counted(kafka, prefix, sent + 5)
        neighbour.commit_transaction(TIMEOUT_S)
        counted(kafka, prefix, sent + 6 + (not goes_on))
    assert counters(kafka.bootstrap, prefix)["exposures.duplicate"] > 0


def units_of(partition: int, number: int) -> list[str]:
    """Units of that partition."""
    units = (f"n-{i}" for i in count())
    return [next(unit for unit in units if partition_of(unit, PARTITIONS) == partition) for _ in range(number)]


def send(producer: Producer, topic: str, unit: str) -> None:
    """The unit's exposure or reward in the first experiment, on the broker."""
    fields = {"unit": unit, "experiment": "exp-0", "ts": START_TS}
    exposure = {"arm": ARMS[0], "propensity": 0.25, "exposure_id": f"x-{unit}"}
    reward = {"metric": "thumbs_up", "value": 1, "reward_id": f"r-{unit}"}
    producer.produce(topic, orjson.dumps(fields | (exposure if "exposures" in topic else reward)), unit)
    assert producer.flush(TIMEOUT_S) == 0
