"""aiokafka, bent: consumers that hand out whole record batches, fetches that do not hold up what lags, batches filled in bulk.

1. The fetcher hands out whole record batches of the topics registered with `read_batches`, decoded by the topic's parser in the
   consumer's thread, instead of one `ConsumerRecord` a record. Other topics keep the stock path.
2. A fetch that leaves partitions out, because what it brought for them before is not taken yet, does not wait at the broker.
3. The batch builder is filled from below (`build_batches`), a producer can be closed without its last wait (`abandon`), and one
   that was fenced keeps quiet about it (`forget_transaction`).
4. A consumer can be stopped while a fetch has just failed (`end_fetches`, `stop`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.consumer import consumer, fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.producer.message_accumulator import BatchBuilder

__all__ = [
    "Batch",
    "Room",
    "abandon",
    "build_batches",
    "end_fetches",
    "forget_transaction",
    "install",
    "read_batches",
    "stop",
]

PARTIAL_FETCH_WAIT_MS = 20
"""How long the broker may hold an empty fetch that leaves partitions out. The fetcher has one fetch under way to a broker: the
next one, that names them again, has to wait for it, which at `fetch_max_wait_ms` halves the throughput while they lag."""

RECORD_OVERHEAD_BYTES = 24
BATCH_OVERHEAD_BYTES = 100


def install() -> None:
    """Have every consumer of this process made from the classes below. Idempotent."""
    fetcher.PartitionRecords, fetcher.FetchResult = _BatchRecords, _BatchResult
    consumer.Fetcher = _Fetcher


class Batch:
    """The records of one Kafka record batch as the topic's parser made them; [base, next) is the range of offsets it stands for.

    `first_ms` and `last_ms` are log times (record timestamps).
    """

    __slots__ = ("base", "count", "first_ms", "last_ms", "next", "payload")

    def __init__(self, base: int, next_: int, count: int, first_ms: int, last_ms: int, payload: Any) -> None:
        self.base, self.next, self.count = base, next_, count
        self.first_ms, self.last_ms, self.payload = first_ms, last_ms, payload


class Room(int):
    """How many records a poll may take in all; and, beyond what aiokafka knows, of `each` partition. Both are at least 1."""

    each: int

    def __new__(cls, total: int, each: int) -> Room:
        room = super().__new__(cls, total)
        room.each = each
        return room

    def __sub__(self, taken: int) -> Room:
        """What is left when one partition's are taken."""
        return Room(int(self) - taken, self.each)


Parser = Callable[[list[Any]], Any]
_parsers: dict[str, Parser] = {}


def read_batches(topic: str, parse: Parser) -> None:
    """From now on consumers in this process get `topic` as `Batch`es; `parse` makes the payload of the raw records."""
    _parsers[topic] = parse


class _BatchRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    next_fetch_offset: int

    def _unpack_records(self) -> Iterator[Any]:
        parse = _parsers.get(self._tp.topic)
        return super()._unpack_records() if parse is None else self._unpack_batches(parse)

    def _unpack_batches(self, parse: Parser) -> Iterator[Batch]:
        """Batches whose ranges touch: what no reader may see (markers, aborted or compacted records) is part of the one before.

        A batch is held back until the next one, or the end of the fetch, has shown how far its range goes. What is hidden at the
        beginning of a fetch is part of the first batch; a fetch that is all hidden is one batch without records.
        """
        held: Batch | None = None
        begin = at = self.next_fetch_offset
        first_ms = last_ms = 0
        while self._records.has_next():
            raw = self._records.next_batch()
            if self._check_crcs and not raw.validate_crc():
                raise CorruptRecordException(f"Invalid CRC - {self._tp}")
            hidden = self._aborted(raw) or raw.is_control_batch
            first_ms, last_ms = first_ms or raw.first_timestamp, raw.max_timestamp
            records = [] if hidden else [r for r in raw if r.offset >= at] if raw.base_offset < at else list(raw)
            if records:
                if held is not None:
                    self.next_fetch_offset = begin = held.next
                    yield held
                held = Batch(begin, raw.next_offset, len(records), records[0].timestamp, last_ms, parse(records))
            elif held is not None:
                held.next = raw.next_offset
            at = raw.next_offset
        self.next_fetch_offset = at
        if held is None and at > begin:
            held = Batch(begin, at, 0, first_ms, last_ms, parse([]))
        if held is not None:
            yield held

    def _aborted(self, batch: Any) -> bool:
        """Whether the batch belongs to an aborted transaction that this reader must not see."""
        if self._isolation_level != fetcher.READ_COMMITTED or batch.producer_id is None:
            return False
        self._consume_aborted_up_to(batch.base_offset)
        if batch.is_control_batch and self._contains_abort_marker(batch):
            self._aborted_producers.discard(batch.producer_id)
        return bool(batch.is_transactional and batch.producer_id in self._aborted_producers)


