"""The one module that leans on private names of Faust 0.15.3 and aiokafka 0.14.0. An upgrade of either is decided here.

Three things are bent:

1. aiokafka's fetcher hands out whole record batches of the topics registered with `read_batches`, decoded by the topic's
   parser in the consumer's thread, instead of one `ConsumerRecord` a record. Other topics keep the stock path.
2. Faust's consumer yields one message a fetch and partition (`ChunkedConsumer`), so Faust's cost per message is paid once per
   thousands of records. Which partitions are fetched, and from where after a rebalance, the `Intake` says.
3. aiokafka's batch builder is filled in bulk (`build_batches`).

`tests/unit/test_seam.py` holds a contract test for each name used here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.producer.message_accumulator import BatchBuilder
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP, ConsumerMessage

__all__ = ["TRANSPORT_SCHEME", "Batch", "Intake", "build_batches", "install", "read_batches"]

TRANSPORT_SCHEME = "chunked"
FETCH_WAIT_MS = 20
"""Faust asks the broker to hold an empty fetch for 1.5 s. A fetch that names only caught-up partitions blocks the next one
to that broker for as long, which halves the throughput while others still lag."""

RECORD_OVERHEAD_BYTES = 24
BATCH_OVERHEAD_BYTES = 100


class Batch:
    """The records of one Kafka record batch as the topic's parser made them; [base, next) is the range of offsets it stands for.

    `first_ms` and `last_ms` are log times (record timestamps).
    """

    __slots__ = ("base", "count", "first_ms", "last_ms", "next", "payload")

    def __init__(self, base: int, next_: int, count: int, first_ms: int, last_ms: int, payload: Any) -> None:
        self.base, self.next, self.count = base, next_, count
        self.first_ms, self.last_ms, self.payload = first_ms, last_ms, payload


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
        out = _Batches()
        for batch in self._partition_records or ():
            out.append(batch)
            out.records += batch.count
            self._update_position()
            if max_records is not None and out.records >= max_records:
                break
        else:
            self._update_position()
            self._partition_records = None
        return out


class _Batches(list[Batch]):
    """The batches of one fetch. `len` counts records, because the fetcher subtracts it from `max_records`."""

    records = 0

    def __len__(self) -> int:
        return self.records

    def __bool__(self) -> bool:
        return super().__len__() > 0


class Intake(Protocol):
    """What the worker tells the transport; all methods run on the event loop of the app."""

    def wants(self, tp: TP) -> bool:
        """Whether more records of this partition may be fetched now."""

    def applied(self, tp: TP) -> int | None:
        """Offset to report as committed (for lag tools only)."""

    async def positions(self, assigned: set[TP]) -> Mapping[TP, int]:
        """Where each assigned partition is to be read from after a rebalance."""


class _ConsumerThread(AIOKafkaConsumerThread):  # type: ignore[misc]
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Without tables Faust picks round-robin, which does not keep a unit's exposures and rewards on one worker.
        self._assignor = self.app.assignor
        consumer._partition_assignment_strategy = [self.app.assignor]
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer


class _NothingRead(dict[TP, int]):
    """In place of Faust's offsets last read, below which it drops messages.

    A message under way when somebody seeks back sets its mark after the seek, and what is then fetched again would be dropped.
    What was read already, `streams.queues` tells.
    """

    def __getitem__(self, tp: TP) -> None:  # type: ignore[override]
        return None


class ChunkedConsumer(Consumer):  # type: ignore[misc]
    """Faust's consumer, with one message a fetch and partition: its value is the list of `Batch`es."""

    pause_s = 0.01
    """Rest after a small fetch, so that the next one is larger."""
    small_fetch_records = 2000

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._read_offset = _NothingRead()

    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        intake: Intake = self.app.intake
        generation = self.app.consumer_generation_id
        assigned = set(self._get_active_partitions())
        wanted = {tp for tp in assigned if intake.wants(tp)}
        if not wanted:  # an empty set would mean: all
            await self.sleep(0.005 if assigned else 0.1)
            return
        fetched = await self._getmany(wanted, timeout if wanted == assigned else FETCH_WAIT_MS / 1000) or {}
        records = 0
        for tp, batches in fetched.items():
            if not self.flow_active or self.should_stop or self.app.consumer_generation_id != generation:
                return  # dropped on purpose: every rebalance is followed by perform_seek
            if batches:
                records += len(batches)
                yield tp, _message(tp, batches, generation)
        if records < self.small_fetch_records:
            await self.sleep(self.pause_s)

    async def perform_seek(self) -> None:
        await self.seek_wait(dict(await self.app.intake.positions(set(self.assignment()))))

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Chunks jump offsets; Faust would expand each jump into one integer a record."""

    def _new_offset(self, tp: TP) -> int | None:
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self.app.intake.applied(tp)


def _message(tp: TP, batches: list[Batch], generation: int) -> ConsumerMessage:
    last = batches[-1]
    return ConsumerMessage(
        tp.topic, tp.partition, last.next - 1, last.last_ms / 1000, 0, [], None, batches, None, 0, 0, tp, generation_id=generation
    )


class ChunkedTransport(Transport):  # type: ignore[misc]
    """The aiokafka transport with the chunked consumer."""

    Consumer = ChunkedConsumer


def install() -> None:
    """Register the transport and the batch reader. Idempotent."""
    TRANSPORTS.aliases[TRANSPORT_SCHEME] = f"{__name__}:ChunkedTransport"
    fetcher.PartitionRecords, fetcher.FetchResult = _BatchRecords, _BatchResult


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
