"""One partition's key-value store: RocksDB through rocksdict, tuned for point look-ups of small records.

Keys that start with a zero byte are the store's and its user's own; see `escape` for keys from outside.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from rocksdict import BlockBasedOptions, Cache, Options, Rdict, WriteBatch, WriteOptions

__all__ = ["POSITION", "Store", "escape", "escape_all"]

POSITION = b"\x00position"
"""Local only: the changelog offset this store has been written up to."""

WRITE_BUFFER_BYTES = 32 << 20
BLOCK_CACHE_BYTES = 64 << 20


def escape(key: bytes) -> bytes:
    """`key` so that it cannot meet the reserved ones: a leading 0 or 1 byte gets a 1 byte before it."""
    return b"\x01" + key if key[:1] in (b"\x00", b"\x01") else key


def escape_all(keys: Collection[bytes]) -> list[bytes]:
    """`escape` of each; almost always there is nothing to do."""
    return list(map(escape, keys)) if min(keys, default=b"\x02") < b"\x02" else list(keys)


class Store:
    """A RocksDB directory. Writes are atomic; the write-ahead log is on, so a killed process loses nothing it wrote."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = Rdict(str(path), _options())
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
        """Put (or, for None, delete) all of them and the changelog position in one atomic write."""
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
        self._db.write(batch, self._write_options)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every record whose key starts with `prefix`, in key order."""
        for key, value in self._db.items(from_key=prefix):
            if not key.startswith(prefix):
                return
            yield key, value

    def scan_from(self, key: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Every record from `key` on, as the store is now, in key order."""
        yield from self._db.items(from_key=key)

    @property
    def position(self) -> int | None:
        """Changelog offset written so far, None in a new store."""
        stored = self.get(POSITION)
        return None if stored is None else int(stored)

    def wipe(self) -> None:
        """Empty the store."""
        self._db.close()
        shutil.rmtree(self.path, ignore_errors=True)
        self._db = Rdict(str(self.path), _options())

    def close(self) -> None:
        """Flush and release the directory's lock."""
        self._db.close()


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(WRITE_BUFFER_BYTES)
    options.set_max_write_buffer_number(2)
    # Most look-ups are of units never seen before: let the bloom filters say so, in memory and on disk.
    options.set_memtable_prefix_bloom_ratio(0.1)
    options.set_memtable_whole_key_filtering(True)
    tables = BlockBasedOptions()
    tables.set_bloom_filter(10, False)
    tables.set_block_cache(Cache(BLOCK_CACHE_BYTES))
    options.set_block_based_table_factory(tables)
    return options