class _BatchResult(fetcher.FetchResult):  # type: ignore[misc]
    _partition_records: _BatchRecords | None

    def getall(self, max_records: int | None = None) -> Any:
        if self._topic_partition.topic not in _parsers:
            return super().getall(max_records)
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        out, most = _Batches(), max_records
        if isinstance(max_records, Room):
            most = min(max_records, max_records.each)
        for batch in self._partition_records or ():
            out.append(batch)
            out.records += batch.count
            self._update_position()
            if most is not None and out.records >= most:
                break
        else:
            self._update_position()
            self._partition_records = None
        if max_records is not None:  # the last batch may have more, and the fetcher takes no debts
            out.records = min(out.records, max_records)
        return out


class _Batches(list[Batch]):
    """The batches of one fetch. `len` counts records, because the fetcher subtracts it from `max_records`."""

    records = 0

    def __len__(self) -> int:
        return self.records

    def __bool__(self) -> bool:
        return super().__len__() > 0


class _Fetcher(fetcher.Fetcher):  # type: ignore[misc]
    @property
    def _fetch_max_wait_ms(self) -> int:
        """Read for each request. Records still held are of partitions that the request leaves out."""
        return min(self._whole_fetch_wait_ms, PARTIAL_FETCH_WAIT_MS) if self._records else self._whole_fetch_wait_ms

    @_fetch_max_wait_ms.setter
    def _fetch_max_wait_ms(self, wait_ms: int) -> None:
        self._whole_fetch_wait_ms = wait_ms


def build_batches(
    producer: AIOKafkaProducer, keys: Sequence[bytes], values: Sequence[bytes | None], timestamp_ms: int, limit_bytes: int
) -> list[BatchBuilder]:
    """Closed record batches holding all the records in order, each of at most about `limit_bytes`.

    Goes around the builder's Python wrapper: 0.4 µs a record instead of 1.5.
    """
    batches: list[BatchBuilder] = []
    todo: deque[tuple[Sequence[bytes], Sequence[bytes | None]]] = deque([(keys, values)] if keys else [])
    while todo:
        ks, vs = todo.popleft()
        size = BATCH_OVERHEAD_BYTES + RECORD_OVERHEAD_BYTES * len(ks) + sum(map(len, ks)) + sum(len(v) for v in vs if v)
        if size > limit_bytes:
            if len(ks) == 1:  # the builder would take it, and the broker refuse it when the rest is on its way
                raise ValueError(f"a record of {size} bytes does not fit a batch of {limit_bytes} bytes")
            half = len(ks) // 2
            todo.extendleft([(ks[half:], vs[half:]), (ks[:half], vs[:half])])
            continue
        batch = producer.create_batch()
        appended = map(batch._builder.append, range(len(ks)), repeat(timestamp_ms), ks, vs, repeat([]))
        if not all(appended):  # None: full, and the rest would vanish silently
            raise ValueError(f"{len(ks)} records of {size} bytes do not fit one of the producer's batches")
        batch._relative_offset = len(ks)
        batch.close()
        batches.append(batch)
    return batches


async def stop(consumer: AIOKafkaConsumer) -> None:
    """Stop it, whatever its fetches are at."""
    await end_fetches(consumer)
    await consumer.stop()


async def end_fetches(consumer: AIOKafkaConsumer) -> None:
    """Cancel what it is fetching, before it is stopped.

    aiokafka awaits what it cancels, and a fetch that failed a moment ago and rests raises CancelledError then. Whoever stopped
    the consumer would take it for their own, and end without a word.
    """
    if (of := consumer._fetcher) is None:
        return
    of._fetch_task.cancel()  # it would begin others
    await asyncio.wait([of._fetch_task])
    for fetch in of._pending_tasks:
        fetch.cancel()
    if of._pending_tasks:
        await asyncio.wait(of._pending_tasks)
    of._pending_tasks.clear()


async def abandon(producer: AIOKafkaProducer) -> None:
    """Close without sending what is left: aiokafka's own `stop` waits for Kafka without end."""
    producer._closed = True
    await producer._sender.close()
    await producer.client.close()


def forget_transaction(producer: AIOKafkaProducer) -> None:
    """Take the error of a transaction that ended by itself, which has been raised already: unseen, it is printed at the exit."""
    waiter = producer._txn_manager.wait_for_transaction_end()
    if waiter is not None and waiter.done() and not waiter.cancelled():
        waiter.exception()
