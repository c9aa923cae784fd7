"""Sends exposures and rewards without making the caller wait, and accounts for each one.

1. `send` checks the record as the worker will, encodes it and puts it in a bounded buffer. Nothing here waits for Kafka.
2. One task hands the buffer to aiokafka, which batches, retries for as long as Kafka is gone, and numbers the batches so that a
   retry is not stored twice.
3. A batch that the broker refuses for good leaves a hole in those numbers, and the broker would refuse every later batch of the
   partition: the client is replaced, what was refused only for the hole is sent again. Should that store a record twice, its id
   gives it away and the join drops it.

Records are keyed by the unit's UTF-8 and placed by murmur2, aiokafka's default and the one the join relies on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    UnknownProducerId,
    UnknownTopicOrPartitionError,
)
from aiokafka.structs import RecordMetadata

from allocator.errors import AllocatorError, TopicError
from streams.checks import checked, number
from streams.clients import ANSWER_TIMEOUT_S, UNREACHABLE, Unreachable
from streams.connection import Connection
from streams.records import Exposure, Reward
from streams.seam import abandon
from streams.topics import PREFIX, Topics

__all__ = ["BUFFER_MAX", "BufferFull", "EventProducer", "SendCounters", "Stopped"]

log = logging.getLogger(__name__)

BUFFER_MAX = 100_000
"""Records not yet acknowledged; at some 300 bytes each about 30 MB."""
LINGER_MS = 5
RETRY_BACKOFF_MS = 500
"""At the default of 100 an outage fills the log."""
RETRY_S = 1.0
STOP_TIMEOUT_S = 10.0

HOLE = (OutOfOrderSequenceNumber, UnknownProducerId)
"""Nothing is wrong with a record refused for these."""


class Stopped(AllocatorError):
    """Used after `stop`."""


class BufferFull(AllocatorError):
    """A record was dropped: `buffer_max` others wait for Kafka's acknowledgement."""


@dataclass(slots=True)
class SendCounters:
    """What became of the records handed over; accepted = sent + failed + pending."""

    sent: int = 0
    """Acknowledged by the broker."""
    failed: int = 0
    """Refused by the broker, or still unsent at `stop`."""
    dropped: int = 0
    """Not accepted: the buffer was full."""


class _Event(NamedTuple):
    topic: str
    key: bytes
    value: bytes
    ack: asyncio.Future[RecordMetadata]


