"""Which topics these are. Kafka gives a topic an id when it is made, so one deleted and made again under its name is another.

The offsets of a topic mean nothing in its successor, yet every client goes by names and reads on as if nothing had happened. So
workers remember the ids, and the number of partitions, and compare.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from allocator.errors import TopicError, TopicErrors
from streams.clients import ANSWER_TIMEOUT_S, Unreachable
from streams.connection import Connection

__all__ = ["Incarnation", "TopicWatch", "changes", "read_incarnations"]

log = logging.getLogger(__name__)

CONFIRM_S = 1.0
"""A broker that has just come back may not know every topic yet."""
RESTART = "start the worker again: it rebuilds what it can, and refuses the rest with what to do"
ABSENT = KafkaError.UNKNOWN_TOPIC_OR_PART


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One topic as it was made. `id` is empty if the broker gives none (before Kafka 2.8)."""

    id: str
    partitions: int


async def read_incarnations(connection: Connection, names: Iterable[str]) -> dict[str, Incarnation]:
    """Those of `names` that exist. Not for the embedded broker, which does not answer.

    Raises
    ------
    Unreachable : no broker answered.
    KafkaException : the broker refuses, for instance because this user may not describe a topic.
    """
    return await asyncio.to_thread(_describe, connection, list(names))


def _describe(connection: Connection, names: list[str]) -> dict[str, Incarnation]:
    # aiokafka's requests end before ids came into the protocol
    admin = AdminClient(connection.librdkafka() | {"log_level": 0})
    found = {}
    for name, answer in admin.describe_topics(TopicCollection(names), request_timeout=ANSWER_TIMEOUT_S).items():
        try:
            described = answer.result()
        except KafkaException as error:
            if error.args[0].code() == ABSENT:
                continue
            if error.args[0].retriable() or error.args[0].code() < 0:  # below 0 are the client's own: no answer
                raise Unreachable(connection.bootstrap) from error
            raise
        id_ = described.topic_id
        known = id_.get_most_significant_bits() or id_.get_least_significant_bits()
        found[name] = Incarnation(str(id_) if known else "", len(described.partitions))
    return found


def changes(before: Mapping[str, Incarnation], now: Mapping[str, Incarnation]) -> list[TopicError]:
    """What has happened to the topics of `before` that no worker can go on with."""
    wrong = []
    for name, was in before.items():
        found = now.get(name)
        if found is None:
            wrong.append(TopicError(name, "been deleted", "to stay while workers run", RESTART))
        elif found.id != was.id and found.id and was.id:
            wrong.append(TopicError(name, "been deleted and made again", "to stay while workers run", RESTART))
        elif found.partitions != was.partitions:
            wrong.append(
                TopicError(name, f"{found.partitions} partitions", f"{was.partitions}, as when the worker started", RESTART)
            )
    return wrong


class TopicWatch:
    """The topics a worker works with, as they were at its start."""

    def __init__(self, connection: Connection) -> None:
        self.found: dict[str, Incarnation] = {}
        """By name; empty before `start`."""
        self._connection = connection

    async def start(self, names: Iterable[str]) -> None:
        """Take them as they are now. Raises Unreachable."""
        self.found = await read_incarnations(self._connection, names)

    def ids(self) -> dict[str, str]:
        """Id by topic, unknown ones left out."""
        return {name: found.id for name, found in self.found.items() if found.id}

    async def check(self) -> None:
        """Look whether they still are the same; no verdict while no broker answers.

        Raises
        ------
        TopicErrors : which are not.
        """
        wrong = await self._changes()
        if wrong:
            await asyncio.sleep(CONFIRM_S)
            wrong = await self._changes()
        if wrong:
            raise TopicErrors(wrong)

    async def _changes(self) -> list[TopicError]:
        if not self.found:
            return []
        try:
            return changes(self.found, await read_incarnations(self._connection, self.found))
        except Unreachable as error:
            log.warning("topics not checked: %s", error)
            return []
