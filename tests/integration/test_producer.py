"""The producer on real Kafka: each record once, through an outage and after one that the broker refuses."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import NewTopic
from aiokafka.errors import MessageSizeTooLargeError, OutOfOrderSequenceNumber

from allocator.errors import TopicError
from deploy.kafka.broker import Broker
from streams.admin import ensure_topics
from streams.clients import Unreachable, admin_client, started
from streams.connection import Connection
from streams.producer import EventProducer
from streams.records import Exposure, Reward
from streams.topics import Topics

pytestmark = pytest.mark.kafka
TIMEOUT_S = 120.0
LARGE = {f"covariate-{i}": random.Random(i).randbytes(8).hex() for i in range(200)}
"""More than 2000 bytes, also compressed."""


async def make_topics(bootstrap: str, prefix: str) -> None:
    await ensure_topics(Connection(bootstrap), Topics(prefix), partitions=1)


async def stored(bootstrap: str, topic: str) -> list[bytes]:
    """The keys of every record on the topic."""
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
        keys: list[bytes] = []
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                keys += [record.key for record in records]
        return keys


async def test_every_record_is_acknowledged_and_stored_once(kafka: Broker, prefix: str) -> None:
    await make_topics(kafka.bootstrap, prefix)
    async with EventProducer(kafka.bootstrap, prefix=prefix) as producer, asyncio.timeout(TIMEOUT_S):
        for i in range(5000):
            producer.exposure("chat", f"u-{i}", "b", 0.5)
            producer.reward(f"u-{i}", "thumbs_up", i % 2)
        await producer.flush()
        assert (producer.counters.sent, producer.counters.failed, producer.pending) == (10_000, 0, 0)
        ack = await producer.send(Reward(unit="last", metric="m", value=1.0, ts=1.0, reward_id="r-1"))
        assert (ack.topic, ack.offset) == (Topics(prefix).rewards, 5000)
    units = [b"u-%d" % i for i in range(5000)]
    assert await stored(kafka.bootstrap, Topics(prefix).exposures) == units
    assert await stored(kafka.bootstrap, Topics(prefix).rewards) == [*units, b"last"]


async def test_leaving_sends_what_is_buffered(kafka: Broker, prefix: str) -> None:
    await make_topics(kafka.bootstrap, prefix)
    async with EventProducer(kafka.bootstrap, prefix=prefix) as producer:
        producer.reward("u-1", "m", 1.0)
    assert await stored(kafka.bootstrap, Topics(prefix).rewards) == [b"u-1"]


async def make_small_topics(bootstrap: str, prefix: str) -> None:
    """Exposures of at most 2000 bytes."""
    connection = Connection(bootstrap)
    async with started(admin_client(connection), connection) as admin:
        small = NewTopic(Topics(prefix).exposures, 1, 1, topic_configs={"max.message.bytes": "2000"})
        await admin.create_topics([small])
    await make_topics(bootstrap, prefix)


async def test_a_refused_record_fails_alone(kafka: Broker, prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    await make_small_topics(kafka.bootstrap, prefix)
    async with EventProducer(kafka.bootstrap, prefix=prefix) as producer, asyncio.timeout(TIMEOUT_S):
        producer.exposure("chat", "before", "b", 0.5)
        await producer.flush()
        large = Exposure(experiment="chat", unit="large", arm="b", propensity=0.5, ts=1.0, exposure_id="e", covariates=LARGE)
        with pytest.raises(MessageSizeTooLargeError):
            await producer.send(large)
        for i in range(3):
            producer.exposure("chat", f"after-{i}", "b", 0.5)
            await producer.flush()
        assert (producer.counters.sent, producer.counters.failed) == (4, 1)
    assert await stored(kafka.bootstrap, Topics(prefix).exposures) == [b"before", b"after-0", b"after-1", b"after-2"]
    assert "1 events not delivered" in caplog.text


async def test_control_an_idempotent_client_that_is_not_replaced_fails_every_later_record(kafka: Broker, prefix: str) -> None:
    await make_small_topics(kafka.bootstrap, prefix)
    topic = Topics(prefix).exposures
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, enable_idempotence=True) as client:
        await client.send_and_wait(topic, b"before")
        with pytest.raises(MessageSizeTooLargeError):
            await client.send_and_wait(topic, bytes(3000))
        for _ in range(3):
            with pytest.raises(OutOfOrderSequenceNumber):
                await client.send_and_wait(topic, b"after")


@pytest.mark.chaos
async def test_an_outage_delays_records_and_loses_none(own_kafka: Callable[..., Broker], prefix: str) -> None:
    broker = await asyncio.to_thread(own_kafka)
    await make_topics(broker.bootstrap, prefix)
    async with EventProducer(broker.bootstrap, prefix=prefix) as producer, asyncio.timeout(TIMEOUT_S):
        producer.reward("before", "m", 1.0)
        await producer.flush()
        await asyncio.to_thread(broker.kill)
        for i in range(2000):
            producer.reward(f"u-{i}", "m", 1.0)
        assert producer.pending == 2000
        await asyncio.to_thread(broker.start)
        await producer.flush()
        assert (producer.counters.sent, producer.counters.failed) == (2001, 0)
    assert await stored(broker.bootstrap, Topics(prefix).rewards) == [b"before", *(b"u-%d" % i for i in range(2000))]


@pytest.mark.chaos
async def test_stopping_without_kafka_ends_and_says_what_was_lost(
    own_kafka: Callable[..., Broker], prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker = await asyncio.to_thread(own_kafka)
    await make_topics(broker.bootstrap, prefix)
    producer = EventProducer(broker.bootstrap, prefix=prefix)
    await producer.start()
    await asyncio.to_thread(broker.kill)
    acks = [producer.send(Reward(unit="u-1", metric="m", value=1.0, ts=1.0, reward_id=f"r-{i}")) for i in range(500)]
    async with asyncio.timeout(TIMEOUT_S):
        await producer.stop(timeout_s=0.1)
    assert (producer.counters.failed, producer.pending) == (500, 0)
    assert all(isinstance(ack.exception(), Unreachable) for ack in acks)
    assert "stopped with 500 events unsent" in caplog.text


async def test_a_missing_topic_is_named(kafka: Broker, prefix: str) -> None:
    with pytest.raises(TopicError, match=rf"{prefix}\.exposures\.v1 has not been made"):
        await EventProducer(kafka.bootstrap, prefix=prefix).start()
