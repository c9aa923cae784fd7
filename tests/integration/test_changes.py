"""Who changed what, on a real broker: each change is told of once, and of two writers at once exactly one wins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from allocator.errors import Conflict, Discards, SpecErrors
from allocator.experiment import Experiment
from allocator.lifecycle import promote
from allocator.spec import load_experiment
from deploy.kafka.broker import Broker
from streams import experiments
from streams.changes import Author, read_changes, spec_producer, write_change
from streams.compacted import read_compacted
from streams.connection import Connection
from streams.experiments import amend, apply, change, read_experiments, set_status
from streams.topics import Topics

pytestmark = pytest.mark.kafka
ANN, BOB = Author("ann", "more traffic"), Author("bob")


def spec(name: str = "chat", **changes: Any) -> Experiment:
    return load_experiment({"experiment": name, "arms": ["a", "b"], "metrics": {"click": "binary"}} | changes)


async def history(connection: Connection, topics: Topics, name: str = "chat") -> list[tuple[int, str, str, str]]:
    return [(c.revision, c.status, c.by, c.why) for c in (await read_changes(connection, topics)).get(name, [])]


async def test_every_change_says_who_when_why_and_what(kafka: Broker, prefix: str) -> None:
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    first = await apply(connection, topics, spec(status="draft"), BOB)
    await apply(connection, topics, spec(), ANN)  # nothing to change: nothing to tell
    await set_status(connection, topics, "chat", "running", ANN)
    await apply(connection, topics, spec(enrolment=0.5, arms=["a", "b", "c"]), ANN)
    await amend(connection, topics, "chat", lambda current: promote(current, "c"), Author("bob", "c is best"))
    assert await history(connection, topics) == [
        (1, "draft", "bob", ""),
        (2, "running", "ann", "more traffic"),
        (3, "running", "ann", "more traffic"),
        (4, "promoted", "bob", "c is best"),
    ]
    told = (await read_changes(connection, topics))["chat"]
    assert (told[0].kind, told[0].changes, told[0].spec_hash) == ("new", [], first.spec_hash)
    assert [[(c.path, c.before, c.after) for c in each.changes] for each in told[1:]] == [
        [("status", "draft", "running")],
        [("arms.c", None, {"id": "c"}), ("enrolment", 1.0, 0.5)],
        [("status", "running", "promoted"), ("promoted", None, "c")],
    ]
    assert [each.ts for each in told] == sorted(each.ts for each in told)


class Interleaved:
    """Holds the first writer up after it has read, until `go`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read, self.go = asyncio.Event(), asyncio.Event()
        self._write = write_change
        monkeypatch.setattr(experiments, "write_change", self._held)

    async def _held(self, *arguments: Any) -> bool:
        if not self.read.is_set():
            self.read.set()
            await self.go.wait()
        return await self._write(*arguments)


