"""The changes topic: who changed which spec, when, why and how. Each record and the spec it tells of are one transaction.

How a spec is written is in `streams.experiments`; here are the two records of it, and reading them back. Nothing is compacted,
nothing deleted: the history of an experiment is whole from its first revision on.
"""

from __future__ import annotations

import getpass
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerFenced

from allocator.errors import Conflict
from allocator.experiment import Experiment
from allocator.lifecycle import what_changed
from streams.clients import ANSWER_TIMEOUT_S, started
from streams.compacted import CompactedTopic
from streams.connection import Connection
from streams.phrases import utc
from streams.records import Change, Changed, encode
from streams.seam.aiokafka import forget_transaction
from streams.topics import Topics

__all__ = ["Author", "ChangeLog", "change_of", "conflict", "read_changes", "spec_producer", "whoever", "write_change"]

log = logging.getLogger(__name__)

TRANSACTION_TIMEOUT_MS = 10_000
"""A writer that dies within its transaction, a matter of milliseconds, holds up every reader of specs until Kafka aborts it."""
USER = "ALLOCATOR_USER"


def whoever() -> str:
    """Who runs this process: what ALLOCATOR_USER says, else the system's name of the user."""
    if named := os.environ.get(USER):
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may know no name for its user
        return "unknown"


@dataclass(frozen=True, slots=True)
class Author:
    """Who makes a change, and why."""

    by: str = field(default_factory=whoever)
    why: str = ""


class ChangeLog:
    """Every change of every experiment, oldest first, in `of`. Kafka keeps them in order, and so does this."""

    def __init__(self) -> None:
        self.of: dict[str, list[Change]] = {}

    def take(self, record: Any) -> None:
        """Add one record of the topic; a malformed one is logged and left out."""
        try:
            change = msgspec.json.decode(record.value or b"", type=Change)
        except (ValueError, RecursionError) as error:  # MsgspecError and UnicodeDecodeError are ValueErrors
            log.error("%s, offset %d: not a change: %s", record.topic, record.offset, error)
            return
        self.of.setdefault(change.experiment, []).append(change)


async def read_changes(connection: Connection, topics: Topics) -> dict[str, list[Change]]:
    """Every change so far by experiment, oldest first. Raises Unreachable, TopicError."""
    found = ChangeLog()
    reader = CompactedTopic(connection, topics.changes, found.take)
    await reader.read_to_end()
    await reader.stop()
    return found.of


def change_of(before: Experiment | None, after: Experiment, author: Author, ts: float) -> Change:
    """The record of a change."""
    return Change(
        experiment=after.experiment,
        revision=after.revision,
        status=after.status,
        kind="new" if before is None else "changed",
        ts=ts,
        by=author.by,
        why=author.why,
        changes=[] if before is None else [Changed(path=p, before=old, after=new) for p, old, new in what_changed(before, after)],
        spec_hash=after.spec_hash,
    )


@asynccontextmanager
async def spec_producer(connection: Connection, topics: Topics, name: str) -> AsyncIterator[AIOKafkaProducer]:
    """Whoever writes the spec of that name from now on: a former one is fenced. Raises Unreachable."""
    producer = AIOKafkaProducer(
        **connection.aiokafka(),
        transactional_id=f"{topics.prefix}-spec-{name}",
        transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
        request_timeout_ms=int(ANSWER_TIMEOUT_S * 1000),
    )
    async with started(producer, connection):
        yield producer


async def write_change(
    producer: AIOKafkaProducer, topics: Topics, before: Experiment | None, after: Experiment, author: Author
) -> bool:
    """Both records in one transaction; False, and nothing written, if another writer has begun meanwhile."""
    key, change = after.experiment.encode(), change_of(before, after, author, time.time())
    try:
        async with producer.transaction():  # one after the other: aiokafka would commit without one that failed
            await producer.send_and_wait(topics.experiments, msgspec.json.encode(after), key)
            await producer.send_and_wait(topics.changes, encode(change), key)
    except ProducerFenced:
        forget_transaction(producer)
        return False
    return True


async def conflict(connection: Connection, topics: Topics, name: str, read: int, revision: int) -> Conflict:
    """What tells the loser who was first."""
    changes = (await read_changes(connection, topics)).get(name, [])
    theirs = next((change for change in reversed(changes) if change.revision == revision), None)
    return Conflict(name, read, revision, theirs.by if theirs else "", utc(theirs.ts) if theirs else "")
