"""The dead-letter topics: what could not be used, why, and which of it has been sent again.

A letter carries key and value of the record as they came, with its reason and origin as headers. When letters are sent again
(`streams.redrive`), a note of their offsets goes on the same partition, in the same transaction. A letter that no note names is
open. Notes come after their letters, so retention takes letters first and no note is missed.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from allocator.errors import AllocatorError
from streams.clients import ANSWER_TIMEOUT_S, started
from streams.connection import Connection
from streams.join.reasons import pattern, reason_class
from streams.topics import Topics

__all__ = [
    "NOTE",
    "DeadLetterLog",
    "DeadLetterRecord",
    "Group",
    "Stuck",
    "grouped",
    "is_wanted",
    "note_of",
    "opened",
    "parse_letter",
    "parse_note",
]

NOTE = "redriven"
"""Header of a note; its value is a JSON list of the offsets of letters on its partition that were sent again."""
POLL_MS = 20
"""Short: the end of the log may hold only a transaction marker, which no poll returns."""
OPEN_TRANSACTION_S = 90.0
"""How long to wait for the end of a worker's transaction: Kafka itself aborts what is a minute old, and looks every 10 s."""
GROUPS_MAX = 1000
"""Patterns told apart; what comes beyond is grouped by class."""


class Stuck(AllocatorError):
    """The topics could not be read to their end."""


class DeadLetterRecord(NamedTuple):
    """One record that could not be used. `time_s` is when it was written to `topic`."""

    topic: str
    partition: int
    offset: int
    time_s: float
    key: bytes | None
    value: bytes | None
    reason: str
    origin_topic: str
    origin_partition: int | None
    origin_offset: int | None
    cut_from: int | None
    """Bytes of key and value together before they were cut; None if they are whole."""
    redriven: bool

    @property
    def reason_class(self) -> str:
        """The field at fault, or ``malformed``."""
        return reason_class(self.reason)

    @property
    def source(self) -> str:
        """The topic whose dead letters these are."""
        return Topics.source_of(self.topic)

    @property
    def origin(self) -> str:
        """Where the record was read, as ``topic/partition/offset``; ``?`` for what the headers do not say."""
        numbers = ("?" if n is None else str(n) for n in (self.origin_partition, self.origin_offset))
        return "/".join((self.origin_topic, *numbers))


@dataclass(slots=True)
class Group:
    """Letters of one topic with one pattern of reason. Times are seconds since the epoch."""

    topic: str
    reason_class: str
    reason: str
    open: int = 0
    redriven: int = 0
    first_s: float = field(default=float("inf"))
    last_s: float = 0.0


# -- pure ------------------------------------------------------------------------------------------------------------------------


def parse_note(record: Any) -> list[int] | None:
    """The offsets that a note names; None if the record is a letter."""
    if not any(name == NOTE for name, _ in record.headers):
        return None
    return msgspec.json.decode(record.value, type=list[int])


def note_of(offsets: Sequence[int]) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Value and headers of the note that these letters were sent again."""
    return msgspec.json.encode(offsets), [(NOTE, b"%d" % len(offsets))]


def parse_letter(record: Any, redriven: bool) -> DeadLetterRecord:
    """A letter as typed values. Headers that are missing or no numbers become "no reason given", the topic's source, None."""
    headers = dict(record.headers)

    def number(name: str) -> int | None:
        text = headers.get(name) or b""
        return int(text) if text.isdigit() else None

    return DeadLetterRecord(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        time_s=record.timestamp / 1000,
        key=record.key,
        value=record.value,
        reason=headers.get("reason", b"no reason given").decode(errors="replace"),
        origin_topic=headers.get("origin-topic", Topics.source_of(record.topic).encode()).decode(errors="replace"),
        origin_partition=number("origin-partition"),
        origin_offset=number("origin-offset"),
        cut_from=number("cut-from"),
        redriven=redriven,
    )


def is_wanted(letter: DeadLetterRecord, reason: str | None) -> bool:
    """Whether `reason` is the letter's class, or part of its reason or of its pattern; None wants every letter."""
    return reason is None or reason == letter.reason_class or reason in letter.reason or reason in pattern(letter.reason)


