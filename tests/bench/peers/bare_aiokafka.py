"""Peer: aiokafka's consumer and orjson, nothing else.

It decodes every event and joins none: the ceiling of a program that takes its records from aiokafka one by one.
"""

from __future__ import annotations

import asyncio

import orjson
from aiokafka import AIOKafkaConsumer

from streams.topics import Topics
from tests.bench.protocol import Job, Measured, Stopwatch, run_job

FETCH_BYTES = 4 << 20
"""Of one partition in one fetch. Four times the default: fewer waits for the broker."""
POLL_RECORDS = 10_000


async def decode_all(job: Job) -> Measured:
    """Read both topics until all events are decoded."""
    topics = Topics(job.prefix)
    consumer = AIOKafkaConsumer(
        topics.exposures,
        topics.rewards,
        bootstrap_servers=job.bootstrap,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    await consumer.start()
    try:
        return await _decode(consumer, job.events)
    finally:
        await consumer.stop()


async def _decode(consumer: AIOKafkaConsumer, events: int) -> Measured:
    stopwatch, decoded = None, 0
    while decoded < events:
        fetched = await consumer.getmany(timeout_ms=1000, max_records=POLL_RECORDS)
        stopwatch = stopwatch or Stopwatch()
        for records in fetched.values():
            for record in records:
                orjson.loads(record.value)
            decoded += len(records)
    assert stopwatch is not None, "no event was asked for"
    return stopwatch.measured(decoded, sums=None)


if __name__ == "__main__":
    run_job(lambda job: asyncio.run(decode_all(job)))
