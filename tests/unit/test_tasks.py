"""Partitions come and go: what is restored, run, fed and stopped when. Agents and ledgers are fakes; no Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import AsyncMock

import pytest
from faust.types import TP

from streams import tasks
from streams.queues import RECORD_BYTES, Backlog, SourceQueue
from streams.seam import Batch
from streams.state import Checkpoint
from streams.tasks import AgentGroup, Partitions

JOIN_TOPICS = ("exposures", "rewards")
TIMEOUT_S = 30.0


class FakeLedger:
    """Restores when `may_open` is set, or never if cancelled before."""

    def __init__(self, name: str, partition: int, applied: Mapping[str, int]) -> None:
        self.name, self.partition = name, partition
        self.checkpoint = Checkpoint()
        self.applied = dict(applied)
        self.may_open = asyncio.Event()
        self.may_open.set()
        self.opening = asyncio.Event()
        self.closed = 0

    async def open(self, cancelled: Callable[[], bool]) -> bool:
        self.opening.set()
        while not self.may_open.is_set():
            if cancelled():
                return False
            await asyncio.sleep(0)
        if cancelled():
            return False
        self.checkpoint = Checkpoint(1, self.applied)
        return True

    async def close(self) -> None:
        self.closed += 1


class FakeAgent:
    """Takes whatever is queued. `pauses` are what its steps return; then it waits for records."""

    def __init__(self, ledger: FakeLedger) -> None:
        self.ledger: Any = ledger
        self.restored = False
        self.taken: list[tuple[str, int]] = []
        self.steps = 0
        self.pauses: list[float | None] = []
        self.error: BaseException | None = None
        self.stepping = asyncio.Event()
        self.may_step = asyncio.Event()
        self.may_step.set()

    def restore(self) -> None:
        self.restored = True

    async def step(self, queues: Mapping[str, SourceQueue]) -> float | None:
        self.steps += 1
        self.stepping.set()
        await self.may_step.wait()
        if self.error is not None:
            raise self.error
        for topic, queue in queues.items():
            self.taken += [(topic, batch.base) for batch in queue.take(len(queue.batches))]
        return self.pauses.pop(0) if self.pauses else None


@dataclass
class Worker:
    """Partitions of the two groups a worker has, with what they made and told."""

    applied: Mapping[str, int] = field(default_factory=dict)
    made: dict[tuple[str, int], FakeAgent] = field(default_factory=dict)
    rewinds: list[tuple[TP, int]] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    prepare: Callable[[FakeAgent], None] = lambda agent: None
    earliest: int = 0
    queue_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        groups = (
            AgentGroup("join", JOIN_TOPICS, lambda partition: self._make("join", partition)),
            AgentGroup("allocate", ("partials",), lambda partition: self._make("allocate", partition)),
        )
        self.partitions = Partitions(groups, self._rewind, self.failures.append, Backlog(self.queue_bytes))

    def _make(self, name: str, partition: int) -> FakeAgent:
        agent = FakeAgent(FakeLedger(name, partition, self.applied))
        self.prepare(agent)
        self.made[name, partition] = agent
        return agent

    async def _rewind(self, tp: TP, offset: int) -> int:
        self.rewinds.append((tp, offset))
        return max(offset, self.earliest)

    def join(self, partition: int = 0) -> FakeAgent:
        return self.made["join", partition]


@asynccontextmanager
async def running(worker: Worker, *assigned: TP) -> AsyncIterator[Worker]:
    """The worker with these partitions, stopped at the end."""
    async with asyncio.timeout(TIMEOUT_S):
        await worker.partitions.assign(assigned or both(0))
        yield worker
        await worker.partitions.revoke()


def both(*partitions: int) -> tuple[TP, ...]:
    return tuple(TP(topic, p) for p in partitions for topic in JOIN_TOPICS)


def batch(base: int, next_: int) -> Batch:
    return Batch(base, next_, next_ - base, 0, 0, None)


async def until(condition: Callable[[], object]) -> None:
    """Let the other tasks run until it is true."""
    while not condition():  # noqa: ASYNC110 - every task here is ready at once: there is nothing to wait for
        await asyncio.sleep(0)


# -- assignment ------------------------------------------------------------------------------------------------------------------


async def test_assigned_partitions_are_restored_and_run() -> None:
    async with running(Worker(), *both(0, 2), TP("partials", 1)) as worker:
        assert worker.partitions.restored
        assert worker.made.keys() == {("join", 0), ("join", 2), ("allocate", 1)}
        assert all(agent.restored for agent in worker.made.values())
        assert worker.partitions.agents("join") == {0: worker.join(0), 2: worker.join(2)}
        await until(lambda: all(agent.steps for agent in worker.made.values()))


async def test_topics_of_no_group_are_nobodys() -> None:
    async with running(Worker(), TP("other", 0)) as worker:
        assert worker.made == {}
        assert worker.partitions.restored
        assert not worker.partitions.wants(TP("other", 0))
        assert worker.partitions.applied(TP("other", 0)) is None
        await worker.partitions.put(TP("other", 0), [batch(0, 1)])


async def test_a_partition_assigned_without_its_sibling_is_an_error() -> None:
    """Round-robin assignment would do this, and the join would miss every match."""
    worker = Worker()
    with pytest.raises(RuntimeError, match=r"join 1: assigned \['rewards'\] without the rest of \('exposures', 'rewards'\)"):
        await worker.partitions.assign([*both(0), TP("rewards", 1)])
    assert worker.made == {}
    assert not worker.partitions.restored


async def test_a_second_assignment_makes_only_what_is_new() -> None:
    async with running(Worker()) as worker:
        first = worker.join(0)
        await worker.partitions.assign(both(0, 1))
        assert worker.join(0) is first
        assert worker.partitions.agents("join").keys() == {0, 1}


async def test_not_restored_until_the_last_partition_is() -> None:
    worker = Worker(prepare=lambda agent: agent.ledger.partition == 1 and agent.ledger.may_open.clear())
    async with asyncio.timeout(TIMEOUT_S):
        assigning = asyncio.create_task(worker.partitions.assign(both(0, 1)))
        await until(lambda: ("join", 1) in worker.made and worker.join(0).restored)
        assert not worker.partitions.restored
        assert worker.partitions.agents("join").keys() == {0}
        assert not worker.partitions.wants(TP("rewards", 1))
        worker.join(1).ledger.may_open.set()
        await assigning
        assert worker.partitions.restored
        await worker.partitions.revoke()


async def test_a_revocation_cancels_a_restore_under_way() -> None:
    worker = Worker(prepare=lambda agent: agent.ledger.may_open.clear())
    async with asyncio.timeout(TIMEOUT_S):
        assigning = asyncio.create_task(worker.partitions.assign(both(0)))
        await until(lambda: worker.made and worker.join().ledger.opening.is_set())
        await worker.partitions.revoke()
        await assigning
    agent = worker.join()
    assert (agent.restored, agent.steps, agent.ledger.closed) == (False, 0, 1)
    assert not worker.partitions.restored
    assert worker.partitions.tasks == {}


async def test_a_restore_that_raises_is_told() -> None:
    def broken(agent: FakeAgent) -> None:
        def restore() -> None:
            raise ValueError("cells numbered with a gap")

        agent.restore = restore  # type: ignore[method-assign]

    worker = Worker(prepare=broken)
    await worker.partitions.assign(both(0))
    assert [str(error) for error in worker.failures] == ["cells numbered with a gap"]
    assert not worker.partitions.restored
    await worker.partitions.revoke()
    assert worker.join().ledger.closed == 1


async def test_a_restore_that_is_cancelled_by_nobody_here_is_told() -> None:
    """aiokafka lets such errors out; the one who awaits them would end without a word, and so would the rebalance."""

    def broken(agent: FakeAgent) -> None:
        async def cancelled(_: Callable[[], bool]) -> bool:
            raise asyncio.CancelledError

        agent.ledger.open = cancelled

    worker = Worker(prepare=broken)
    await worker.partitions.assign(both(0))
    assert [type(error) for error in worker.failures] == [asyncio.CancelledError]
    assert not worker.partitions.restored


# -- revocation ------------------------------------------------------------------------------------------------------------------


async def test_a_revocation_stops_after_the_step_under_way_and_closes() -> None:
    def slow(agent: FakeAgent) -> None:
        agent.may_step.clear()

    worker = Worker(prepare=slow)
    async with asyncio.timeout(TIMEOUT_S):
        await worker.partitions.assign(both(0))
        agent = worker.join()
        await agent.stepping.wait()
        revoking = asyncio.create_task(worker.partitions.revoke())
        await until(lambda: not worker.partitions.restored)
        assert (agent.ledger.closed, revoking.done()) == (0, False)
        agent.may_step.set()
        await revoking
    assert (agent.steps, agent.ledger.closed) == (1, 1)
    assert worker.failures == []


async def test_a_step_that_never_ends_is_cancelled(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(tasks, "STOP_WAIT_S", 0.01)
    worker = Worker(prepare=lambda agent: agent.may_step.clear())
    async with asyncio.timeout(TIMEOUT_S):
        await worker.partitions.assign(both(0))
        await worker.join().stepping.wait()
        await worker.partitions.revoke()
    assert worker.join().ledger.closed == 1
    assert worker.failures == []
    assert "join-0 did not end" in caplog.text


async def test_a_release_that_raises_is_told_and_the_others_are_released() -> None:
    def broken(agent: FakeAgent) -> None:
        if agent.ledger.partition == 0:
            agent.ledger.close = AsyncMock(side_effect=asyncio.CancelledError)

    worker = Worker(prepare=broken)
    await worker.partitions.assign(both(0, 1))
    await worker.partitions.revoke()
    assert [type(error) for error in worker.failures] == [asyncio.CancelledError]
    assert worker.join(1).ledger.closed == 1


async def test_what_was_revoked_is_restored_anew_when_assigned_again() -> None:
    worker = Worker(applied={"exposures": 5})
    async with running(worker):
        first = worker.join()
        await worker.partitions.revoke()
        await worker.partitions.assign(both(0))
        assert worker.join() is not first
        assert first.ledger.closed == 1
        assert worker.partitions.restored


async def test_revoking_nothing_is_fine() -> None:
    worker = Worker()
    await worker.partitions.revoke()
    await worker.partitions.revoke()
    assert not worker.partitions.restored


# -- steps -----------------------------------------------------------------------------------------------------------------------


async def test_an_agent_steps_again_at_once_later_or_when_records_come() -> None:
    def busy(agent: FakeAgent) -> None:
        agent.pauses = [0, 0, 0.001, None]

    async with running(Worker(prepare=busy)) as worker:
        agent = worker.join()
        await until(lambda: agent.steps == 4)
        for _ in range(20):
            await asyncio.sleep(0)
        assert agent.steps == 4
        await worker.partitions.put(TP("exposures", 0), [batch(0, 3)])
        await until(lambda: agent.steps == 5)
        assert agent.taken == [("exposures", 0)]


async def test_wake_has_every_agent_of_a_group_step_again() -> None:
    async with running(Worker(), *both(0, 1), TP("partials", 0)) as worker:
        await until(lambda: all(agent.steps == 1 for agent in worker.made.values()))
        worker.partitions.wake("join")
        await until(lambda: worker.join(0).steps == worker.join(1).steps == 2)
        assert worker.made["allocate", 0].steps == 1


@pytest.mark.parametrize("error", [ZeroDivisionError("a defect"), asyncio.CancelledError()], ids=repr)
async def test_a_failing_step_is_told_and_no_other_follows(error: BaseException) -> None:
    def broken(agent: FakeAgent) -> None:
        agent.error = error

    async with running(Worker(prepare=broken)) as worker:
        await until(lambda: worker.failures)
        await worker.partitions.put(TP("exposures", 0), [batch(0, 1)])
        worker.partitions.wake("join")
        for _ in range(20):
            await asyncio.sleep(0)
        assert worker.join().steps == 1
        assert worker.failures == [error]


# -- what the transport asks -----------------------------------------------------------------------------------------------------


async def test_positions_are_those_applied_until_records_are_queued() -> None:
    async with running(Worker(applied={"exposures": 7}, prepare=lambda agent: agent.may_step.clear())) as worker:
        assigned = set(both(0)) | {TP("other", 0)}
        assert await worker.partitions.positions(assigned) == {TP("exposures", 0): 7, TP("rewards", 0): 0}
        await worker.partitions.put(TP("exposures", 0), [batch(7, 9)])
        assert await worker.partitions.positions(assigned) == {TP("exposures", 0): 9, TP("rewards", 0): 0}
        assert worker.partitions.applied(TP("exposures", 0)) == 7
        assert worker.partitions.applied(TP("rewards", 0)) is None
        worker.join().may_step.set()


async def test_fetching_pauses_while_enough_is_queued() -> None:
    async with running(Worker(prepare=lambda agent: agent.may_step.clear(), queue_bytes=20 * RECORD_BYTES)) as worker:
        exposures, rewards = both(0)
        await worker.partitions.put(exposures, [batch(0, 14)])
        assert worker.partitions.wants(exposures)
        await worker.partitions.put(exposures, [batch(14, 15)])
        assert not worker.partitions.wants(exposures)
        assert worker.partitions.wants(rewards)
        worker.join().may_step.set()
        await until(lambda: worker.partitions.wants(exposures))


async def test_what_comes_for_a_revoked_partition_is_dropped() -> None:
    worker = Worker()
    async with running(worker):
        agent = worker.join()
        await worker.partitions.revoke()
        await worker.partitions.put(TP("exposures", 0), [batch(0, 1)])
        assert not worker.partitions.wants(TP("exposures", 0))
        assert worker.partitions.applied(TP("exposures", 0)) is None
        assert await worker.partitions.positions({TP("exposures", 0)}) == {}
        assert (agent.taken, worker.rewinds) == ([], [])


async def test_a_gap_rewinds_to_the_missing_record() -> None:
    async with running(Worker(applied={"exposures": 4})) as worker:
        await worker.partitions.put(TP("exposures", 0), [batch(6, 8)])
        await worker.partitions.put(TP("exposures", 0), [batch(8, 9)])  # in flight when the rewind happened
        assert worker.rewinds == [(TP("exposures", 0), 4), (TP("exposures", 0), 4)]
        for base, next_ in ((4, 6), (6, 8), (8, 9)):
            await worker.partitions.put(TP("exposures", 0), [batch(base, next_)])
        await until(lambda: len(worker.join().taken) == 3)
        assert [base for _, base in worker.join().taken] == [4, 6, 8]


async def test_records_the_log_no_longer_has_are_passed_over() -> None:
    async with running(Worker(applied={"exposures": 4}, earliest=100)) as worker:
        await worker.partitions.put(TP("exposures", 0), [batch(100, 103)])
        assert worker.rewinds == [(TP("exposures", 0), 4)]
        await worker.partitions.put(TP("exposures", 0), [batch(100, 103)])
        await until(lambda: worker.join().taken == [("exposures", 100)])
        assert len(worker.rewinds) == 1
