"""Reads a compacted topic as the table it is: from its beginning, then every change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from allocator.errors import TopicError
from streams.clients import ANSWER_TIMEOUT_S, UNREACHABLE, Unreachable, started
from streams.connection import Connection
from streams.seam import stop

__all__ = ["CompactedTopic", "read_compacted", "settled"]

log = logging.getLogger(__name__)

POLL_MS = 200
RETRY_S = 1.0
SETTLE_S = 0.01


class CompactedTopic:
    """Feeds every committed record of a topic to `on_record`, oldest first, without a consumer group.

    `newest` bounds how many offsets of each partition are read at the start, for a log whose distant past is of no use.
    `task` follows the topic after `start`; it outlives Kafka outages and ends only by `stop` or with the exception that
    `on_record` raised, which `stop` raises again.
    """

    def __init__(
        self, connection: Connection, topic: str, on_record: Callable[[Any], None], *, newest: int | None = None
    ) -> None:
        self.connection, self.topic, self.on_record, self.newest = connection, topic, on_record, newest
        self.task: asyncio.Task[None] | None = None
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Read up to the present end, then go on in the background.

        Raises
        ------
        Unreachable : no broker answered.
        TopicError : there is no such topic.
        """
        await self.read_to_end()
        self.task = asyncio.create_task(self._follow(), name=f"follow {self.topic}")

    async def read_to_end(self) -> None:
        """Everything committed up to now. Call once; `start` does."""
        consumer = self._consumer = AIOKafkaConsumer(
            self.topic,
            **self.connection.aiokafka(),
            request_timeout_ms=int(ANSWER_TIMEOUT_S * 1000),
            retry_backoff_ms=int(RETRY_S * 1000),  # at the default of 100 an outage fills the log
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            isolation_level="read_committed",
        )
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S + 1):  # aiokafka itself takes the former to give a missing topic up
                await consumer.start()
                consumer.pause(*consumer.assignment())  # while the broker holds a fetch, it answers nothing else
                ends = await consumer.end_offsets(consumer.assignment())
                if self.newest is not None:
                    begins = await consumer.beginning_offsets(consumer.assignment())
                    for partition, end in ends.items():
                        consumer.seek(partition, max(begins[partition], end - self.newest))
                consumer.resume(*consumer.assignment())
            for partition, end in ends.items():
                while await consumer.position(partition) < end:  # the last offset may be a transaction's marker: no record
                    await self._poll()
        except UnknownTopicOrPartitionError as error:
            await self._close()
            raise TopicError(self.topic, "not been made", "to exist", "start a worker, or run allocator doctor --fix") from error
        except UNREACHABLE as error:
            await self._close()
            raise Unreachable(self.connection.bootstrap) from error
        except BaseException:
            await self._close()
            raise

    async def settle(self) -> None:
        """After `start`: return once every record that is on the topic now has been taken, or its transaction was aborted.

        Reading goes on to where the oldest open transaction begins; this waits for its end, and through Kafka's outages.
        """
        assert self._consumer is not None, "not started"
        for partition, end in (await self._ends(self._consumer.assignment())).items():
            while not self._ended and await self._consumer.position(partition) < end:  # noqa: ASYNC110 - nobody tells of positions
                await asyncio.sleep(SETTLE_S)

    @property
    def _ended(self) -> bool:
        return self.task is None or self.task.done()

    async def _ends(self, partitions: Iterable[Any]) -> dict[Any, int]:
        """Where the log ends, with what is not committed yet."""
        while True:
            try:
                async with started(AIOKafkaConsumer(**self.connection.aiokafka()), self.connection) as reader:
                    ends: dict[Any, int] = await reader.end_offsets(partitions)
                    return ends
            except Unreachable as error:
                log.warning("%s: %s; trying again in %g s", self.topic, error, RETRY_S)
                await asyncio.sleep(RETRY_S)

    async def stop(self) -> None:
        """Leave. Raises what `on_record` raised, if it did."""
        task, self.task = self.task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        await self._close()
        if task is not None and not task.cancelled():
            task.result()

    async def _close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop(consumer)

    async def _poll(self) -> None:
        assert self._consumer is not None
        for records in (await self._consumer.getmany(timeout_ms=POLL_MS)).values():
            for record in records:
                self.on_record(record)

    async def _follow(self) -> None:
        while True:
            try:
                await self._poll()
            except KafkaError as error:
                log.warning("%s: %s; trying again in %g s", self.topic, error, RETRY_S)
                await asyncio.sleep(RETRY_S)


async def read_compacted(connection: Connection, topic: str) -> dict[bytes | None, Any]:
    """The newest record under each key, tombstones left out."""
    newest: dict[bytes | None, Any] = {}

    def keep(record: Any) -> None:
        if record.value is None:
            newest.pop(record.key, None)
        else:
            newest[record.key] = record

    reader = CompactedTopic(connection, topic, keep)
    await reader.read_to_end()
    await reader.stop()
    return newest


async def settled(connection: Connection, topic: str) -> None:
    """Return once every transaction that is on the topic now has ended, so that whoever reads next sees what was committed.

    The broker answers a commit before it writes the transaction's markers; a reader at that moment is not given its records.
    Raises Unreachable, TopicError.
    """
    reader = CompactedTopic(connection, topic, lambda _: None, newest=0)
    await reader.start()
    try:
        await reader.settle()
    finally:
        await reader.stop()
