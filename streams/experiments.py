"""The experiments topic: specs by name, read by every worker, written by the command line.

A record's key is the experiment's name and its value the whole spec as JSON; a tombstone removes it. What may follow what is
decided in `allocator.lifecycle`.

A spec is written only if the one in force is the one that was read
1. Start a transactional producer. Its id is the experiment's: it fences whoever else is writing this spec, and ends what they had
   begun. What they had committed is on the topic by now, and they commit nothing more.
2. Read the topic to its end as it is now: to the end of the log, not of what is committed, for another experiment's open
   transaction hides what comes after it.
3. Compare: another revision in force than the one that the change was made from is a conflict, unless nothing is to change.
4. Send the spec and, for the record, the change to `streams.changes`, in one transaction.
5. Commit. Who was fenced in 4 or 5 has written nothing, and starts again at 1: 3 tells whether there is a conflict.
6. Wait until the change can be read.

The broker carried by librdkafka fences nobody: there two writers at once may both win, the last one for good.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from allocator.errors import Discards, SpecError, SpecErrors, UnknownExperiment
from allocator.experiment import Experiment, Status
from allocator.lifecycle import crowded, discarded, move, revise
from allocator.namespaces import conflicts
from allocator.overrule import overrule
from streams.admin import create_topics
from streams.changes import Author, conflict, spec_producer, write_change
from streams.clients import Unreachable, admin_client, started
from streams.compacted import CompactedTopic, settled
from streams.connection import Connection
from streams.own_policies import load_spec
from streams.topics import Topics

__all__ = [
    "ExperimentsReader",
    "amend",
    "apply",
    "change",
    "decode_experiment",
    "read_experiments",
    "set_overruled",
    "set_status",
]

log = logging.getLogger(__name__)

ATTEMPTS = 10
PHASE_LEAD_S = 10.0
"""From a change of what is summed to the phase it begins: workers must have read it before the first event that counts there."""
PAUSE_S = 0.2

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

    async def settle(self) -> None:
        """After `start`: every spec that is on the topic now has been read, though an open transaction may have hidden it."""
        await self._topic.settle()

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


async def read_experiments(connection: Connection, topics: Topics, *, to_the_end: bool = False) -> dict[str, Experiment]:
    """Every spec by name, as of now.

    Parameters
    ----------
    to_the_end : wait for the end of open transactions, which hide what was committed after they began.

    Raises
    ------
    Unreachable, TopicError : it could not be read.
    """
    reader = ExperimentsReader(connection, topics)
    if to_the_end:
        await reader.start()
        try:
            await reader.settle()
        finally:
            await reader.stop()
    else:
        await reader.read_to_end()
        await reader.stop()
    return reader.specs


async def apply(connection: Connection, topics: Topics, experiment: Experiment, author: Author | None = None) -> Experiment:
    """`change`, for who only wants to know what is in force now."""
    return (await change(connection, topics, experiment, author))[1]


async def change(
    connection: Connection,
    topics: Topics,
    wanted: Experiment,
    author: Author | None = None,
    *,
    read: int | None = None,
    discard: bool = False,
) -> tuple[Experiment | None, Experiment]:
    """Put a spec in force. Returns what was in force before, None for a new name, and what is now: the same if nothing changed.

    The topics of specs and of changes are created when they are missing: a spec can be applied before the first worker starts.

    Parameters
    ----------
    author : who wants it, and why; None: whoever runs this.
    read : the revision that `wanted` was made from, 0 for a new name; None: the one in force when this is called.
    discard : whether counted data may be left unread.

    Raises
    ------
    SpecErrors : a change that a running experiment cannot take (see `allocator.lifecycle.revise`), one experiment too many, or
        units of its namespace that another one holds; nothing was written. If that one was applied at the same moment, both were:
        the error says so.
    Conflict : another revision than `read` is in force, and it is not what was wanted; nothing was written.
    Discards : without `discard`, a change that would leave counted data unread; nothing was written.
    Unreachable, TopicErrors : it could not be written.
    """

    def make(specs: Mapping[str, Experiment]) -> Experiment:
        current = specs.get(wanted.experiment)
        revised = revise(current, wanted, time.time() + PHASE_LEAD_S)
        errors = crowded(revised, specs.values()) if current is None else []
        if revised is not current and (errors := errors + conflicts(revised, specs.values())):
            raise SpecErrors(errors)
        if current is not None and not discard and (lost := discarded(current, revised)):
            raise Discards(wanted.experiment, lost)
        return revised

    await _ensure_topics(connection, topics)
    before, after = await _compare_and_set(connection, topics, wanted.experiment, make, author or Author(), read, compare=True)
    if after is not before and after.namespace is not None:
        specs = await read_experiments(connection, topics, to_the_end=True)
        if errors := conflicts(after, specs.values()):
            both = "; it was applied at the same moment and both are in force: stop one of them"
            raise SpecErrors(SpecError(error.path, error.value, error.expected + both) for error in errors)
    return before, after


async def amend(
    connection: Connection, topics: Topics, name: str, make: Callable[[Experiment], Experiment], author: Author | None = None
) -> tuple[Experiment, Experiment]:
    """Make the next revision of an experiment from whatever is in force. Returns both; the same if `make` changes nothing.

    Parameters
    ----------
    make : the spec with the next revision, of the one it is given; called again when somebody else comes in between.

    Raises
    ------
    UnknownExperiment : no such experiment. And what `make` raises.
    """

    def make_of_known(specs: Mapping[str, Experiment]) -> Experiment:
        if name not in specs:
            raise UnknownExperiment(name)
        return make(specs[name])

    await _ensure_topics(connection, topics)
    before, after = await _compare_and_set(connection, topics, name, make_of_known, author or Author(), None, compare=False)
    assert before is not None
    return before, after


async def set_status(
    connection: Connection, topics: Topics, name: str, status: Status, author: Author | None = None
) -> Experiment:
    """Start, pause, resume, stop or archive an experiment.

    Raises
    ------
    UnknownExperiment, SpecErrors : no such experiment; a change of status that is not allowed.
    """
    return (await amend(connection, topics, name, lambda current: move(current, status), author))[1]


async def set_overruled(
    connection: Connection,
    topics: Topics,
    name: str,
    metric: str,
    arm: str,
    *,
    undo: bool = False,
    author: Author | None = None,
) -> tuple[Experiment, Experiment]:
    """Let a guardrail only alert for an arm, or act on it again. Returns the specs before and after; the same if nothing changed.

    Raises
    ------
    UnknownExperiment, SpecErrors : no such experiment, guardrail or arm.
    """
    return await amend(connection, topics, name, lambda current: overrule(current, metric, arm, undo=undo), author)


async def _compare_and_set(
    connection: Connection,
    topics: Topics,
    name: str,
    make: Callable[[Mapping[str, Experiment]], Experiment],
    author: Author,
    read: int | None,
    *,
    compare: bool,
) -> tuple[Experiment | None, Experiment]:
    """Steps 1 to 6 of the module's docstring, as often as another writer comes in between. `make` is given all specs by name."""
    for attempt in range(ATTEMPTS):
        if attempt:
            await asyncio.sleep(random.uniform(0.0, PAUSE_S * attempt))
        async with spec_producer(connection, topics, name) as producer:
            specs = await read_experiments(connection, topics, to_the_end=True)
            current, after = specs.get(name), make(specs)
            if after is current:
                return current, after
            revision = 0 if current is None else current.revision
            if read is None:
                read = revision  # what a further attempt is compared with
            if compare and revision != read:
                raise await conflict(connection, topics, name, read, revision)
            if await write_change(producer, topics, current, after, author):
                await _until_readable(connection, topics)
                return current, after
    raise await conflict(connection, topics, name, read or 0, revision)


async def _until_readable(connection: Connection, topics: Topics) -> None:
    """Step 6. The change is written by now, so an outage is no failure of it."""
    try:
        await asyncio.gather(settled(connection, topics.experiments), settled(connection, topics.changes))
    except Unreachable as error:
        log.warning("the change was written, but whether it can be read already is not known: %s", error)


async def _ensure_topics(connection: Connection, topics: Topics) -> None:
    specs = [spec for spec in topics.specs() if spec.name in (topics.experiments, topics.changes)]
    async with started(admin_client(connection), connection) as admin:
        there = await admin.list_topics()
        await create_topics(admin, [spec for spec in specs if spec.name not in there], partitions=1)
