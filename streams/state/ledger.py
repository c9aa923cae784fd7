"""The exactly-counted state of one partition, and the protocol that keeps it so.

Commit of one chunk
    1. The caller folds the chunk's records, those below the applied offsets dropped, into changed keys and outputs.
    2. Begin the partition's transaction. Its id (one a partition) fences any former owner.
    3. Send the changed keys and the checkpoint (which holds the applied source offsets) to the changelog, and the outputs to
       their topics. Await every batch: aiokafka would commit the transaction without one that failed.
    4. Commit. From here on the chunk is counted.
    5. Write the same keys and the changelog position to RocksDB, atomically. A crash before this is repaired by restore.

Restore
    1. Start the transactional producer: it fences the former owner and ends its open transaction.
    2. Open RocksDB. A position that is unknown, or outside the changelog, means the store is not of this log: wipe it.
    3. Apply the changelog from the position to the last stable offset.
    4. Hand the checkpoint to the caller, who seeks the sources to its applied offsets.

Whatever raises in a commit leaves memory ahead of the log: the owner must stop and restore, never go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import ProducerFenced

from allocator.errors import Fenced
from streams.connection import Connection
from streams.seam import Batch, build_batches, read_batches
from streams.state.store import Store

__all__ = ["Checkpoint", "Ledger", "LedgerSettings", "Output"]

log = logging.getLogger(__name__)

CHECKPOINT = b"\x00checkpoint"
RESTORE_POLL_MS = 20
"""Short: the tail of a committed log may hold only a transaction marker, which no poll returns."""


class Checkpoint(msgspec.Struct, frozen=True):
    """What the state was built from: the number of commits, and the next offset of each source topic."""

    seq: int = 0
    applied: dict[str, int] = {}


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


class Ledger:
    """State of partition `partition` of the agent `name`, changelogged to `changelog`."""

    def __init__(self, name: str, partition: int, changelog: str, group: str, settings: LedgerSettings) -> None:
        self.name, self.partition, self.changelog = name, partition, changelog
        self.checkpoint = Checkpoint()
        self.restored_records = 0
        self.restore_s = 0.0
        self._settings = settings
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
        self._store = Store(self._path)
        if not await self._replay(cancelled):
            return False
        stored = self.store.get(CHECKPOINT)
        self.checkpoint = msgspec.msgpack.decode(stored, type=Checkpoint) if stored else Checkpoint()
        self.restore_s = time.perf_counter() - started
        log.info(
            "%s %d: restored %d records in %.2f s, applied %s",
            self.name, self.partition, self.restored_records, self.restore_s, self.checkpoint.applied,
        )  # fmt: skip
        return True

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
            begin = (await consumer.beginning_offsets([tp]))[tp]
            end = (await consumer.end_offsets([tp]))[tp]
            position = self.store.position
            if position is None or not begin <= position <= end:
                if position is not None:
                    log.warning(
                        "%s %d: the store is at changelog offset %d, outside [%d, %d]: wiping it, restoring from the start",
                        self.name, self.partition, position, begin, end,
                    )  # fmt: skip
                    self.store.wipe()
                position = begin
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
        finally:
            await consumer.stop()
        return True

    async def commit(
        self, applied: Mapping[str, int], keys: list[bytes], values: list[bytes | None], outputs: Sequence[Output] = ()
    ) -> None:
        """Steps 2 to 5: make the changed keys, the applied offsets and the outputs happen together.

        Raises
        ------
        Fenced : another worker owns the partition.
        """
        assert self._producer is not None, "the ledger is not open"
        producer = self._producer
        checkpoint = Checkpoint(self.checkpoint.seq + 1, {**self.checkpoint.applied, **applied})
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
            await producer.commit_transaction()
        except ProducerFenced as error:
            raise Fenced(f"{self.name} {self.partition} has another owner") from error
        self.checkpoint = checkpoint
        self.store.write(keys, values, last.result().offset + batches[-1].record_count())

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
