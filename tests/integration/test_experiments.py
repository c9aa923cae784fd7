"""Specs on a real broker: written, read back, followed through malformed records and an outage."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from allocator.errors import AllocatorError, Discards, SpecErrors, TopicError, UnknownExperiment
from allocator.experiment import Experiment
from allocator.spec import load_experiment
from deploy.kafka.broker import Broker
from streams import compacted, experiments
from streams.admin import ensure_topics
from streams.compacted import read_compacted
from streams.connection import Connection
from streams.experiments import ExperimentsReader, apply, change, read_experiments, set_status
from streams.topics import Topics

pytestmark = pytest.mark.kafka
TIMEOUT_S = 30.0


def spec(name: str = "chat", **changes: Any) -> Experiment:
    return load_experiment({"experiment": name, "arms": ["a", "b"], "metrics": {"click": "binary"}} | changes)


async def until(condition: Callable[[], bool], ring: asyncio.Event) -> None:
    """Wait until a change that rings makes the condition true."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            ring.clear()
            await ring.wait()


async def send(connection: Connection, topic: str, *records: tuple[bytes, bytes | None]) -> None:
    async with AIOKafkaProducer(**connection.aiokafka()) as producer:
        for key, value in records:
            await producer.send_and_wait(topic, value, key)


async def test_a_spec_is_applied_changed_and_left_alone(kafka: Broker, prefix: str) -> None:
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    first = await apply(connection, topics, spec())  # the topic is made: no worker has started yet
    assert first == spec()
    assert await change(connection, topics, spec()) == (first, first)
    added = await apply(connection, topics, spec(arms=["a", "b", "c"]))
    assert (added.revision, added.arm_ids) == (2, ("a", "b", "c"))
    with pytest.raises(Discards, match=r"phase 2 begins \(period, metrics\.click\.window\)"):
        await apply(connection, topics, spec(arms=["a", "b", "c"], metrics={"click": {"type": "binary", "window": "1h"}}))
    assert await read_experiments(connection, topics) == {"chat": added}
    record = (await read_compacted(connection, topics.experiments))[b"chat"]
    assert (record.key, record.value) == (b"chat", msgspec.json.encode(added))


async def test_two_that_are_applied_at_one_moment_are_both_told(
    kafka: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    space = {"name": "home-page", "from": "0%", "to": "30%"}
    await apply(connection, topics, spec("first", namespace=space))
    with pytest.raises(SpecErrors, match=r"namespace: .* first, owner not named, holds 0%–30%"):
        await apply(connection, topics, spec("second", namespace=space))
    assert set(await read_experiments(connection, topics)) == {"first"}

    async def before_the_other(*_: Any, **__: Any) -> dict[str, Experiment]:
        monkeypatch.undo()  # what is read after the write has both
        return {}

    monkeypatch.setattr(experiments, "read_experiments", before_the_other)
    with pytest.raises(SpecErrors, match="applied at the same moment and both are in force: stop one of them"):
        await apply(connection, topics, spec("second", namespace=space))
    assert set(await read_experiments(connection, topics)) == {"first", "second"}


async def test_status_is_set_and_survives_a_change(kafka: Broker, prefix: str) -> None:
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    await apply(connection, topics, spec())
    assert (await set_status(connection, topics, "chat", "paused")).revision == 2
    assert (await set_status(connection, topics, "chat", "paused")).revision == 2
    changed = await apply(connection, topics, spec(enrolment=0.5))
    assert (changed.status, changed.revision) == ("paused", 3)
    await set_status(connection, topics, "chat", "stopped")
    with pytest.raises(SpecErrors, match="stopped is final"):
        await set_status(connection, topics, "chat", "running")
    with pytest.raises(UnknownExperiment):
        await set_status(connection, topics, "chta", "paused")


async def test_the_reader_follows_and_keeps_the_last_good_spec(
    kafka: Broker, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    await apply(connection, topics, spec("old"))
    reader, seen, ring = ExperimentsReader(connection, topics), list[tuple[str, Experiment | None]](), asyncio.Event()
    reader.on_change += [lambda name, experiment: seen.append((name, experiment)), lambda *_: ring.set()]
    await reader.start()
    assert reader.specs == {"old": spec("old")}
    assert seen == [("old", spec("old"))]

    await apply(connection, topics, spec("new"))
    await until(lambda: "new" in reader.specs, ring)
    with caplog.at_level(logging.ERROR, "streams.experiments"):
        good = msgspec.json.encode(spec("new"))
        bad = [(b"new", b"\xff"), (b"new", b"{}"), (b"new", b"[]"), (b"other", good)]
        await send(connection, topics.experiments, *bad, (b"old", None))
        await until(lambda: "old" not in reader.specs, ring)
    assert reader.malformed == 4
    assert len(caplog.records) == 4
    assert reader.specs == {"new": spec("new")}
    assert seen[-1] == ("old", None)
    await reader.stop()


async def test_a_record_that_says_the_same_again_is_no_change(kafka: Broker, prefix: str) -> None:
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    await apply(connection, topics, spec())
    await send(connection, topics.experiments, (b"chat", msgspec.json.encode(spec())))
    reader, seen = ExperimentsReader(connection, topics), list[str]()
    reader.on_change.append(lambda name, _: seen.append(name))
    await reader.read_to_end()
    await reader.stop()
    assert seen == ["chat"]


async def test_the_reader_sees_what_is_applied_after_an_outage(own_kafka: Callable[[], Broker], prefix: str) -> None:
    broker = own_kafka()
    connection, topics = Connection(broker.bootstrap), Topics(prefix)
    await apply(connection, topics, spec())
    reader, ring = ExperimentsReader(connection, topics), asyncio.Event()
    reader.on_change.append(lambda *_: ring.set())
    await reader.start()
    await asyncio.to_thread(broker.kill)
    await asyncio.to_thread(broker.start)
    assert reader.specs == {"chat": spec()}
    await eventually(lambda: apply(connection, topics, spec("later")))
    await until(lambda: "later" in reader.specs, ring)
    await reader.stop()


async def eventually(attempt: Callable[[], Awaitable[Any]]) -> None:
    """A broker just started may need a moment to lead its partitions again."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            try:
                await attempt()
                return
            except (KafkaError, AllocatorError) as error:
                logging.getLogger(__name__).info("once more: %s", error)


async def test_what_a_subscriber_raises_ends_the_reader_and_is_not_lost(kafka: Broker, prefix: str) -> None:
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    await apply(connection, topics, spec("first"))
    reader = ExperimentsReader(connection, topics)

    def refuse(name: str, _: Experiment | None) -> None:
        if name == "second":
            raise RuntimeError("cannot take it")

    reader.on_change.append(refuse)
    await reader.start()
    assert reader.task is not None
    await apply(connection, topics, spec("second"))
    await asyncio.wait([reader.task], timeout=TIMEOUT_S)
    assert isinstance(reader.task.exception(), RuntimeError)
    with pytest.raises(RuntimeError, match="cannot take it"):
        await reader.stop()


async def test_without_the_topic_there_is_nothing_to_read(kafka: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacted, "ANSWER_TIMEOUT_S", 1.0)
    with pytest.raises(TopicError, match="not been made"):
        await read_experiments(Connection(kafka.bootstrap), Topics(prefix))


async def test_the_worker_topics_fit_the_one_that_apply_made(kafka: Broker, prefix: str) -> None:
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    await apply(connection, topics, spec())
    assert await ensure_topics(connection, topics, partitions=2) == 2
