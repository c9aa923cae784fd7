"""The memory of a process that runs for months: when it is collected, and how it goes back to the system."""

from __future__ import annotations

import ctypes
import gc

__all__ = ["TRIM_INTERVAL_S", "settle_heap", "trim_heap"]

GC_THRESHOLD = 500_000
"""Chunks allocate tens of thousands of short-lived objects at once; the default of 700 would collect in the middle of each."""
TRIM_INTERVAL_S = 20.0


def settle_heap() -> None:
    """Set the collector for a worker, once it has loaded what it needs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 50, 50)


def trim_heap() -> None:
    """Give back the pages that hold nothing.

    glibc keeps what was freed below something that is still in use. Fetched and decompressed batches of all sizes come and go
    among records that stay, and without this the holes grow by some MiB for every million units. Having each large block mapped
    by itself (M_MMAP_THRESHOLD) helps too, but costs a tenth of the throughput. Other C libraries do as they do.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
