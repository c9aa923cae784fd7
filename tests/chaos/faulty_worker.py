"""`allocator worker`, killing or freezing itself between two batches of a commit when ordered to; also without transactions.

    python -m tests.chaos.faulty_worker --orders FILE [--without-transactions] worker --bootstrap ...

FILE, while it exists, holds a signal's name and a number n: once a commit of the join has n changelog batches on the broker, the
process removes the file and sends itself the signal. So a test can be sure of the moment, which a kill from outside never is.

Without transactions the same batches go out in the same order, the applied offsets in the last of them; nothing is begun,
committed, aborted or fenced. It is the control: what the transaction protects from must then happen.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from streams.cli import main
from streams.state import ledger

__all__: list[str] = []

CHANGELOG = ".join-changelog.v1"


class Obedient(AIOKafkaProducer):  # type: ignore[misc]
    """A producer that looks for an order after each batch."""

    orders: Path

    async def begin_transaction(self) -> None:
        self._batches = 0
        await super().begin_transaction()

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
        sent = await super().send_batch(batch, topic, partition=partition)
        if topic.endswith(CHANGELOG):
            self._batches += 1
            if name := self._ordered():
                await sent
                os.kill(os.getpid(), signal.Signals[name])
        return sent

    def _ordered(self) -> str | None:
        """Take the order if it is for now. Nothing is awaited in between: of several partitions' producers one takes it."""
        if not self.orders.exists():
            return None
        name, batches = self.orders.read_text().split()
        if self._batches != int(batches):
            return None
        self.orders.unlink()
        return name


class Untransacted(Obedient):
    """The control."""

    def __init__(self, *, transactional_id: str, transaction_timeout_ms: int, **options: Any) -> None:
        super().__init__(**options)

    async def begin_transaction(self) -> None:
        self._batches = 0

    async def commit_transaction(self) -> None:
        """Nothing was begun."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--orders", type=Path, required=True)
    parser.add_argument("--without-transactions", action="store_true")
    options, arguments = parser.parse_known_args()
    producer = Untransacted if options.without_transactions else Obedient
    producer.orders = options.orders
    ledger.AIOKafkaProducer = producer  # type: ignore[attr-defined]
    sys.argv[1:] = arguments
    main()
