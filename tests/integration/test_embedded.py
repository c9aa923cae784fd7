"""What the embedded broker must do for the demo, and that its stated limits are the true ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError

from streams.embedded import LIMITS, PARTITIONS, RETENTION_BYTES, EmbeddedBroker

READ_WAIT_S = 20.0


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as running:
        yield running


async def read(bootstrap: str, topic: str, wanted: int) -> list[bytes]:
    """The values of partition 0 from the beginning of what is kept, committed ones only, `wanted` of them."""
    partition = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level="read_committed", enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        values: list[bytes] = []
        async with asyncio.timeout(READ_WAIT_S):
            while len(values) < wanted:
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    values += [record.value for record in records]
        return values
    finally:
        await consumer.stop()


async def test_a_topic_has_four_partitions_and_starting_twice_is_starting_once(broker: EmbeddedBroker) -> None:
    assert broker.start() == broker.bootstrap
    broker.create(["a.exposures.v1", "a.exposures.v1"])
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap)
    await producer.start()
    assert await producer.partitions_for("a.exposures.v1") == set(range(PARTITIONS))
    await producer.stop()


async def test_transactions_work_but_abort_and_fence_nobody(broker: EmbeddedBroker) -> None:
    """A reader that verifies checksums gets everything; LIMITS says what it should not have got."""
    broker.create(["t"])
    producers = [AIOKafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id="one") for _ in range(2)]
    first, second = producers
    await first.start()
    async with first.transaction():
        await first.send_and_wait("t", b"committed", partition=0)
    await first.begin_transaction()
    await first.send_and_wait("t", b"aborted", partition=0)
    await first.abort_transaction()
    await second.start()
    async with first.transaction():
        await first.send_and_wait("t", b"from a former owner", partition=0)
    for producer in producers:
        await producer.stop()
    assert await read(broker.bootstrap, "t", 3) == [b"committed", b"aborted", b"from a former owner"]
    assert any("no abort and no fencing" in limit for limit in LIMITS)


async def test_a_partition_keeps_its_newest_megabytes(broker: EmbeddedBroker) -> None:
    broker.create(["big"])
    size, count = 10_000, 2 * RETENTION_BYTES // 10_000
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap)
    await producer.start()
    sent = [await producer.send("big", b"%06d" % i + bytes(size - 6), partition=0) for i in range(count)]
    await asyncio.gather(*sent)
    await producer.stop()
    first = int((await read(broker.bootstrap, "big", 1))[0][:6])
    assert (count - first) * size == pytest.approx(RETENTION_BYTES, rel=0.05)


async def test_when_it_is_stopped_nobody_answers_and_nothing_is_kept() -> None:
    broker = EmbeddedBroker()
    address = broker.start()
    broker.create(["t"])
    broker.stop()
    broker.stop()
    producer = AIOKafkaProducer(bootstrap_servers=address)
    with pytest.raises(KafkaConnectionError):
        await producer.start()
    await producer.stop()
