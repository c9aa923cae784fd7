"""Record batches as a broker stores them, byte by byte: what the tests of the seam read."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

__all__ = ["TOPIC", "Raw", "data", "log", "marker", "records_of"]

TOPIC = "batched"
Raw = bytes
CONTROL = 0x20


def data(base: int, *keys: str, producer: int = -1, kept: Sequence[int] | None = None, length: int | None = None) -> Raw:
    """A batch of records from offset `base`, one a key; `kept` are those compaction left, `length` the offsets it stands for."""
    builder = DefaultRecordBatchBuilder(2, 0, producer >= 0, producer, 0, 0, 1 << 20)
    for i, key in enumerate(keys):
        if kept is None or i in kept:
            assert builder.append(i, 1000 + base + i, key.encode(), key.upper().encode(), []) is not None
    return placed(builder, base, length or len(keys))


def marker(base: int, producer: int, *, commit: bool) -> Raw:
    """The batch that ends a transaction."""
    builder = DefaultRecordBatchBuilder(2, 0, True, producer, 0, 0, 1 << 20)
    builder.append(0, 1000 + base, struct.pack(">hh", 0, int(commit)), struct.pack(">hi", 0, 0), [])
    return placed(builder, base, 1, CONTROL)


def placed(builder: Any, base: int, length: int, attributes: int = 0) -> Raw:
    """The batch as the broker stores it: at its offset, its last offset told, its checksum anew."""
    raw = bytearray(builder.build())
    struct.pack_into(">q", raw, 0, base)
    (stored,) = struct.unpack_from(">h", raw, 21)
    struct.pack_into(">hi", raw, 21, stored | attributes, length - 1)
    struct.pack_into(">I", raw, 17, calc_crc32c(bytes(raw[21:])))
    return bytes(raw)


def log(*batches: Raw) -> bytes:
    """Batches one after another."""
    return b"".join(batches)


def records_of(cls: Any, raw: bytes, topic: str, position: int, aborted: Iterable[tuple[int, int]] = ()) -> Any:
    """A fetch from `position`, as the fetcher makes one of `cls`; `aborted` lists (producer, first offset)."""
    return cls(TopicPartition(topic, 0), MemoryRecords(raw), list(aborted), position, None, None, True, fetcher.READ_COMMITTED)
