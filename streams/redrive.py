"""Send dead letters again once their cause is mended, each exactly once: `allocator dlt redrive`.

1. Start the transactional producer. Its id, one a deployment, fences a redrive that is still at it and ends the transaction of
   one that was killed, so that every note there will ever be of the past is on the log.
2. Read the notes: which letters were sent again already.
3. Judge the open letters by the specs in force, with the join's own rules. Those that would be dead again stay as they are; so
   does what was cut when it was written, for it is not whole.
4. Begin a transaction. Send a batch of the others to their source, key and value unchanged, placed by the key; and to each
   dead-letter partition they came from a note of their offsets. Await every one.
5. Commit. From here on the batch is sent. A crash before this leaves nothing that a reader sees: the next redrive does it all.

A killed redrive's transaction holds the join up until Kafka aborts it, so its time-out is short.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerFenced

from allocator.errors import Fenced
from allocator.experiment import Experiment
from streams.clients import ANSWER_TIMEOUT_S, started
from streams.connection import Connection
from streams.dead_letters import DeadLetterRecord, is_wanted, note_of, opened
from streams.experiments import read_experiments
from streams.join.decode import DeadLetter, Events, decoder_of
from streams.join.fold import Fold
from streams.join.outcomes import Outcome
from streams.join.reasons import pattern
from streams.records import Exposure, Reward
from streams.topics import Topics

__all__ = ["Judge", "Report", "redrive"]

BATCH_MAX = 1000
"""Letters of one transaction."""
TRANSACTION_TIMEOUT_MS = 15_000
ORIGIN = "redriven-from"
"""Header of what is sent again: the letter's topic/partition/offset."""


@dataclass(frozen=True, slots=True)
class _Raw:
    """A letter as the join's decoder would get it from the source."""

    key: bytes | None
    value: bytes | None
    offset: int
    timestamp: int


class Judge:
    """What the join would make of a letter, if its record were logged at `now` (seconds since the epoch). Pure.

    What only the unit's record tells is not known here: a unit that has too many rewards makes a dead letter again.
    """

    def __init__(self, topics: Topics, specs: Mapping[str, Experiment], now: float) -> None:
        self._now, self._fold = now, Fold()
        self._fold.set_experiments(specs)
        exposures, rewards = decoder_of(Exposure), decoder_of(Reward)
        self._ways: dict[str, tuple[Callable[[list[Any]], Events[Any]], Callable[[Events[Any]], None]]] = {
            topics.exposures: (exposures, self._fold.exposures),
            topics.rewards: (rewards, self._fold.rewards),
        }

    def refusal(self, letter: DeadLetterRecord) -> str | None:
        """Why the record would be a dead letter again; None if it would not."""
        if letter.cut_from is not None:
            return f"cut from {letter.cut_from} bytes: send the event itself again"
        dead = self._folded(letter, mark=0.0)
        return dead[0].reason if dead else None

    def is_late(self, letter: DeadLetterRecord) -> bool:
        """Whether its window and grace have passed: unless the stream is as far behind, it will be counted as late, not used."""
        before = self._late()
        self._folded(letter, mark=self._now)
        return self._late() > before

    def _folded(self, letter: DeadLetterRecord, mark: float) -> list[DeadLetter]:
        """The fold of this one record, alone, at that watermark: the dead letters it makes."""
        decode, take = self._ways[letter.source]
        fold = self._fold
        events = decode([_Raw(letter.key, letter.value, letter.offset, int(self._now * 1000))])
        fold.exposures_mark = fold.rewards_mark = mark
        fold.begin(dict.fromkeys(events.keys))
        take(events)
        fold.end()
        exposures, rewards = fold.take_dead()
        return exposures + rewards

    def _late(self) -> int:
        return sum(counts[Outcome.EXPOSURE_LATE] + counts[Outcome.REWARD_LATE] for counts in self._fold.counts.values())


