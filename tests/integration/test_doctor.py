"""The doctor on a real broker: a healthy deployment, and each illness by its name."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from confluent_kafka import Producer

from allocator.spec import load_experiment
from deploy.kafka.broker import Broker
from streams.admin import ensure_topics
from streams.clients import admin_client, started
from streams.connection import Connection
from streams.doctor import Check, examine
from streams.experiments import apply
from streams.records import Reward, encode
from streams.schema import RECORDS
from streams.topics import Topics

pytestmark = pytest.mark.kafka
PARTITIONS = 4


async def healthy(kafka: Broker, prefix: str) -> tuple[Connection, Topics]:
    """Topics and one experiment."""
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    await ensure_topics(connection, topics, partitions=PARTITIONS)
    await apply(connection, topics, load_experiment("{experiment: chat, arms: [control, b], metrics: {click: binary}}"))
    return connection, topics


async def checks(connection: Connection, topics: Topics, *, fix: bool = False) -> dict[str, Check]:
    return {check.name: check for check in await examine(connection, topics, partitions=PARTITIONS, fix=fix)}


async def send(connection: Connection, topic: str, values: list[bytes], key: Callable[[bytes], bytes]) -> None:
    async with AIOKafkaProducer(**connection.aiokafka()) as producer:
        for value in values:
            await producer.send_and_wait(topic, value, key(value))


def unit(value: bytes) -> bytes:
    return str(json.loads(value)["unit"]).encode()


def rewards(count: int, **fields: Any) -> list[bytes]:
    shared = {"metric": "click", "value": 1.0, "ts": time.time()} | fields
    return [encode(Reward(unit=f"u-{i}", reward_id=f"r-{i}", **shared)) for i in range(count)]


async def test_a_healthy_deployment_has_nothing_to_mend(kafka: Broker, prefix: str) -> None:
    connection, topics = await healthy(kafka, prefix)
    await send(connection, topics.rewards, rewards(150), unit)
    weights: Any = next(record.example for record in RECORDS if record.name == "weights")
    current = msgspec.structs.replace(weights, valid_until=time.time() + 600)
    await send(connection, topics.weights, [encode(current)], lambda _: b"chat")
    found = await checks(connection, topics)
    assert {check.name: check.found for check in found.values() if check.state == "fail"} == {}
    assert [name for name, check in found.items() if check.state == "warn"] == ["lag"]
    assert found["lag"].found == "no worker has read yet, 150 records wait"
    assert "where murmur2 of the unit puts them" in found[f"partitioner of {topics.rewards}"].found
    assert found["weights of chat"].state == "ok"


async def test_lag_is_read_from_the_workers_group(kafka: Broker, prefix: str) -> None:

    connection, topics = await healthy(kafka, prefix)
    await send(connection, topics.rewards, rewards(40), unit)
    consumer = AIOKafkaConsumer(
        topics.rewards,
        **connection.aiokafka(),
        group_id=f"{prefix}-worker",
        auto_offset_reset="earliest",
        enable_auto_commit=False,  # it would commit where it stands when it stops
    )
    await consumer.start()
    ends = await consumer.end_offsets([TopicPartition(topics.rewards, i) for i in range(PARTITIONS)])
    behind, end = next((tp, end) for tp, end in ends.items() if end > 0)
    await consumer.commit(ends | {behind: end - 1})
    await consumer.stop()
    found = await checks(connection, topics)
    assert found["lag"].state == "ok"
    assert found["lag"].found == f"1 records, at most 1 in one partition ({topics.rewards}, {behind.partition})"


async def test_librdkafkas_partitioner_is_recognised(kafka: Broker, prefix: str) -> None:
    connection, topics = await healthy(kafka, prefix)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for value in rewards(60):
        producer.produce(topics.rewards, value, unit(value))
    assert producer.flush(30) == 0
    check = (await checks(connection, topics))[f"partitioner of {topics.rewards}"]
    assert check.state == "fail"
    assert "CRC32" in check.found
    assert "partitioner=murmur2_random" in check.repair
    await send(connection, topics.rewards, rewards(200), unit)
    assert (await checks(connection, topics))[check.name].state == "ok", "it is mended, and what is newest is right"


async def test_records_that_do_not_decode_and_clocks_that_are_off_are_named(kafka: Broker, prefix: str) -> None:
    connection, topics = await healthy(kafka, prefix)
    broken = [b'{"unit":"u","metric":"click","value":"high","ts":1,"reward_id":"r"}']
    await send(connection, topics.rewards, [*rewards(5, ts=time.time() + 3 * 3600 + 60), *broken], unit)
    found = await checks(connection, topics)
    assert found[f"schema of {topics.rewards}"].state == "fail"
    assert "Expected `float`, got `str` - at `$.value`" in found[f"schema of {topics.rewards}"].found
    assert found[f"clock of {topics.rewards}"].state == "warn"
    assert found[f"clock of {topics.rewards}"].found == "ts is 3 h ahead of the log's time (median of 6)"


async def test_what_can_be_mended_is_mended(kafka: Broker, prefix: str) -> None:
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    assert (await checks(connection, topics))["topics"].state == "fail"
    async with started(admin_client(connection), connection) as admin:
        await admin.create_topics([NewTopic(topics.weights, 1, 1, topic_configs={"cleanup.policy": "delete"})])
    states = [
        check.state for check in await examine(connection, topics, partitions=PARTITIONS, fix=True) if check.name == "topics"
    ]
    assert set(states) == {"ok"}
    assert (await checks(connection, topics))["topics"].state == "ok"


async def test_no_broker_is_one_failed_check() -> None:
    [check] = await examine(Connection("127.0.0.1:1"), Topics(), partitions=1)
    assert (check.name, check.state) == ("broker", "fail")
