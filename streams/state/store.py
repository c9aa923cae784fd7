"""One partition's key-value store: RocksDB through rocksdict, tuned for point look-ups of small records.

Keys that start with a zero byte are the store's and its user's own; see `escape` for keys from outside.

What bounds it, however many partitions and keys there are:
- memory: every store of a process shares one block cache, which also holds indexes and filters, and one budget of write buffers
  (`StoreMemory`);
- disk: buffers are small, two files of the newest level are merged, so are files in which deletions are frequent, and `shrink`
  has recent deletions take part. What is overwritten or deleted is then a small multiple of a write buffer.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rocksdict import BlockBasedOptions, Cache, Options, Rdict, WriteBatch, WriteBufferManager, WriteOptions

from allocator.errors import StoreError

__all__ = ["POSITION", "Store", "StoreMemory", "StoreSize", "escape", "escape_all"]

POSITION = b"\x00position"
"""Local only: the changelog offset this store has been written up to."""

BUFFER_SHARE = 8
"""One store's buffer is written to disk when it holds this part of all the buffers, so that idle stores cannot take them all."""
BUFFER_BYTES_MIN = 64 << 10

NEW_FILES_MAX = 2
"""Files of the newest level that wait to be merged: more would be faster for stores far larger than their buffers."""
LEVEL_BUFFERS = 8
"""Size of the first sorted level, in buffers: what merging one into it costs at most."""
DELETIONS_WINDOW, DELETIONS_TRIGGER, DELETIONS_RATIO = 1000, 250, 0.25
"""A file with so many deletions in a row of entries, or in all of it, is merged downwards at once."""

INFO_LOG_BYTES, INFO_LOGS = 1 << 20, 2
MANIFEST_BYTES = 4 << 20
"""RocksDB's own defaults keep a thousand logs and a manifest of up to 1 GiB."""


def escape(key: bytes) -> bytes:
    """`key` so that it cannot meet the reserved ones: a leading 0 or 1 byte gets a 1 byte before it."""
    return b"\x01" + key if key[:1] in (b"\x00", b"\x01") else key


def escape_all(keys: Collection[bytes]) -> list[bytes]:
    """`escape` of each; almost always there is nothing to do."""
    return list(map(escape, keys)) if min(keys, default=b"\x02") < b"\x02" else list(keys)


class StoreMemory:
    """The memory that all stores of a process share.

    Parameters
    ----------
    cache_bytes : blocks of data, indexes and filters kept decompressed.
    write_buffer_bytes : what was written and is not in files yet. A little more is held while a buffer is being written out.
    """

    def __init__(self, cache_bytes: int = 64 << 20, write_buffer_bytes: int = 64 << 20) -> None:
        self.buffer_bytes = max(BUFFER_BYTES_MIN, write_buffer_bytes // BUFFER_SHARE)
        self.cache = Cache(cache_bytes)
        self.buffers = WriteBufferManager(write_buffer_bytes, False)

    @property
    def used_bytes(self) -> int:
        """What cache and buffers hold now."""
        return int(self.cache.get_usage()) + int(self.buffers.get_usage())


class StoreSize(NamedTuple):
    """How large a store is about; RocksDB's own estimate."""

    records: int
    file_bytes: int


class Store:
    """A RocksDB directory. Writes are atomic; the write-ahead log is on, so a killed process loses nothing it wrote.

    Raises
    ------
    StoreError : the disk is full or broken; from opening, `write`, `shrink` and `wipe`.
    """

    def __init__(self, path: Path, memory: StoreMemory | None = None) -> None:
        self.path = path
        self._memory = memory or StoreMemory()
        self._db = _opened(path, self._memory)
        self._write_options = WriteOptions()

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        value: bytes | None = self._db.get(key)
        return value

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values in the order of the keys, None where there is none."""
        values: list[bytes | None] = self._db[keys]
        return values

    def write(self, keys: Sequence[bytes], values: Sequence[bytes | None], position: int) -> None:
        """Put (or, for None, delete) all of them and the changelog position in one atomic write.

        After a StoreError the store holds none of it, and takes nothing until it is opened again.
        """
        batch = WriteBatch(raw_mode=True)
        put = batch.put
        if None not in values:
            deque(map(put, keys, values), maxlen=0)
        else:
            for key, value in zip(keys, values, strict=True):
                if value is None:
                    batch.delete(key)
                else:
                    put(key, value)
        put(POSITION, b"%d" % position)
        try:
            self._db.write(batch, self._write_options)
        except Exception as error:
            raise StoreError(str(self.path), str(error)) from error

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every record whose key starts with `prefix`, in key order."""
        for key, value in self._db.items(from_key=prefix):
            if not key.startswith(prefix):
                return
            yield key, value

    def scan_from(self, key: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every record from `key` on, as the store is now, in key order. What it shows stays on disk while it is held."""
        yield from self._db.items(from_key=key)

    def size(self) -> StoreSize:
        """Records and bytes of files, as far as RocksDB knows without looking."""
        records = self._db.property_int_value("rocksdb.estimate-num-keys")
        file_bytes = self._db.property_int_value("rocksdb.total-sst-files-size")
        return StoreSize(records or 0, file_bytes or 0)

    def shrink(self) -> None:
        """Have what was deleted lately take its space with it: begins to write the buffer out, and waits for nothing."""
        try:
            self._db.flush(wait=False)
        except Exception as error:
            raise StoreError(str(self.path), str(error)) from error

    @property
    def position(self) -> int | None:
        """Changelog offset written so far, None in a new store."""
        stored = self.get(POSITION)
        return None if stored is None else int(stored)

    def wipe(self) -> None:
        """Empty the store."""
        self._db.close()
        shutil.rmtree(self.path, ignore_errors=True)
        self._db = _opened(self.path, self._memory)

    def close(self) -> None:
        """Flush and release the directory's lock."""
        self._db.close()


def _opened(path: Path, memory: StoreMemory) -> Rdict:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return Rdict(str(path), _options(memory))
    except Exception as error:  # rocksdict raises nothing more special
        raise StoreError(str(path), str(error)) from error


def _options(memory: StoreMemory) -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_manager(memory.buffers)
    options.set_write_buffer_size(memory.buffer_bytes)
    options.set_max_write_buffer_number(2)
    # Most look-ups are of units never seen before: let the bloom filters say so, in memory and on disk.
    options.set_memtable_prefix_bloom_ratio(0.1)
    options.set_memtable_whole_key_filtering(True)
    options.set_level_zero_file_num_compaction_trigger(NEW_FILES_MAX)
    options.set_max_bytes_for_level_base(LEVEL_BUFFERS * memory.buffer_bytes)
    options.set_target_file_size_base(2 * memory.buffer_bytes)
    options.add_compact_on_deletion_collector_factory(DELETIONS_WINDOW, DELETIONS_TRIGGER, DELETIONS_RATIO)
    options.set_max_log_file_size(INFO_LOG_BYTES)
    options.set_keep_log_file_num(INFO_LOGS)
    options.set_max_manifest_file_size(MANIFEST_BYTES)
    tables = BlockBasedOptions()
    tables.set_bloom_filter(10, False)
    tables.set_block_cache(memory.cache)
    # Outside the cache, indexes and filters would grow with the number of keys and nothing would bound them.
    tables.set_cache_index_and_filter_blocks(True)
    tables.set_pin_l0_filter_and_index_blocks_in_cache(True)
    options.set_block_based_table_factory(tables)
    return options
