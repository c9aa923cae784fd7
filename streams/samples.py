"""The newest records of a topic, without a consumer group and without waiting for more."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.clients import ANSWER_TIMEOUT_S, started
from streams.connection import Connection

__all__ = ["end_offsets_and_newest"]

POLL_MS = 200


async def end_offsets_and_newest(
    connection: Connection, partitions: Mapping[str, int], most: int
) -> tuple[dict[TopicPartition, int], dict[str, list[Any]]]:
    """Where every partition of the topics ends, and about the `most` newest records of each topic, by partition and offset.

    `partitions` maps an existing topic to its number of partitions. Raises Unreachable.
    """
    newest: dict[str, list[Any]] = {topic: [] for topic in partitions}
    all_partitions = [TopicPartition(topic, i) for topic, count in partitions.items() for i in range(count)]
    if not all_partitions:
        return {}, newest
    consumer = AIOKafkaConsumer(
        **connection.aiokafka(),
        request_timeout_ms=int(ANSWER_TIMEOUT_S * 1000),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    async with started(consumer, connection):
        consumer.assign(all_partitions)
        ends: dict[TopicPartition, int] = await consumer.end_offsets(all_partitions)
        begins = await consumer.beginning_offsets(all_partitions)
        for tp in all_partitions:
            share = -(-most // partitions[tp.topic])
            consumer.seek(tp, max(begins[tp], ends[tp] - share))
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            for tp in all_partitions:
                while await consumer.position(tp) < ends[tp]:
                    for source, records in (await consumer.getmany(timeout_ms=POLL_MS)).items():
                        newest[source.topic].extend(record for record in records if record.offset < ends[source])
    return ends, newest
