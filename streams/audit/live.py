"""The live join's state, from its changelog alone: what a worker that has lost its disk would restore.

Compaction goes on while the changelog is read. It may take away a record whose successor was not there when the reading began; so
this ends where the log ends by then. The successor has been read, because compaction leaves the newest segment alone.
"""

from __future__ import annotations

import msgspec
from aiokafka import TopicPartition

from allocator.errors import StateError
from streams.audit.log import Log
from streams.state import Checkpoint, Store
from streams.state.ledger import CHECKPOINT

__all__ = ["checkpoint_of", "copy_live", "newest_checkpoint"]

TAIL_RECORDS = 20_000
"""Where to look for the newest checkpoint first; every commit ends with one."""


async def copy_live(log: Log, tp: TopicPartition, store: Store) -> None:
    """Write the changelog's records into an empty store."""
    async for batch in log.read(tp, (await log.begins([tp]))[tp]):
        records = [record for record in batch.payload if record.key is not None]
        store.write([record.key for record in records], [record.value for record in records], batch.next)


async def newest_checkpoint(log: Log, tp: TopicPartition) -> Checkpoint:
    """The newest committed checkpoint of one partition; an empty one before the first commit. Raises StateError."""
    begin, end = (await log.begins([tp]))[tp], (await log.ends([tp]))[tp]
    start = max(begin, end - TAIL_RECORDS)
    while True:
        newest: bytes | None = None
        async for batch in log.read(tp, start):
            newest = next((record.value for record in reversed(batch.payload) if record.key == CHECKPOINT), newest)
        if newest is not None or start == begin:
            return checkpoint_of(newest, tp)
        start = begin


def checkpoint_of(stored: bytes | None, tp: TopicPartition) -> Checkpoint:
    """A checkpoint as it is stored. Raises StateError if it cannot be read."""
    if stored is None:
        return Checkpoint()
    try:
        return msgspec.msgpack.decode(stored, type=Checkpoint)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise StateError(
            f"a checkpoint in {tp.topic}, partition {tp.partition}, that cannot be read ({error})",
            "the offsets that the live state stands at",
            "a worker's next commit writes a new one; compare again after it",
        ) from error
