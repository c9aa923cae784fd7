"""Whole record batches of chosen partitions, committed ones only, without a consumer group."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from allocator.errors import AllocatorError, TopicError
from streams.clients import ANSWER_TIMEOUT_S, started
from streams.connection import Connection
from streams.seam import Batch, install, read_batches

__all__ = ["Log", "Stalled", "opened"]

POLL_MS = 20
STALLED_S = 90.0
"""How long to wait for what must come. A killed worker's transaction hides it until Kafka aborts that, a minute old."""
FETCH_BYTES = 1 << 20
FETCH_WAIT_MS = 10
"""A fetch at the end of a log holds up whatever is asked next. What is waited for is there already."""


class Stalled(AllocatorError):
    """Records that are there were not sent."""

    def __init__(self, wanted: Collection[TopicPartition]) -> None:
        named = ", ".join(f"{tp.topic}, partition {tp.partition}" for tp in sorted(wanted))
        super().__init__(f"{named}: nothing came in {STALLED_S:g} s. allocator doctor tells whether the broker answers")


class Log:
    """Reads batches whose payload is the list of raw records; as `opened` gives it."""

    def __init__(self, consumer: AIOKafkaConsumer, partitions: Mapping[str, Sequence[int]]) -> None:
        self.partitions = partitions
        """Of each topic."""
        self._consumer = consumer
        # Assigned once and paused: aiokafka's close hangs when a change of the assignment has not gone through.
        every = [TopicPartition(topic, p) for topic, ps in partitions.items() for p in ps]
        consumer.assign(every)
        for tp in every:
            consumer.seek(tp, 0)
        consumer.pause(*every)

    async def begins(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Where each partition begins now."""
        found: dict[TopicPartition, int] = await self._consumer.beginning_offsets(tps)
        return found

    async def ends(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Where each partition ends now; what open transactions have written is part of it."""
        found: dict[TopicPartition, int] = await self._consumer.end_offsets(tps)
        return found

    def read_from(self, starts: Mapping[TopicPartition, int]) -> None:
        """From now on read these partitions, from there."""
        self._consumer.pause(*self._consumer.assignment())
        for tp, offset in starts.items():
            self._consumer.seek(tp, offset)
        self._consumer.resume(*starts)

    async def fetch(
        self, *wanted: TopicPartition, until: Callable[[], bool] = lambda: False
    ) -> Mapping[TopicPartition, Sequence[Batch]]:
        """The next batches of some of these partitions; none only once `until` holds. Raises Stalled."""
        asked_at = time.monotonic()
        while not (fetched := await self._consumer.getmany(*wanted, timeout_ms=POLL_MS)) and not until():
            if time.monotonic() - asked_at > STALLED_S:
                raise Stalled(wanted)
        return fetched

    async def read(self, tp: TopicPartition, start: int, end: int | None = None) -> AsyncIterator[Batch]:
        """Every batch of one partition that begins in [start, end); without `end`, to where the committed log ends by then.

        Raises
        ------
        Stalled : a transaction that began before `end` stays open.
        """
        self.read_from({tp: start})
        at, began_ms = start, time.time() * 1000

        def at_end() -> bool:
            return at >= end if end is not None else self._is_stable_end(tp, at, began_ms)

        while not at_end():
            for batch in (await self.fetch(tp, until=at_end)).get(tp, ()):
                if end is None or batch.base < end:
                    yield batch
                at = batch.next

    def _is_stable_end(self, tp: TopicPartition, offset: int, since_ms: float) -> bool:
        """Whether nothing committed was beyond when the broker last answered a fetch, which is since then."""
        if (self._consumer.last_poll_timestamp(tp) or 0) < since_ms:
            return False
        stable, high = self._consumer.last_stable_offset(tp), self._consumer.highwater(tp)
        return offset >= (stable if stable >= 0 else high)  # -1: the embedded broker knows no transactions


@asynccontextmanager
async def opened(connection: Connection, topics: Sequence[str]) -> AsyncIterator[Log]:
    """A reader of these topics. From then on every aiokafka consumer of this process gets them as batches.

    Raises
    ------
    TopicError : one of them is missing.
    Unreachable : no broker answered.
    """
    install()
    for topic in topics:
        read_batches(topic, list)
    options: dict[str, Any] = {
        **connection.aiokafka(),
        "request_timeout_ms": int(ANSWER_TIMEOUT_S * 1000),
        "enable_auto_commit": False,
        "isolation_level": "read_committed",
        "auto_offset_reset": "none",  # what retention takes while it is read is an error, not a gap
        "max_partition_fetch_bytes": FETCH_BYTES,
        "fetch_max_wait_ms": FETCH_WAIT_MS,
    }
    async with started(AIOKafkaConsumer(**options), connection) as consumer:
        yield Log(consumer, {topic: await _partitions(consumer, topic) for topic in topics})


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[int]:
    if topic not in await consumer.topics():  # asks for all of them: to name one may make the broker create it
        raise TopicError(topic, "not been made", "to exist", "start a worker, or name another --prefix")
    await consumer.end_offsets([TopicPartition(topic, 0)])  # it knows the partitions of what it was asked about
    return sorted(consumer.partitions_for_topic(topic) or ())
