"""The exactly-counted state of one partition, and the protocol that keeps it so.

Commit of one chunk
    1. The caller folds the chunk's records, those below the applied offsets dropped, into changed keys and outputs.
    2. Begin the partition's transaction. Its id (one a partition) fences any former owner.
    3. Send the changed keys and the checkpoint (which holds the applied source offsets) to the changelog, and the outputs to
       their topics. Await every batch: aiokafka would commit the transaction without one that failed. Offsets below those
       written before are of another changelog: raise.
    4. Commit. From here on the chunk is counted.
    5. Write the same keys and the changelog position to RocksDB, atomically. A crash before this is repaired by restore.

Restore
    1. Start the transactional producer: it fences the former owner and ends its open transaction.
    2. Open RocksDB. Another changelog's id, or a position that is unknown or outside the changelog, means the store is not of
       this log: wipe it. Also if it was last whole so long ago that compaction may have removed tombstones
       since: what they deleted would live on in it.
    3. Apply the changelog from the position to the last stable offset.
    4. Hand the checkpoint to the caller, who seeks the sources to its applied offsets. Raise if these offsets are of a source
       deleted since, or if there is no checkpoint and a source no longer has its first records (`origin`).

Whatever raises in a commit leaves memory ahead of the log: the owner must stop and restore, never go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import ProducerFenced

from allocator.errors import Fenced, StateError
from streams.connection import Connection
from streams.seam import Batch, build_batches, read_batches, stop
from streams.state.origin import UNCHECKED, Checkpoint, Origin, continued, require_whole
from streams.state.store import Store, StoreMemory

__all__ = ["Ledger", "LedgerSettings", "Output"]

log = logging.getLogger(__name__)

CHECKPOINT = b"\x00checkpoint"
CHANGELOG = b"\x00changelog"
"""Local only: the id of the changelog this store was restored from."""
WHOLE_AT = b"\x00whole-at"
"""Local only: when, in milliseconds since the epoch, this store last held all that its changelog does."""
TOMBSTONES_KEPT_MS = 86_400_000
"""Kafka's default."""
RESTORE_POLL_MS = 20
"""Short: the tail of a committed log may hold only a transaction marker, which no poll returns."""


@dataclass(frozen=True, slots=True)
class Output:
    """One record to publish together with a commit."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """What all ledgers of a worker share."""

    connection: Connection
    directory: Path
    batch_bytes: int = 1_000_000
    """The broker takes 1 MiB by default and refuses a larger batch late."""
    transaction_timeout_ms: int = 60_000
    tombstones_kept_ms: int = TOMBSTONES_KEPT_MS
    """The changelogs' delete.retention.ms: of what was deleted longer ago, compaction may have removed every trace."""
    memory: StoreMemory = field(default_factory=StoreMemory)


