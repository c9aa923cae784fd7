"""`allocator worker` on too small a disk, or with one of its protections off: the controls of the tests beside it.

    python -m tests.chaos.careless_worker [--file-bytes-max N] [--without outcomes|disk-errors] worker --bootstrap ...

A limit on the size of files fails a write as a full disk does, and needs no privileges. Without outcomes, a batch that the broker
refuses is not heard of, and the transaction is committed. Without disk errors, what the store did not take is not heard of.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
from contextlib import suppress
from itertools import count
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from allocator.errors import StoreError
from streams.cli import main
from streams.state import Store, ledger

__all__: list[str] = []

OFFSETS = count(1 << 40, 1 << 20)
"""After all that the broker gives, and each after a batch at the one before."""


class Deaf(AIOKafkaProducer):  # type: ignore[misc]
    """A producer whose batches were all taken, it says."""

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
        return asyncio.ensure_future(_taken(await super().send_batch(batch, topic, partition=partition)))


async def _taken(sent: Any) -> Any:
    try:
        return await sent
    except KafkaError:  # too large and, as one is missing now, out of sequence
        return RecordMetadata("", 0, None, next(OFFSETS), -1, 0, 0)


class Forgetful(Store):
    """A store that says it has written."""

    def write(self, *arguments: Any) -> None:
        with suppress(StoreError):
            super().write(*arguments)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--file-bytes-max", type=int, default=resource.RLIM_INFINITY)
    parser.add_argument("--without", choices=["outcomes", "disk-errors"])
    options, sys.argv[1:] = parser.parse_known_args()
    resource.setrlimit(resource.RLIMIT_FSIZE, (options.file_bytes_max, resource.RLIM_INFINITY))
    if options.without == "outcomes":
        ledger.AIOKafkaProducer = Deaf  # type: ignore[attr-defined]
    if options.without == "disk-errors":
        ledger.Store = Forgetful  # type: ignore[misc]
    main()
