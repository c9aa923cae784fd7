"""`allocator worker`, killing or freezing itself between two batches of a commit when ordered to; also without its protections.

    python -m tests.chaos.faulty_worker --orders FILE [--without-transactions ...] worker --bootstrap ...

FILE, while it exists, holds a signal's name, a number n and a dataset: once a commit has n batches of that topic on the broker
(0: the first is about to go), the process removes the file and sends itself the signal. So a test can be sure of the moment,
which a kill from outside never is.

Without transactions the same batches go out in the same order, the applied offsets in the last of them; nothing is begun,
committed, aborted or fenced. It is the control: what the transaction protects from must then happen. Two more controls: a worker
without the published weights does not know of any version that is not in its ledger, and one without waiting decides on the
partials that it happens to have read.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from streams.allocate.agent import AllocateAgent
from streams.cli import main
from streams.state import ledger
from streams.weights_table import WeightsTable

__all__: list[str] = []


class Obedient(AIOKafkaProducer):  # type: ignore[misc]
    """A producer that looks for an order around each batch."""

    orders: Path

    async def begin_transaction(self) -> None:
        self._batches: Counter[str] = Counter()
        await super().begin_transaction()

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
        if not self._batches[topic] and (name := self._ordered(topic)):
            os.kill(os.getpid(), signal.Signals[name])
        sent = await super().send_batch(batch, topic, partition=partition)
        self._batches[topic] += 1
        if name := self._ordered(topic):
            await sent
            os.kill(os.getpid(), signal.Signals[name])
        return sent

    def _ordered(self, topic: str) -> str | None:
        """Take the order if it is for now. Nothing is awaited in between: of several partitions' producers one takes it."""
        if not self.orders.exists():
            return None
        name, batches, dataset = self.orders.read_text().split()
        if self._batches[topic] != int(batches) or not topic.endswith(f".{dataset}.v1"):
            return None
        self.orders.unlink()
        return name


class Untransacted(Obedient):
    """The control."""

    def __init__(self, *, transactional_id: str, transaction_timeout_ms: int, **options: Any) -> None:
        super().__init__(**options)

    async def begin_transaction(self) -> None:
        self._batches = Counter()

    async def commit_transaction(self) -> None:
        """Nothing was begun."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--orders", type=Path, required=True)
    parser.add_argument("--without-transactions", action="store_true")
    parser.add_argument("--without-published", action="store_true")
    parser.add_argument("--without-waiting", action="store_true")
    options, arguments = parser.parse_known_args()
    producer = Untransacted if options.without_transactions else Obedient
    producer.orders = options.orders
    ledger.AIOKafkaProducer = producer  # type: ignore[attr-defined]
    if options.without_published:
        WeightsTable.take = lambda *_: None  # type: ignore[method-assign]
    if options.without_waiting:
        AllocateAgent._behind = lambda *_: False  # type: ignore[method-assign]
    sys.argv[1:] = arguments
    main()
