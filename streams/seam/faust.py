"""Faust, bent: a transport whose consumer yields one message a fetch and partition, for an `Intake` to take.

Faust's cost is per message: this pays it once per thousands of records. Which partitions are fetched, and from where after a
rebalance, the `Intake` says. Besides, a worker starts and ends without the second that Faust rests at either.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

import faust
from faust.tables import TableManager
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP, ConsumerMessage

from streams.seam.aiokafka import PARTIAL_FETCH_WAIT_MS, Batch, Room, end_fetches, install

__all__ = ["TRANSPORT_SCHEME", "Intake", "NoTables", "Worker", "install_transport"]

TRANSPORT_SCHEME = "chunked"


def install_transport() -> None:
    """Register the transport under its scheme, and the batch reader it needs. Idempotent."""
    install()
    TRANSPORTS.aliases[TRANSPORT_SCHEME] = f"{__name__}:ChunkedTransport"


class Intake(Protocol):
    """What the worker tells the transport; all methods run on the event loop of the app."""

    def wants(self, tp: TP) -> bool:
        """Whether more records of this partition may be fetched now."""

    def room(self) -> Room:
        """How many records the next fetch may bring."""

    def applied(self, tp: TP) -> int | None:
        """Offset to report as committed (for lag tools only)."""

    async def positions(self, assigned: set[TP]) -> Mapping[TP, int]:
        """Where each assigned partition is to be read from after a rebalance."""


class _ConsumerThread(AIOKafkaConsumerThread):  # type: ignore[misc]
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Without tables Faust picks round-robin, which does not keep a unit's exposures and rewards on one worker.
        self._assignor = self.app.assignor
        consumer._partition_assignment_strategy = [self.app.assignor]
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = self.app.fetch_wait_ms
        return consumer

    async def getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        # What is not taken now stays compressed in the fetcher.
        self._ensure_consumer()._max_poll_records = self.app.intake.room()
        return await super().getmany(active_partitions, timeout)

    async def on_thread_stop(self) -> None:
        """Leave the group: a member with an id of its own would keep its seat, and its partitions rest, till the session ends."""
        if self._consumer is not None and self._consumer._coordinator is not None:
            self._consumer._coordinator._group_instance_id = None
            await end_fetches(self._consumer)
        await super().on_thread_stop()

    def highwater(self, tp: TP) -> int | None:
        """Where a reader of what is committed ends: behind it a transaction is open, or nothing is there. None: not yet known."""
        stable: int | None = self._ensure_consumer().last_stable_offset(tp)
        return stable


class _NothingRead(dict[TP, int]):
    """In place of Faust's offsets last read, below which it drops messages.

    A message under way when somebody seeks back sets its mark after the seek, and what is then fetched again would be dropped.
    What was read already, `streams.queues` tells.
    """

    def __getitem__(self, tp: TP) -> None:  # type: ignore[override]
        return None


class ChunkedConsumer(Consumer):  # type: ignore[misc]
    """Faust's consumer, with one message a fetch and partition: its value is the list of `Batch`es."""

    pause_s = 0.01
    """Rest after a small fetch, so that the next one is larger."""
    small_fetch_records = 2000

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._read_offset = _NothingRead()

    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        intake: Intake = self.app.intake
        generation = self.app.consumer_generation_id
        assigned = set(self._get_active_partitions())
        wanted = {tp for tp in assigned if intake.wants(tp)}
        if not wanted:  # an empty set would mean: all
            await self.sleep(0.005 if assigned else 0.1)
            return
        each = intake.room().each
        fetched = await self._getmany(wanted, timeout if wanted == assigned else PARTIAL_FETCH_WAIT_MS / 1000) or {}
        records = 0
        for tp, batches in fetched.items():
            if not self.flow_active or self.should_stop or self.app.consumer_generation_id != generation:
                return  # dropped on purpose: every rebalance is followed by perform_seek
            if batches:
                records += len(batches)
                yield tp, _message(tp, batches, generation)
        if records < min(self.small_fetch_records, each):  # there was no more, although there was room for it
            await self.sleep(self.pause_s)

    async def perform_seek(self) -> None:
        await self.seek_wait(dict(await self.app.intake.positions(set(self.assignment()))))

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Chunks jump offsets; Faust would expand each jump into one integer a record."""

    def _new_offset(self, tp: TP) -> int | None:
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        return self.app.intake.applied(tp)


def _message(tp: TP, batches: list[Batch], generation: int) -> ConsumerMessage:
    last = batches[-1]
    return ConsumerMessage(
        tp.topic, tp.partition, last.next - 1, last.last_ms / 1000, 0, [], None, batches, None, 0, 0, tp, generation_id=generation
    )


class ChunkedTransport(Transport):  # type: ignore[misc]
    """The aiokafka transport with the chunked consumer."""

    Consumer = ChunkedConsumer


class NoTables(TableManager):  # type: ignore[misc]
    """For an app without Faust's tables: does not wait a second at the start for some to be added."""

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


class Worker(faust.Worker):  # type: ignore[misc]
    """Faust's worker, which ends when everything it started has, not a second later."""

    async def _sentinel_task(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:  # cancelled just now
            await asyncio.wait(others, timeout=1.0)
