"""Peer: aiokafka's consumer and orjson, nothing else. It decodes every event and joins none: the ceiling for a program on aiokafka."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.topics import Topics
from tests.bench.protocol import Job, Measured

FETCH_BYTES = 4 << 20
"""Of one partition in one fetch: more than the default of 1 MiB, so that the broker's latency hides."""
POLL_RECORDS = 10_000


async def decode_all(job: Job) -> Measured:
    """Read until all events are decoded."""
    topics = Topics(job.prefix)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=job.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False, max_partition_fetch_bytes=FETCH_BYTES
    )
    await consumer.start()
    try:
        sources = (topics.exposures, topics.rewards)
        consumer.assign([TopicPartition(topic, p) for topic in sources for p in await consumer._client.fetch_all_metadata() and ()])
        return await _decode(consumer, job.events)
    finally:
        await consumer.stop()
