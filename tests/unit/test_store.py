"""What bounds a store: one cache and one budget of buffers for all of a process, and disk that follows what is live."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from streams.state import store as store_module
from streams.state.store import Store, StoreMemory
from tests.bench.sampling import directory_bytes
from tests.waiting import until

BUFFERS_BYTES = 1 << 20
VALUE_BYTES = 100
TIMEOUT_S = 30.0


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[list[Store]]:
    """Eight that share their memory."""
    memory = StoreMemory(cache_bytes=1 << 20, write_buffer_bytes=BUFFERS_BYTES)
    with ExitStack() as opened:
        yield [opened.enter_context(closing(Store(tmp_path / f"store-{n}", memory))) for n in range(8)]


def write(store: Store, first: int, count: int) -> None:
    """So many units, whose records do not compress."""
    made = random.Random(first)
    store.write(keys(first, count), [made.randbytes(VALUE_BYTES) for _ in range(count)], 1)


def keys(first: int, count: int) -> list[bytes]:
    return [b"u-%09d" % n for n in range(first, first + count)]


def test_stores_share_one_budget_of_buffers(stores: list[Store]) -> None:
    memory = stores[0]._memory
    most = 0
    for n in range(40):
        for store in stores:
            write(store, 1000 * n, 1000)
            most = max(most, int(memory.buffers.get_usage()))
    assert BUFFERS_BYTES / 2 < most < 4 * BUFFERS_BYTES, "40 000 records a store, 36 MB in all, went through"


def test_without_a_shared_budget_every_store_would_fill_its_own(tmp_path: Path) -> None:
    """Control: what a process with many partitions would hold."""
    with ExitStack() as opened:
        alone = [
            opened.enter_context(closing(Store(tmp_path / f"{n}", StoreMemory(1 << 20, 8 * BUFFERS_BYTES)))) for n in range(8)
        ]
        most = 0
        for n in range(8):
            for store in alone:
                write(store, 1000 * n, 1000)
            most = max(most, sum(int(store._memory.buffers.get_usage()) for store in alone))
    assert most > 4 * BUFFERS_BYTES


def test_blocks_of_all_stores_stay_within_the_cache(stores: list[Store]) -> None:
    for store in stores:
        for n in range(10):
            write(store, 1000 * n, 1000)
    for store in stores:
        assert None not in store.get_many(keys(0, 10_000))
    cache = stores[0]._memory.cache
    assert 0 < int(cache.get_usage()) < 2 * (1 << 20), "8 MB of records were read"


def churn(store: Store, rounds: int = 60, live: int = 5) -> None:
    """Units come in thousands and go again, `live` thousand of them there at a time; in the end one thousand is."""
    for n in range(rounds):
        write(store, 1000 * n, 1000)
        if n >= live:
            store.write(keys(1000 * (n - live), 1000), [None] * 1000, 1)
    store.write(keys(1000 * (rounds - live), 1000 * (live - 1)), [None] * 1000 * (live - 1), 1)


LIVE_BYTES = 1000 * (VALUE_BYTES + 11)


def disk(store: Store) -> int:
    """Without what RocksDB notes about itself, which does not grow."""
    total = 0
    for file in store.path.iterdir():
        with suppress(FileNotFoundError):  # merged away meanwhile
            total += file.stat().st_size if file.suffix in {".sst", ".log"} else 0
    return total


def test_disk_follows_what_is_live(stores: list[Store]) -> None:
    store = stores[0]
    churn(store)
    store.shrink()
    until(lambda: disk(store) <= 2 * LIVE_BYTES, TIMEOUT_S, lambda: f"{disk(store)} bytes of {LIVE_BYTES} live")
    assert [key for key, _ in store.scan(b"u-")] == keys(59_000, 1000)


def test_what_was_just_forgotten_keeps_its_space_unless_the_store_is_told(stores: list[Store]) -> None:
    """Control: the deletions wait in the buffer, which only more records would move."""
    store = stores[0]
    churn(store)
    assert disk(store) > 2 * LIVE_BYTES


def test_opening_again_and_again_leaves_nothing_behind(tmp_path: Path) -> None:
    """Regression: RocksDB keeps the log of each of the last thousand openings."""
    files = []
    for _ in range(16):
        with closing(Store(tmp_path / "store")) as store:
            store.write([b"u"], [b"x"], 1)
        files.append(len(list((tmp_path / "store").iterdir())))
    assert files[-1] <= files[3] + 3, f"{files}: a few go a moment later"
    assert directory_bytes(tmp_path) < store_module.MANIFEST_BYTES
