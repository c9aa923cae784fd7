"""A consumer is stopped a moment after a fetch has failed: the state in which an outage leaves a restore that is called off."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError

from deploy.kafka.broker import Broker
from streams.admin import ensure_topics
from streams.connection import Connection
from streams.seam import stop
from streams.topics import Topics

pytestmark = pytest.mark.kafka


async def resting(kafka: Broker, prefix: str) -> AIOKafkaConsumer:
    """A consumer whose fetch has failed, and rests before the next one."""
    connection, topic, failed = Connection(kafka.bootstrap), Topics(prefix).weights, asyncio.Event()
    await ensure_topics(connection, Topics(prefix), partitions=1)

    async def refused(*_: Any, **__: Any) -> None:
        failed.set()
        raise KafkaConnectionError("as in an outage")

    consumer = AIOKafkaConsumer(**connection.aiokafka(), fetch_max_wait_ms=10)
    await consumer.start()
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.position(TopicPartition(topic, 0))
    consumer._client.send, consumer._fetcher._retry_backoff = refused, 3600.0
    await failed.wait()
    for _ in range(10):  # it goes to rest without awaiting anything else
        await asyncio.sleep(0)
    return consumer


async def test_it_can_be_stopped(kafka: Broker, prefix: str) -> None:
    async with asyncio.timeout(60):
        await stop(await resting(kafka, prefix))


async def test_without_ending_its_fetches_it_cancels_whoever_stops_it(kafka: Broker, prefix: str) -> None:
    """The control: nobody has cancelled this test."""
    async with asyncio.timeout(60):
        consumer = await resting(kafka, prefix)
        with pytest.raises(asyncio.CancelledError):
            await consumer.stop()
        await consumer._client.close()