class EventProducer:
    """Producer of exposures and rewards; use it from one event loop, with ``async with`` or `start` and `stop`.

    Parameters
    ----------
    bootstrap : HOST:PORT; without it ALLOCATOR_BOOTSTRAP, as in `Connection.from_environment`.
    prefix : of the topics' names.
    connection : in place of `bootstrap` and the environment.
    buffer_max : records that may wait for acknowledgement; beyond it new ones are dropped, counted and logged.
    clock : seconds since the epoch, for records without `ts`.
    """

    def __init__(
        self,
        bootstrap: str | None = None,
        *,
        prefix: str = PREFIX,
        connection: Connection | None = None,
        buffer_max: int = BUFFER_MAX,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.connection = connection or Connection.from_environment(bootstrap)
        self.topics = Topics(prefix)
        self.buffer_max = buffer_max
        self.counters = SendCounters()
        self._clock = clock
        self._buffer: deque[_Event] = deque()
        self._unsettled: set[asyncio.Future[RecordMetadata]] = set()
        self._wake = asyncio.Event()
        self._kafka: AIOKafkaProducer | None = None
        self._sender: asyncio.Task[None] | None = None
        self._hole = False
        self._stopped = False

    async def start(self) -> None:
        """Connect, and see that both topics exist.

        Raises
        ------
        Unreachable : no broker answered.
        TopicError : a topic is missing.
        """
        self._kafka = await self._connect()
        self._sender = asyncio.create_task(self._send_buffered(), name="send events")

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Send what is buffered, for at most `timeout_s`; what is left is counted as failed and logged."""
        self._stopped = True
        if self._sender is not None:
            try:
                async with asyncio.timeout(timeout_s):
                    await self.flush()
            except TimeoutError:
                log.error("stopped with %d events unsent: Kafka did not take them in %g s", self.pending, timeout_s)
            self._sender.cancel()
            await asyncio.wait([self._sender])
        gone = Unreachable(self.connection.bootstrap)
        for ack in list(self._unsettled):
            self._fail(ack, gone)
        if self._kafka is not None:
            await abandon(self._kafka)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    @property
    def pending(self) -> int:
        """Records accepted and neither acknowledged nor failed."""
        return len(self._unsettled)

    async def flush(self) -> None:
        """Return when every record accepted so far is acknowledged or failed. Waits for as long as Kafka is gone."""
        if self._unsettled:
            await asyncio.wait(set(self._unsettled))

    def exposure(
        self,
        experiment: str,
        unit: str,
        arm: str,
        propensity: float,
        *,
        weights_version: int = 0,
        segment: str | None = None,
        holdback: bool = False,
        covariates: Mapping[str, Any] | None = None,
        ts: float | None = None,
        exposure_id: str | None = None,
    ) -> Exposure:
        """Log that `unit` was served `arm` with `propensity`; returns the record with its `ts` and id.

        Raises
        ------
        ArgumentError : a field that the worker would refuse.
        Stopped : after `stop`.
        """
        record = Exposure(
            experiment=experiment,
            unit=unit,
            arm=arm,
            propensity=number("propensity", propensity),
            ts=self._clock() if ts is None else number("ts", ts),
            exposure_id=_new_id() if exposure_id is None else exposure_id,
            weights_version=weights_version,
            segment=segment,
            holdback=holdback,
            covariates=dict(covariates or {}),
        )
        self.send(record)
        return record

    def reward(
        self,
        unit: str,
        metric: str,
        value: float,
        *,
        ts: float | None = None,
        reward_id: str | None = None,
        experiment: str | None = None,
        exposure_id: str | None = None,
    ) -> Reward:
        """Log an observed value; returns the record with its `ts` and id. The same `reward_id` with a later `ts` corrects it.

        Raises
        ------
        ArgumentError : a field that the worker would refuse.
        Stopped : after `stop`.
        """
        record = Reward(
            unit=unit,
            metric=metric,
            value=number("value", value),
            ts=self._clock() if ts is None else number("ts", ts),
            reward_id=_new_id() if reward_id is None else reward_id,
            experiment=experiment,
            exposure_id=exposure_id,
        )
        self.send(record)
        return record

    def send(self, record: Exposure | Reward) -> asyncio.Future[RecordMetadata]:
        """Buffer a record; await the result for the broker's acknowledgement, or leave it.

        The future fails with `BufferFull`, `Unreachable` (unsent at `stop`) or the `KafkaError` the broker gave. To send more
        than the buffer holds, `flush` now and then.

        Raises
        ------
        ArgumentError : a field that the worker would refuse.
        Stopped : after `stop`.
        """
        if self._stopped:
            raise Stopped("the producer is stopped")
        value = checked(record)
        ack: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        ack.add_done_callback(_seen)
        if len(self._unsettled) >= self.buffer_max:
            self.counters.dropped += 1
            _log_sparsely(self.counters.dropped, "%d events dropped: %d wait for Kafka", self.buffer_max)
            ack.set_exception(BufferFull(f"{self.buffer_max} events wait for Kafka"))
            return ack
        topic = self.topics.exposures if isinstance(record, Exposure) else self.topics.rewards
        self._unsettled.add(ack)
        self._buffer.append(_Event(topic, record.unit.encode(), value, ack))
        self._wake.set()
        return ack

    async def _connect(self) -> AIOKafkaProducer:
        kafka = AIOKafkaProducer(
            **self.connection.aiokafka(),
            enable_idempotence=True,
            compression_type="lz4",
            linger_ms=LINGER_MS,
            retry_backoff_ms=RETRY_BACKOFF_MS,
            request_timeout_ms=int(ANSWER_TIMEOUT_S * 1000),
        )
        topic = ""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S + 1):  # aiokafka itself takes the former to give a missing topic up
                await kafka.start()
                for topic in (self.topics.exposures, self.topics.rewards):
                    await kafka.partitions_for(topic)
        except UnknownTopicOrPartitionError as error:
            await kafka.stop()
            raise TopicError(topic, "not been made", "to exist", "start a worker, or run allocator doctor --fix") from error
        except UNREACHABLE as error:
            await kafka.stop()
            raise Unreachable(self.connection.bootstrap) from error
        except BaseException:
            await kafka.stop()
            raise
        return kafka

    async def _send_buffered(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._hole:
                await self._replace_client()
            while self._buffer and not self._hole:
                await self._hand_over(self._buffer[0])

    async def _hand_over(self, event: _Event) -> None:
        """Give the oldest record to aiokafka, waiting for room in its batches; it leaves the buffer with that."""
        assert self._kafka is not None
        try:
            sent = await self._kafka.send(event.topic, event.value, event.key)
        except KafkaTimeoutError:
            return  # no room, since Kafka is gone: again
        except KafkaError as error:
            self._buffer.popleft()
            self._fail(event.ack, error)
            self._hole = not isinstance(error, MessageSizeTooLargeError)  # that one concerns no other record
        else:
            self._buffer.popleft()
            sent.add_done_callback(partial(self._settle, event))

    def _settle(self, event: _Event, sent: asyncio.Future[RecordMetadata]) -> None:
        error = None if sent.cancelled() else sent.exception()
        if event.ack not in self._unsettled:
            return
        if sent.cancelled() or error is not None:
            self._hole = True
            self._wake.set()
        if isinstance(error, HOLE) and not self._stopped:
            self._buffer.append(event)
        elif error is not None:
            self._fail(event.ack, error)
        else:
            self._unsettled.discard(event.ack)
            self.counters.sent += 1
            if not event.ack.done():  # a caller may have cancelled its wait
                event.ack.set_result(sent.result())

    def _fail(self, ack: asyncio.Future[RecordMetadata], error: BaseException) -> None:
        self._unsettled.discard(ack)
        self.counters.failed += 1
        _log_sparsely(self.counters.failed, "%d events not delivered; the last one: %s", error)
        if not ack.done():
            ack.set_exception(error)

    async def _replace_client(self) -> None:
        """Step 3 of the module's docstring."""
        assert self._kafka is not None
        await self._kafka.stop()
        while True:
            try:
                self._kafka = await self._connect()
            except (AllocatorError, KafkaError) as error:
                log.warning("%s; trying again in %g s", error, RETRY_S)
                await asyncio.sleep(RETRY_S)
            else:
                self._hole = False
                return


def _new_id() -> str:
    """128 random bits: a fifth of the time of a UUID, and as unique."""
    return os.urandom(16).hex()


def _seen(ack: asyncio.Future[RecordMetadata]) -> None:
    """Mark a failure as seen: it is counted and logged, nobody has to await it."""
    if not ack.cancelled():
        ack.exception()


def _log_sparsely(count: int, message: str, detail: object) -> None:
    """At 1, 2, 4, 8, …: the log shows that it goes on and does not fill the disk."""
    if count & (count - 1) == 0:
        log.error(message, count, detail)
