"""Memory that holds nothing goes back to the system."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from streams.heap import trim_heap

BLOCK_BYTES, BLOCKS, KEPT_EVERY = 100_000, 2000, 50
"""Below what glibc maps by itself."""
PAGE_BYTES = 4096


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator is what keeps the holes")
def test_holes_between_blocks_in_use_are_given_back() -> None:
    blocks = [b"x" * BLOCK_BYTES for _ in range(BLOCKS)]
    kept = blocks[::KEPT_EVERY]
    blocks.clear()
    before = resident_bytes()
    trim_heap()
    assert before - resident_bytes() > BLOCKS * BLOCK_BYTES / 2
    assert len(kept) == BLOCKS // KEPT_EVERY
