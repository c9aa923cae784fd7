"""The experiments topic: specs by name, read by every worker, written by the command line.

A record's key is the experiment's name and its value the whole spec as JSON; a tombstone removes it. What may follow what is
decided in `allocator.lifecycle`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer

from allocator.errors import SpecError, SpecErrors, UnknownExperiment
from allocator.experiment import Experiment, Status
from allocator.lifecycle import move, revise
from allocator.namespaces import conflicts
from allocator.overrule import overrule
from streams.admin import create_topics
from streams.clients import ANSWER_TIMEOUT_S, admin_client, started
from streams.compacted import CompactedTopic
from streams.connection import Connection
from streams.own_policies import load_spec
from streams.topics import Topics

__all__ = [
    "ExperimentsReader",
    "apply",
    "change",
    "decode_experiment",
    "read_experiments",
    "set_overruled",
    "set_status",
    "write_experiment",
]

log = logging.getLogger(__name__)

Subscriber = Callable[[str, Experiment | None], None]


class ExperimentsReader:
    """The specs as they are now. `specs` is complete once `start` returns and current from then on.

    A malformed record is logged and counted in `malformed`; the spec it would have replaced stays. Each function in
    `on_change` is called with the name and the new spec, or None when it was removed; one that raises ends the reader, and
    `task` holds its exception. Records read by `start` are announced too.
    """

    def __init__(self, connection: Connection, topics: Topics) -> None:
        self.specs: dict[str, Experiment] = {}
        self.on_change: list[Subscriber] = []
        self.malformed = 0
        self._topic = CompactedTopic(connection, topics.experiments, self._take)

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task that follows the topic, or None before `start`."""
        return self._topic.task

    async def start(self) -> None:
        """Read every spec there is, then follow the topic through Kafka's outages.

        Raises
        ------
        Unreachable : no broker answered.
        TopicError : there is no experiments topic.
        """
        await self._topic.start()

    async def read_to_end(self) -> None:
        """Read every spec there is and no more; `stop` must still be called."""
        await self._topic.read_to_end()

    async def stop(self) -> None:
        """Leave. Raises what a subscriber raised."""
        await self._topic.stop()

    def _take(self, record: Any) -> None:
        name = (record.key or b"").decode(errors="replace")
        if record.value is None:
            changed = self.specs.pop(name, None) is not None
            experiment = None
        else:
            try:
                experiment = decode_experiment(record.key, record.value)
            except (SpecErrors, ValueError, RecursionError) as error:
                self.malformed += 1
                log.error("%s, offset %d: %r is not a spec, the former one stays: %s", record.topic, record.offset, name, error)
                return
            changed = self.specs.get(name) != experiment
            self.specs[name] = experiment
        if changed:
            for subscriber in self.on_change:
                subscriber(name, experiment)


def decode_experiment(key: bytes | None, value: bytes) -> Experiment:
    """The spec of one record.

    Raises
    ------
    ValueError, RecursionError : not JSON.
    SpecErrors : JSON, but not a spec, or not under its own name.
    """
    experiment = load_spec(msgspec.json.decode(value))
    if key != experiment.experiment.encode():
        raise SpecErrors([SpecError("experiment", experiment.experiment, f"the record's key, {key!r}")])
    return experiment


async def read_experiments(connection: Connection, topics: Topics) -> dict[str, Experiment]:
    """Every spec by name, as of now. Raises Unreachable, TopicError."""
    reader = ExperimentsReader(connection, topics)
    await reader.read_to_end()
    await reader.stop()
    return reader.specs


async def apply(connection: Connection, topics: Topics, experiment: Experiment) -> Experiment:
    """`change`, for who only wants to know what is in force now."""
    return (await change(connection, topics, experiment))[1]


async def change(connection: Connection, topics: Topics, wanted: Experiment) -> tuple[Experiment | None, Experiment]:
    """Put a spec in force. Returns what was in force before, None for a new name, and what is now: the same if nothing changed.

    The experiments topic is created when it is missing, so that a spec can be applied before the first worker starts.

    Raises
    ------
    SpecErrors : a change that a running experiment cannot take (see `allocator.lifecycle.revise`), or units of its namespace that
        another experiment holds; nothing was written. If that one was applied at the same moment, both were: the error says so.
    Unreachable, TopicErrors : it could not be written.
    """
    await _ensure_topic(connection, topics)
    specs = await read_experiments(connection, topics)
    current = specs.get(wanted.experiment)
    revised = revise(current, wanted)
    if revised is current:
        return current, revised
    if errors := conflicts(revised, specs.values()):
        raise SpecErrors(errors)
    await write_experiment(connection, topics, revised)
    if revised.namespace is not None:
        specs = await read_experiments(connection, topics)
        if errors := conflicts(revised, specs.values()):
            both = "; it was applied at the same moment and both are in force: stop one of them"
            raise SpecErrors(SpecError(error.path, error.value, error.expected + both) for error in errors)
    return current, revised


async def set_status(connection: Connection, topics: Topics, name: str, status: Status) -> Experiment:
    """Pause, resume or stop an experiment.

    Raises
    ------
    UnknownExperiment, SpecErrors : no such experiment; a change of status that is not allowed.
    """
    current = (await read_experiments(connection, topics)).get(name)
    if current is None:
        raise UnknownExperiment(name)
    moved = move(current, status)
    if moved is not current:
        await write_experiment(connection, topics, moved)
    return moved


async def set_overruled(
    connection: Connection, topics: Topics, name: str, metric: str, arm: str, *, undo: bool = False
) -> tuple[Experiment, Experiment]:
    """Let a guardrail only alert for an arm, or act on it again. Returns the specs before and after; the same if nothing changed.

    Raises
    ------
    UnknownExperiment, SpecErrors : no such experiment, guardrail or arm.
    """
    current = (await read_experiments(connection, topics)).get(name)
    if current is None:
        raise UnknownExperiment(name)
    changed = overrule(current, metric, arm, undo=undo)
    if changed is not current:
        await write_experiment(connection, topics, changed)
    return current, changed


async def write_experiment(connection: Connection, topics: Topics, experiment: Experiment) -> None:
    """Write one spec as it is and wait until every replica in sync has it."""
    producer = AIOKafkaProducer(
        **connection.aiokafka(), acks="all", enable_idempotence=True, request_timeout_ms=int(ANSWER_TIMEOUT_S * 1000)
    )
    async with started(producer, connection):
        await producer.send_and_wait(topics.experiments, msgspec.json.encode(experiment), experiment.experiment.encode())


async def _ensure_topic(connection: Connection, topics: Topics) -> None:
    spec = next(spec for spec in topics.specs() if spec.name == topics.experiments)
    async with started(admin_client(connection), connection) as admin:
        if spec.name not in await admin.list_topics():
            await create_topics(admin, [spec], partitions=1)
