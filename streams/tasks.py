"""Runs the agents of the partitions this worker owns: restore on assignment, step while owned, stop on revocation.

An agent holds the state of one partition of one group of co-partitioned topics (the join: exposures and rewards; allocate:
partials). `Partitions` is what the transport asks (`streams.seam.faust.Intake`) and what Faust's rebalance signals drive. A
step that raises has left memory ahead of the log, so the worker stops: whoever restarts it finds the state as last committed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Protocol

from faust.types import TP

from streams.queues import Backlog, SourceQueue
from streams.seam import Batch, Room
from streams.state import Ledger

__all__ = ["Agent", "AgentGroup", "PartitionTask", "Partitions"]

log = logging.getLogger(__name__)

STOP_WAIT_S = 10.0


class Agent(Protocol):
    """The logic of one partition."""

    ledger: Ledger

    def restore(self) -> None:
        """Take over the state that the ledger has restored."""

    async def step(self, queues: Mapping[str, SourceQueue]) -> float | None:
        """Do one piece of work. Returns seconds until the next is due: 0 at once, None when only new records bring work."""


class PartitionTask:
    """One agent, its queues, and the asyncio task that steps it."""

    def __init__(self, agent: Agent, topics: Iterable[str], failed: Callable[[BaseException], None], backlog: Backlog) -> None:
        self.agent, self._backlog = agent, backlog
        self.queues: dict[str, SourceQueue] = {}
        self._topics = tuple(topics)
        self._failed = failed
        self._wake = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Restored, and not yet stopping."""
        return self._task is not None and not self._stopping

    async def start(self, cancelled: Callable[[], bool]) -> bool:
        """Restore and run. False when cancelled on the way."""
        if not await self.agent.ledger.open(cancelled):
            return False
        self.agent.restore()
        applied = self.agent.ledger.checkpoint.applied
        self.queues = {topic: SourceQueue(applied.get(topic, 0), self._backlog) for topic in self._topics}
        self._task = asyncio.create_task(self._run(), name=f"{self.agent.ledger.name}-{self.agent.ledger.partition}")
        return True

    def put(self, topic: str, batches: list[Batch]) -> bool:
        """Queue fetched batches; False when some are missing before them."""
        complete = self.queues[topic].put(batches)
        self._wake.set()
        return complete

    def wake(self) -> None:
        """Have the agent look again, for a reason other than records."""
        self._wake.set()

    async def _run(self) -> None:
        try:
            while not self._stopping:
                self._wake.clear()
                pause_s = await self.agent.step(self.queues)
                for queue in self.queues.values():
                    queue.release()
                if pause_s == 0:
                    await asyncio.sleep(0)
                    continue
                try:
                    await asyncio.wait_for(self._wake.wait(), pause_s)
                except TimeoutError:
                    continue
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and self._task is not None and self._task.cancelling():
                raise
            self._failed(error)  # whatever it is, memory is ahead of the log now

    async def stop(self) -> None:
        """End after the step under way, and release the partition."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            _, late = await asyncio.wait([self._task], timeout=STOP_WAIT_S)
            for task in late:
                log.warning("%s did not end in %.0f s: cancelled, its transaction will abort", task.get_name(), STOP_WAIT_S)
                task.cancel()
                await asyncio.wait([task])
        for queue in self.queues.values():
            queue.close()
        await self.agent.ledger.close()


class AgentGroup:
    """A kind of agent: its co-partitioned topics, and how to make the agent of a partition."""

    def __init__(self, name: str, topics: tuple[str, ...], make: Callable[[int], Agent]) -> None:
        self.name, self.topics, self.make = name, topics, make


class Partitions:
    """All partition tasks of this worker.

    `rewind(tp, offset)` makes the next fetch start there and returns where it really does: later if the log no longer goes back
    so far. `failed` is told of a step that raised. `backlog` bounds what all of them hold.
    """

    def __init__(
        self,
        groups: Iterable[AgentGroup],
        rewind: Callable[[TP, int], Awaitable[int]],
        failed: Callable[[BaseException], None],
        backlog: Backlog,
    ) -> None:
        self.tasks: dict[tuple[str, int], PartitionTask] = {}
        self.restored = False
        """Whether every assigned partition is restored; false during a rebalance."""
        self._groups = tuple(groups)
        self._group_of = {topic: group for group in self._groups for topic in group.topics}
        self._rewind, self._failed, self.backlog = rewind, failed, backlog
        self._generation = 0
        self._lock = asyncio.Lock()

    def agents(self, group: str) -> dict[int, Any]:
        """The running agents of one group by partition."""
        return {p: task.agent for (name, p), task in self.tasks.items() if name == group and task.running}

    def wake(self, group: str) -> None:
        """Have every agent of the group look again."""
        for (name, _), task in self.tasks.items():
            if name == group:
                task.wake()

    # -- what Faust's rebalance drives -----------------------------------------------------------------------

    async def revoke(self) -> None:
        """Stop everything; Faust revokes all partitions before it assigns."""
        self._generation += 1
        self.restored = False
        async with self._lock:
            tasks, self.tasks = self.tasks, {}
            await self._together(task.stop() for task in tasks.values())

    async def assign(self, assigned: Iterable[TP]) -> None:
        """Restore and run the assigned partitions."""
        generation = self._generation
        async with self._lock:
            wanted: dict[tuple[str, int], set[str]] = {}
            for tp in assigned:
                group = self._group_of.get(tp.topic)
                if group is not None:
                    wanted.setdefault((group.name, tp.partition), set()).add(tp.topic)
            for group in self._groups:
                for (name, partition), topics in wanted.items():
                    if name == group.name and topics != set(group.topics):
                        raise RuntimeError(f"{name} {partition}: assigned {sorted(topics)} without the rest of {group.topics}")
            new = {}
            for name, partition in sorted(wanted.keys() - self.tasks.keys()):
                group = next(g for g in self._groups if g.name == name)
                new[name, partition] = PartitionTask(group.make(partition), group.topics, self._failed, self.backlog)
            log.info("assigned %s", sorted(wanted))
            self.tasks.update(new)
            done = await self._together(task.start(lambda: self._generation != generation) for task in new.values())
            self.restored = done and self._generation == generation
            if self.restored:
                log.info("ready: %d partitions restored", len(self.tasks))

    async def _together(self, work: Iterable[Coroutine[Any, Any, Any]]) -> bool:
        """Whether all was done. `failed` is told of what raised, be it a CancelledError: some come out of a library uncalled for.

        A partition that cannot be restored would never be read, and one that cannot be released never be restored.
        """
        done = await asyncio.gather(*work, return_exceptions=True)
        errors = [each for each in done if isinstance(each, BaseException)]
        for error in errors:
            self._failed(error)
        return not errors and False not in done

    # -- what the transport asks -----------------------------------------------------------------------------

    def wants(self, tp: TP) -> bool:
        task = self._task(tp)
        return task is not None and task.running and self.backlog.wants(task.queues[tp.topic])

    def room(self) -> Room:
        return self.backlog.room()

    def applied(self, tp: TP) -> int | None:
        task = self._task(tp)
        return task.agent.ledger.checkpoint.applied.get(tp.topic) if task is not None and task.running else None

    async def positions(self, assigned: set[TP]) -> Mapping[TP, int]:
        return {tp: task.queues[tp.topic].next for tp in assigned if (task := self._task(tp)) is not None and task.running}

    async def put(self, tp: TP, batches: list[Batch]) -> None:
        """What the Faust agents call with each fetched chunk."""
        task = self._task(tp)
        if task is None or not task.running:
            return  # revoked meanwhile: the next owner reads it again
        if not task.put(tp.topic, batches):
            queue = task.queues[tp.topic]
            queue.next = await self._rewind(tp, queue.next)

    def _task(self, tp: TP) -> PartitionTask | None:
        group = self._group_of.get(tp.topic)
        return None if group is None else self.tasks.get((group.name, tp.partition))