class Ledger:
    """State of partition `partition` of the agent `name`, changelogged to `changelog`."""

    def __init__(
        self, name: str, partition: int, changelog: str, group: str, settings: LedgerSettings, origin: Origin = UNCHECKED
    ) -> None:
        self.name, self.partition, self.changelog = name, partition, changelog
        self.checkpoint = Checkpoint()
        self.restored_records = 0
        self.restore_s = 0.0
        self._settings, self._origin = settings, origin
        self._position = 0
        self._source_begins: dict[str, int] = {}
        self._transactional_id = f"{group}-{name}-{partition}"
        self._path = settings.directory / f"{name}-{partition}"
        self._producer: AIOKafkaProducer | None = None
        self._store: Store | None = None
        read_batches(changelog, list)

    @property
    def store(self) -> Store:
        """The open store, for look-ups."""
        assert self._store is not None, "the ledger is not open"
        return self._store

    async def open(self, cancelled: Callable[[], bool] = lambda: False) -> bool:
        """Fence the former owner and restore. False when `cancelled` turned true on the way."""
        started = time.perf_counter()
        settings = self._settings
        self._producer = AIOKafkaProducer(
            **settings.connection.aiokafka(),
            transactional_id=self._transactional_id,
            transaction_timeout_ms=settings.transaction_timeout_ms,
            max_batch_size=settings.batch_bytes + 1000,
            linger_ms=0,
        )
        await self._producer.start()
        self._store = Store(self._path, settings.memory)
        if not await self._replay(cancelled):
            return False
        self._position = self.store.position or 0
        await self._take_checkpoint()
        self.restore_s = time.perf_counter() - started
        log.info(
            "%s %d: restored %d records in %.2f s, applied %s",
            self.name, self.partition, self.restored_records, self.restore_s, self.checkpoint.applied,
        )  # fmt: skip
        return True

    async def _take_checkpoint(self) -> None:
        """Step 4 of restore."""
        stored = self.store.get(CHECKPOINT)
        if stored is None:
            require_whole(self._origin, self._source_begins, self.partition)
            self.checkpoint = Checkpoint(epoch=int(time.time() * 1000), sources=self._origin.source_ids())
            return
        found = msgspec.msgpack.decode(stored, type=Checkpoint)
        self.checkpoint = continued(found, self._origin, self.changelog, self.partition)
        if self.checkpoint.applied != found.applied:
            log.warning(
                "%s %d: sources made again: applied %s was %s", self.name, self.partition, self.checkpoint.applied, found.applied
            )
            await self.commit({}, [], [])  # lasting: the next start finds the topics it expects

    async def _replay(self, cancelled: Callable[[], bool]) -> bool:
        """Steps 2 and 3 of restore."""
        tp = TopicPartition(self.changelog, self.partition)
        consumer = AIOKafkaConsumer(
            **self._settings.connection.aiokafka(),
            isolation_level="read_committed",
            enable_auto_commit=False,
            max_partition_fetch_bytes=4 << 20,
            fetch_max_wait_ms=100,
        )
        await consumer.start()
        try:
            consumer.assign([tp])
            looked_at = _now()
            sources = {TopicPartition(topic, self.partition): topic for topic in self._origin.sources}
            begins = await consumer.beginning_offsets([tp, *sources])
            begin, end = begins[tp], (await consumer.end_offsets([tp]))[tp]
            self._source_begins = {topic: begins[source] for source, topic in sources.items()}
            if begin == end:  # refused before a store is wiped
                require_whole(self._origin, self._source_begins, self.partition)
            if reason := self._unusable(begin, end):
                log.warning("%s %d: %s: wiping it, restoring from the start", self.name, self.partition, reason)
                self.store.wipe()
            position = self.store.position
            if position is None:
                position = begin
                self._note(WHOLE_AT, _now(), position)
            if id_ := self._origin.ids.get(self.changelog):
                self._note(CHANGELOG, id_.encode(), position)
            consumer.seek(tp, position)
            while (at := await consumer.position(tp)) < end:
                if cancelled():
                    return False
                fetched: Mapping[Any, list[Batch]] = await consumer.getmany(tp, timeout_ms=RESTORE_POLL_MS)
                for batch in fetched.get(tp, ()):
                    records = batch.payload
                    self.store.write([r.key for r in records], [r.value for r in records], batch.next)
                    self.restored_records += batch.count
                if at == await consumer.position(tp):
                    await asyncio.sleep(0)
            self._note(WHOLE_AT, looked_at, self.store.position or position)
        finally:
            await stop(consumer)
        return True

    def _note(self, key: bytes, value: bytes, position: int) -> None:
        """Write what is local only."""
        self.store.write([key], [value], position)

    def _unusable(self, begin: int, end: int) -> str | None:
        """Why the store cannot be brought up to this changelog, which reaches over [begin, end]; None if it can, or is new."""
        position, id_, now = self.store.position, self.store.get(CHANGELOG), self._origin.ids.get(self.changelog)
        if id_ is not None and now is not None and id_ != now.encode():
            return f"the store is of a changelog {id_.decode()} that was deleted, the changelog now is {now}"
        if position is not None and not begin <= position <= end:
            return f"the store is at changelog offset {position}, outside [{begin}, {end}]"
        return None if position is None else self._too_old()

    def _too_old(self) -> str | None:
        """Why the store may hold what compaction has removed every trace of; None if it does not."""
        stamp, kept_ms = self.store.get(WHOLE_AT), self._settings.tombstones_kept_ms
        age_ms = -1 if stamp is None else int(_now()) - int(stamp)
        if 0 <= age_ms <= kept_ms / 2:  # the other half is for the restore itself
            return None
        age = f"was last whole {age_ms / 3_600_000:.3g} h ago" if age_ms >= 0 else "does not tell how old it is"
        kept = f"{self.changelog} keeps tombstones for {kept_ms / 3_600_000:.3g} h (delete.retention.ms)"
        return f"the store {age} and may hold what was deleted since: {kept}"

    async def commit(
        self, applied: Mapping[str, int], keys: list[bytes], values: list[bytes | None], outputs: Sequence[Output] = ()
    ) -> None:
        """Steps 2 to 5: make the changed keys, the applied offsets and the outputs happen together.

        Raises
        ------
        Fenced : another worker owns the partition.
        StateError : the changelog was deleted and made again meanwhile.
        """
        assert self._producer is not None, "the ledger is not open"
        producer = self._producer
        former = self.checkpoint
        checkpoint = Checkpoint(former.seq + 1, {**former.applied, **applied}, former.epoch, former.sources)
        keys.append(CHECKPOINT)
        values.append(msgspec.msgpack.encode(checkpoint))
        now_ms = int(time.time() * 1000)
        batches = build_batches(producer, keys, values, now_ms, self._settings.batch_bytes)
        output_batches = self._output_batches(outputs, now_ms)
        try:
            await producer.begin_transaction()
            sent = [await producer.send_batch(b, t, partition=p) for (t, p), b in output_batches]
            for batch in batches:
                last = await producer.send_batch(batch, self.changelog, partition=self.partition)
                sent.append(last)
            for outcome in await asyncio.gather(*sent, return_exceptions=True):  # all of them, or the rest would complain later
                if isinstance(outcome, BaseException):
                    raise outcome
            self._check_log_goes_on(last.result().offset)
            await producer.commit_transaction()
        except ProducerFenced as error:
            raise Fenced(f"{self.name} {self.partition} has another owner") from error
        self.checkpoint = checkpoint
        self._position = last.result().offset + batches[-1].record_count()
        keys.append(WHOLE_AT)
        values.append(b"%d" % now_ms)
        self.store.write(keys, values, self._position)

    def _check_log_goes_on(self, offset: int) -> None:
        """A changelog that begins anew would hold the end of this state without its beginning."""
        if offset < self._position:
            raise StateError(
                f"offset {offset} of {self.changelog} given to a commit of partition {self.partition} after {self._position}",
                "the changelog that the state was restored from: it was deleted and made again",
                "start the worker again: the state is counted anew from the sources",
            )

    def _output_batches(self, outputs: Sequence[Output], now_ms: int) -> list[tuple[tuple[str, int], Any]]:
        """Outputs in batches, in order within each topic and partition."""
        assert self._producer is not None
        closed: list[tuple[tuple[str, int], Any]] = []
        current: dict[tuple[str, int], Any] = {}
        for out in outputs:
            at, headers = (out.topic, out.partition), list(out.headers)
            size = len(out.key or b"") + len(out.value or b"") + sum(len(name) + len(value) for name, value in headers)
            if size > self._settings.batch_bytes:  # an empty batch takes it, and the broker refuses it
                raise ValueError(f"a record of {size} bytes for {out.topic} does not fit a batch")
            batch = current.get(at)
            if batch is None or batch.append(timestamp=now_ms, key=out.key, value=out.value, headers=headers) is None:
                batch = current[at] = self._producer.create_batch()
                closed.append((at, batch))
                batch.append(timestamp=now_ms, key=out.key, value=out.value, headers=headers)
        for _, batch in closed:
            batch.close()
        return closed

    async def close(self) -> None:
        """Stop the producer and release the store. Idempotent."""
        producer, self._producer = self._producer, None
        store, self._store = self._store, None
        try:
            if producer is not None:
                await producer.stop()
        finally:
            if store is not None:
                store.close()


def _now() -> bytes:
    """Milliseconds since the epoch, as they are stored."""
    return b"%d" % (time.time() * 1000)
