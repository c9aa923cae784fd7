"""A compacted topic as a table, on real Kafka, while somebody's transaction is open."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer

from deploy.kafka.broker import Broker
from streams.admin import ensure_topics
from streams.compacted import CompactedTopic, read_compacted
from streams.connection import Connection
from streams.topics import Topics

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("commits", [True, False], ids=["committed", "aborted"])
async def test_settling_waits_for_the_transactions_that_are_open(kafka: Broker, prefix: str, commits: bool) -> None:
    connection, topic = Connection(kafka.bootstrap), Topics(prefix).weights
    await ensure_topics(connection, Topics(prefix), partitions=1)
    seen: list[bytes] = []
    table = CompactedTopic(connection, topic, lambda record: seen.append(record.value))
    async with (
        asyncio.timeout(60),
        AIOKafkaProducer(**connection.aiokafka()) as other,
        AIOKafkaProducer(**connection.aiokafka(), transactional_id=f"{prefix}-owner") as owner,
    ):
        await other.send_and_wait(topic, b"before", b"a")
        await owner.begin_transaction()
        await owner.send_and_wait(topic, b"within", b"b")
        await other.send_and_wait(topic, b"behind", b"c")
        await table.start()
        settling = asyncio.create_task(table.settle())
        # the control: reading to the end as any reader sees it stops before what is open, and so does `start`
        assert [record.value for record in (await read_compacted(connection, topic)).values()] == [b"before"]
        assert (seen, settling.done()) == ([b"before"], False)
        await (owner.commit_transaction() if commits else owner.abort_transaction())
        await settling
        assert seen == [b"before", *([b"within"] if commits else []), b"behind"]
        await table.stop()