def grouped(letters: Iterable[DeadLetterRecord], groups: dict[tuple[str, str], Group]) -> None:
    """Add letters to the groups, which are by topic and pattern."""
    for letter in letters:
        key = (letter.topic, pattern(letter.reason))
        if key not in groups and len(groups) >= GROUPS_MAX:
            key = (letter.topic, f"{letter.reason_class}: …")
        group = groups.get(key)
        if group is None:
            group = groups[key] = Group(letter.topic, letter.reason_class, key[1])
        group.redriven += letter.redriven
        group.open += not letter.redriven
        group.first_s = min(group.first_s, letter.time_s)
        group.last_s = max(group.last_s, letter.time_s)


# -- Kafka -----------------------------------------------------------------------------------------------------------------------


class DeadLetterLog:
    """The topics up to where they ended when this was opened; as `opened` gives it."""

    def __init__(self, consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> None:
        self._consumer, self._ends = consumer, ends
        self._redriven: dict[TopicPartition, set[int]] = {tp: set() for tp in ends}

    async def letters(self, topic: str) -> AsyncIterator[list[DeadLetterRecord]]:
        """Every letter of one of the topics, oldest first within a partition, in lists of one partition each. Raises Stuck."""
        async for tp, records in self._records(topic):
            letters = [parse_letter(r, r.offset in self._redriven[tp]) for r in records if parse_note(r) is None]
            if letters:
                yield letters

    async def read_notes(self) -> None:
        """What was sent again; before the first of `letters`."""
        for topic in {tp.topic for tp in self._ends}:
            async for tp, records in self._records(topic):
                self._redriven[tp].update(offset for r in records for offset in parse_note(r) or ())

    async def _records(self, topic: str) -> AsyncIterator[tuple[TopicPartition, list[Any]]]:
        consumer, ends = self._consumer, self._ends
        begins = await consumer.beginning_offsets([tp for tp in ends if tp.topic == topic])
        for tp, begin in begins.items():
            consumer.seek(tp, begin)
        behind = {tp: begin for tp, begin in begins.items() if begin < ends[tp]}
        moved_at = time.monotonic()
        while behind:
            for tp, records in (await consumer.getmany(*behind, timeout_ms=POLL_MS)).items():
                yield tp, [record for record in records if record.offset < ends[tp]]
            reached = {tp: await consumer.position(tp) for tp in behind}
            if reached != behind:
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > OPEN_TRANSACTION_S:
                raise Stuck(_stuck(reached, ends))
            behind = {tp: at for tp, at in reached.items() if at < ends[tp]}


def _stuck(reached: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> str:
    tp, at = next(iter(reached.items()))
    return (
        f"{tp.topic}, partition {tp.partition}: read to offset {at} of {ends[tp]} and no further in {OPEN_TRANSACTION_S:g} s: a "
        "worker's transaction is still open, or the broker has gone. Try again; allocator doctor tells whether the broker answers"
    )


@asynccontextmanager
async def opened(connection: Connection, topics: Sequence[str]) -> AsyncIterator[DeadLetterLog]:
    """The dead-letter topics `topics`, which must exist, up to their present end, their notes read.

    The end is that of the log, not of what is committed: a worker's open transaction hides the notes that were written after it
    began, so its end is awaited.

    Raises
    ------
    Unreachable : no broker answered.
    Stuck : a transaction stayed open.
    """
    options = {**connection.aiokafka(), "request_timeout_ms": int(ANSWER_TIMEOUT_S * 1000), "enable_auto_commit": False}
    async with started(AIOKafkaConsumer(*topics, **options), connection) as uncommitted:
        ends = await uncommitted.end_offsets(uncommitted.assignment())
    committed = AIOKafkaConsumer(*topics, **options, auto_offset_reset="earliest", isolation_level="read_committed")
    async with started(committed, connection) as consumer:
        log = DeadLetterLog(consumer, ends)
        await log.read_notes()
        yield log