@dataclass(slots=True)
class Report:
    """What became of the open letters that were asked for."""

    sent: dict[str, int] = field(default_factory=dict)
    """By source topic; what would be sent, in a dry run."""
    late: int = 0
    """Of those sent: older than window and grace, to be counted as late."""
    left: dict[tuple[str, str], int] = field(default_factory=dict)
    """By source topic and pattern of the reason why it would be dead again."""
    cut: list[str] = field(default_factory=list)
    """Origins of letters that are not whole."""

    def add(self, letter: DeadLetterRecord, refusal: str | None, late: bool) -> None:
        """Count one letter."""
        if letter.cut_from is not None:
            self.cut.append(letter.origin)
        elif refusal is not None:
            key = letter.source, pattern(refusal)
            self.left[key] = self.left.get(key, 0) + 1
        else:
            self.sent[letter.source] = self.sent.get(letter.source, 0) + 1
            self.late += late


async def redrive(
    connection: Connection,
    topics: Topics,
    sources: Sequence[str],
    *,
    reason: str | None = None,
    dry_run: bool = False,
    clock: Callable[[], float] = time.time,
) -> Report:
    """Send the open dead letters of `sources` again that can be used now. `reason` as in `is_wanted`.

    Raises
    ------
    Fenced : another redrive was started; it does what is left.
    Unreachable, Stuck, TopicError : as said by `opened` and `read_experiments`.
    """
    specs = await read_experiments(connection, topics)
    report, judge = Report(), Judge(topics, specs, clock())
    names = [topics.dead_letters(source) for source in sources]
    try:
        async with nullcontext() if dry_run else _producer(connection, topics) as producer, opened(connection, names) as log:
            for name in names:  # exposures before rewards: few of these can wait for a unit's exposure
                async for batch in _usable(log.letters(name), judge, reason, report):
                    if producer is not None:
                        await _send(producer, batch)
    except ProducerFenced as error:
        raise Fenced("another redrive was started: it sends what this one had not yet sent") from error
    return report


async def _usable(
    log: AsyncIterator[list[DeadLetterRecord]], judge: Judge, reason: str | None, report: Report
) -> AsyncIterator[list[DeadLetterRecord]]:
    """Open letters to be sent, in batches; every one looked at is counted."""
    batch: list[DeadLetterRecord] = []
    async for letters in log:
        for letter in letters:
            if letter.redriven or not is_wanted(letter, reason):
                continue
            refusal = judge.refusal(letter)
            report.add(letter, refusal, refusal is None and judge.is_late(letter))
            if refusal is None:
                batch.append(letter)
            if len(batch) == BATCH_MAX:
                yield batch
                batch = []
    if batch:
        yield batch


@asynccontextmanager
async def _producer(connection: Connection, topics: Topics) -> AsyncIterator[AIOKafkaProducer]:
    """Step 1."""
    producer = AIOKafkaProducer(
        **connection.aiokafka(),
        transactional_id=f"{topics.prefix}-redrive",
        transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
        request_timeout_ms=int(ANSWER_TIMEOUT_S * 1000),
    )
    async with started(producer, connection):
        yield producer


async def _send(producer: AIOKafkaProducer, batch: Sequence[DeadLetterRecord]) -> None:
    """Steps 4 and 5."""
    offsets: dict[tuple[str, int], list[int]] = {}
    async with producer.transaction():
        acks = []
        for letter in batch:
            origin = f"{letter.topic}/{letter.partition}/{letter.offset}".encode()
            acks.append(await producer.send(letter.source, letter.value, letter.key, headers=[(ORIGIN, origin)]))
            offsets.setdefault((letter.topic, letter.partition), []).append(letter.offset)
        for (topic, partition), noted in offsets.items():
            value, headers = note_of(noted)
            acks.append(await producer.send(topic, value, partition=partition, headers=headers))
        await asyncio.gather(*acks)