async def test_of_two_applies_at_once_one_wins_and_one_is_told_of_the_other(
    kafka: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    await apply(connection, topics, spec())
    step = Interleaved(monkeypatch)
    slow = asyncio.create_task(change(connection, topics, spec(enrolment=0.1), BOB))
    await step.read.wait()
    fast = await change(connection, topics, spec(enrolment=0.9), ANN)
    step.go.set()
    with pytest.raises(Conflict, match=r"chat: revision 2 by ann at .* UTC is in force, .* made from revision 1") as caught:
        await slow
    assert (caught.value.read, caught.value.revision, caught.value.by) == (1, 2, "ann")
    assert (await read_experiments(connection, topics))["chat"] == fast[1]
    assert [revision for revision, *_ in await history(connection, topics)] == [1, 2]


async def test_the_same_change_twice_at_once_is_no_conflict(kafka: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    await apply(connection, topics, spec())
    step = Interleaved(monkeypatch)
    slow = asyncio.create_task(change(connection, topics, spec(enrolment=0.9), BOB))
    await step.read.wait()
    fast = await change(connection, topics, spec(enrolment=0.9), ANN)
    step.go.set()
    assert (await slow)[1] == fast[1]
    assert len(await history(connection, topics)) == 2


async def test_without_fencing_the_slow_writer_would_overwrite_the_fast_one(
    kafka: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the same story with producers whose ids do not clash."""
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    await apply(connection, topics, spec())
    ids = iter(range(100))
    monkeypatch.setattr(experiments, "spec_producer", lambda c, t, name: spec_producer(c, t, f"{name}-{next(ids)}"))
    step = Interleaved(monkeypatch)
    slow = asyncio.create_task(change(connection, topics, spec(enrolment=0.1), BOB))
    await step.read.wait()
    await change(connection, topics, spec(enrolment=0.9), ANN)
    step.go.set()
    await slow
    assert [revision for revision, *_ in await history(connection, topics)] == [1, 2, 2]  # two second revisions: ann's is lost


async def test_many_writers_at_once_make_one_revision_each_or_none(kafka: Broker, prefix: str) -> None:
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    await apply(connection, topics, spec())
    wanted = [spec(enrolment=0.1 * n) for n in range(1, 5)]
    done = await asyncio.gather(
        *(change(connection, topics, each, Author(f"w{n}")) for n, each in enumerate(wanted)), return_exceptions=True
    )
    conflicts = [each for each in done if isinstance(each, Conflict)]
    written = [each for each in done if isinstance(each, tuple)]
    assert [each for each in done if each not in conflicts and each not in written] == []
    assert written
    assert [revision for revision, *_ in await history(connection, topics)] == list(range(1, len(written) + 2))
    assert (await read_experiments(connection, topics))["chat"].revision == len(written) + 1


async def test_a_change_made_from_an_older_revision_is_refused(kafka: Broker, prefix: str) -> None:
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    await apply(connection, topics, spec())
    await apply(connection, topics, spec(enrolment=0.9), ANN)
    with pytest.raises(Conflict, match="revision 2 by ann"):
        await change(connection, topics, spec(enrolment=0.1), BOB, read=1)
    assert (await change(connection, topics, spec(enrolment=0.9), BOB, read=1))[1].revision == 2  # it is in force already
    assert (await change(connection, topics, spec(enrolment=0.1), BOB, read=2))[1].revision == 3
    with pytest.raises(Conflict, match="made when there was none"):
        await change(connection, topics, spec(enrolment=0.2), BOB, read=0)


async def test_commands_meet_whatever_is_in_force(kafka: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    await apply(connection, topics, spec())
    step = Interleaved(monkeypatch)
    pause = asyncio.create_task(set_status(connection, topics, "chat", "paused", BOB))
    await step.read.wait()
    await apply(connection, topics, spec(enrolment=0.9), ANN)
    step.go.set()
    paused = await pause
    assert (paused.status, paused.enrolment, paused.revision) == ("paused", 0.9, 3)


async def test_another_experiments_open_transaction_hides_no_revision(kafka: Broker, prefix: str) -> None:
    """What was committed behind it is not visible before it ends, and must not be overwritten meanwhile."""
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    await apply(connection, topics, spec())
    other = AIOKafkaProducer(**connection.aiokafka(), transactional_id=f"{prefix}-other", transaction_timeout_ms=60_000)
    await other.start()
    await other.begin_transaction()
    await other.send_and_wait(topics.experiments, msgspec.json.encode(spec("other")), b"other")
    async with spec_producer(connection, topics, "chat") as producer:
        revised = msgspec.structs.replace(spec(enrolment=0.9), revision=2)
        assert await write_change(producer, topics, spec(), revised, ANN)
    assert (await read_experiments(connection, topics))["chat"].revision == 1  # hidden
    late = asyncio.create_task(change(connection, topics, spec(enrolment=0.1), BOB, read=1))
    done, _ = await asyncio.wait([late], timeout=1.0)
    assert not done  # it waits
    await other.commit_transaction()
    await other.stop()
    with pytest.raises(Conflict, match="revision 2 by ann"):
        await late


async def test_what_would_be_discarded_is_said_first(kafka: Broker, prefix: str) -> None:
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    await apply(connection, topics, spec(arms=["a", "b", "c"]))
    with pytest.raises(Discards, match=r"arm c is removed: what it has counted is no longer read.* --yes"):
        await apply(connection, topics, spec())
    assert (await read_experiments(connection, topics))["chat"].revision == 1
    assert (await change(connection, topics, spec(), discard=True))[1].arm_ids == ("a", "b")


async def test_neither_record_is_there_without_the_other(own_kafka: Callable[..., Broker], prefix: str) -> None:
    """The broker refuses the change as too large: the spec must not be in force either."""
    broker = own_kafka({"message.max.bytes": "4000"})
    connection, topics = Connection(broker.bootstrap), Topics(prefix)
    await apply(connection, topics, spec())
    with pytest.raises(Exception, match=r"MessageSizeTooLarge|too large|larger"):
        await apply(connection, topics, spec(enrolment=0.5), Author("ann", "x" * 4000))
    assert (await read_experiments(connection, topics, to_the_end=True))["chat"].revision == 1
    assert len(await history(connection, topics)) == 1
    assert (await apply(connection, topics, spec(enrolment=0.5), ANN)).revision == 2


async def test_a_refused_change_is_not_told_of(kafka: Broker, prefix: str) -> None:
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    await apply(connection, topics, spec())
    with pytest.raises(SpecErrors):
        await apply(connection, topics, spec(unit="session"))
    assert len(await history(connection, topics)) == 1
    assert set(await read_compacted(connection, topics.changes)) == {b"chat"}
