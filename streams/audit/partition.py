"""One partition of the join once more, from its sources alone, in a RocksDB of its own.

1. Where the live join stands, its newest committed checkpoint says. The rebuild ends exactly there, be it within a fetch.
2. Refuse if a source no longer goes back to where the rebuild stands, which is its beginning at first.
3. Leave out what the live join has refused (`streams.audit.refused`) or forwarded to another partition, and count it as that.
4. Cut and fold as the live join does, with its code. Write each chunk's changed records and the offsets reached in one atomic
   write: a rebuild that was killed goes on from there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from aiokafka import TopicPartition

from allocator.errors import AllocatorError, StateError
from allocator.experiment import Experiment
from streams.audit.log import Log
from streams.audit.refused import Refused, read_refused
from streams.join.astray import homes, part
from streams.join.chunk import fold_chunk, units_of
from streams.join.cut import Chunk, cut
from streams.join.decode import Events, decoder_of
from streams.join.fold import Fold
from streams.join.outcomes import Outcome
from streams.join.sweep import Sweep
from streams.queues import SourceQueue
from streams.records import Exposure, Reward
from streams.seam import Batch
from streams.state import Checkpoint, Store
from streams.state.ledger import CHECKPOINT
from streams.topics import Topics

__all__ = ["Incomplete", "PartitionRebuild"]

CHUNK_RECORDS_MAX = 2_000
"""Of each source: less than a worker that is behind takes at once, so that both topics are met nearly in the order of time."""
QUEUED_RECORDS_MAX = 20_000

OUTCOMES = (
    (Outcome.EXPOSURE_DEAD, Outcome.EXPOSURE_FORWARDED),
    (Outcome.REWARD_DEAD, Outcome.REWARD_FORWARDED),
)
E = TypeVar("E", Exposure, Reward)


class Incomplete(AllocatorError):
    """A source has lost records that the rebuild needs."""

    def __init__(self, tp: TopicPartition, begin: int, needed: int) -> None:
        self.tp, self.begin, self.needed = tp, begin, needed
        super().__init__(
            f"{_named(tp)}, begins at offset {begin} and the rebuild needs it from {needed}: what was "
            "before has been deleted, so nothing can say what it came to. Give the sources a longer retention.ms, or rebuild "
            "before it has passed: a rebuild that is there goes on from where it stands"
        )


class _Decoded(NamedTuple, Generic[E]):
    events: Events[E]
    counted: list[tuple[str, Outcome]]
    """Of what is not folded, the experiment and the outcome."""


class PartitionRebuild:
    """The join's state in `store`, which it may have been in before, and what brings it further."""

    def __init__(self, store: Store, topics: Topics, partition: int, partitions: int, specs: Mapping[str, Experiment]) -> None:
        self.store, self._partitions = store, partitions
        self.records = 0
        """Folded by this object."""
        self.refused: dict[str, Refused] = {}
        """By source, once `advance` has read them."""
        stored = store.get(CHECKPOINT)
        self.checkpoint = msgspec.msgpack.decode(stored, type=Checkpoint) if stored else Checkpoint()
        self._fold, self._sweep = Fold(), Sweep(store)
        self._fold.set_experiments(specs)
        self._fold.restore(store.scan)
        self._exposures, self._rewards = (TopicPartition(topic, partition) for topic in (topics.exposures, topics.rewards))
        self._decoders: dict[str, Callable[[list[Any]], Events[Any]]] = {
            topics.exposures: decoder_of(Exposure),
            topics.rewards: decoder_of(Reward),
        }

    async def advance(self, log: Log, live: Checkpoint, progress: Callable[[int], None]) -> None:
        """Go on to exactly where `live` stands; `progress` is told the offsets reached, of both sources together.

        Raises
        ------
        Incomplete : a source has been deleted too far.
        StateError : `live` is not of this log, or is behind the rebuild.
        Stalled : records that must be there do not come.
        """
        tps, checkpoint = (self._exposures, self._rewards), self.checkpoint
        queues = {tp: SourceQueue(checkpoint.applied.get(tp.topic, 0)) for tp in tps}
        ends = {tp: live.applied.get(tp.topic, 0) for tp in tps}
        self._check_sources(live)
        await _check_offsets(log, queues, ends)
        self.checkpoint = msgspec.structs.replace(checkpoint, sources=live.sources)
        progress(sum(checkpoint.applied.values()))
        for tp in tps:
            self.refused[tp.topic] = await read_refused(log, tp)
        log.read_from({tp: queue.next for tp, queue in queues.items()})
        while any(queue.next < ends[tp] for tp, queue in queues.items()):
            wanted = [tp for tp in tps if queues[tp].next < ends[tp] and queues[tp].records < QUEUED_RECORDS_MAX]
            for tp, batches in (await log.fetch(*wanted)).items():
                decoded = [self._decoded(tp.topic, batch) for batch in _up_to(ends[tp], batches)]
                if not queues[tp].put(decoded):
                    raise StateError(f"a gap in {_named(tp)}, at offset {queues[tp].next}", "batches that touch", "try again")
            while chunk := self._cut(queues, ends):
                self._take(chunk)
                progress(sum(self.checkpoint.applied.values()))

    @property
    def notes(self) -> list[str]:
        """What may make the two states differ although both are right."""
        return [
            f"dead letters of {topic}, partition {self._exposures.partition}, are only there from offset {refused.begin} on: "
            "what the live join had refused before, the rebuild has counted"
            for topic, refused in self.refused.items()
            if refused.begin
        ]

    def _check_sources(self, live: Checkpoint) -> None:
        for topic, id_ in self.checkpoint.sources.items():
            if live.sources.get(topic, id_) != id_:
                raise StateError(
                    f"a rebuild of the {topic} that was there before", "of the one made anew", "rebuild with --fresh"
                )

    def _cut(self, queues: Mapping[TopicPartition, SourceQueue], ends: Mapping[TopicPartition, int]) -> Chunk | None:
        of_topic = {tp.topic: end for tp, end in ends.items()}
        exposures, rewards = self._exposures, self._rewards
        return cut(
            queues[exposures],
            queues[rewards],
            CHUNK_RECORDS_MAX,
            lambda topic, offset: offset >= of_topic[topic],
            (exposures.topic, rewards.topic),
        )

    def _take(self, chunk: Chunk) -> None:
        """Step 4, as `JoinAgent` does it."""
        fold, store = self._fold, self.store
        applied = {tp.topic: bs[-1].next for tp, bs in zip((self._exposures, self._rewards), chunk, strict=True) if bs}
        exposures, rewards = ([batch.payload.events for batch in batches] for batches in chunk)
        fold_chunk(fold, store, self._sweep, units_of(exposures, rewards), exposures, rewards)
        for name, outcome in (counted for batches in chunk for batch in batches for counted in batch.payload.counted):
            fold.count(name, outcome)
        fold.take_dead()
        keys, values, _ = fold.end()
        self.records += sum(batch.count for batches in chunk for batch in batches)
        former = self.checkpoint
        self.checkpoint = msgspec.structs.replace(former, seq=former.seq + 1, applied={**former.applied, **applied})
        keys.append(CHECKPOINT)
        values.append(msgspec.msgpack.encode(self.checkpoint))
        store.write(keys, values, position=0)

    def _decoded(self, topic: str, batch: Batch) -> Batch:
        """The batch with a `_Decoded` as its payload."""
        dead, forwarded = OUTCOMES[topic == self._rewards.topic]
        events, left_out = self._without_refused(topic, batch.payload)
        events, astray = part(events, homes(list(set(events.keys)), self._exposures.partition, self._partitions), sys.maxsize)
        batch.payload = _Decoded(
            events,
            [
                *((name, dead) for name in left_out),
                *((a.event.experiment if a.event.experiment in self._fold.phases else "", forwarded) for a in astray),
            ],
        )
        return batch

    def _without_refused(self, topic: str, records: list[Any]) -> tuple[Events[Any], list[str]]:
        """Decoded, without what the live join has refused; of that, the experiments it is counted under."""
        decode, refused = self._decoders[topic], self.refused[topic]
        events = decode(records)
        found = refused.between(records[0].offset, records[-1].offset) if records else set()
        left_out = found.difference(letter.offset for letter in events.dead)  # these are refused once more by themselves
        if not left_out:
            return events, []
        named = zip(events.offsets, events.events, strict=True)
        names = ["" if refused.is_nameless(at) else event.experiment or "" for at, event in named if at in left_out]
        kept = decode([record for record in records if record.offset not in left_out])
        kept.mark = events.mark  # refused or not, they have told the time
        return kept, names


async def _check_offsets(log: Log, queues: Mapping[TopicPartition, SourceQueue], ends: Mapping[TopicPartition, int]) -> None:
    """Step 2."""
    begins, there = await log.begins(list(queues)), await log.ends(list(queues))
    for tp, queue in queues.items():
        at, end = queue.next, ends[tp]
        if at > end:
            raise StateError(
                f"the rebuild at offset {at} of {_named(tp)} and the live state at {end}",
                "a live state that only goes forward",
                "if it was begun anew, rebuild with --fresh",
            )
        if end > there[tp]:
            raise StateError(
                f"the live state at offset {end} of {_named(tp)}, which ends at {there[tp]}",
                "a live state built from this log",
                "if the topic was deleted and made again, the worker's refusal to start says what to do",
            )
        if at < end and begins[tp] > at:
            raise Incomplete(tp, begins[tp], at)


def _named(tp: TopicPartition) -> str:
    return f"{tp.topic}, partition {tp.partition}"


def _up_to(end: int, batches: Sequence[Batch]) -> Iterator[Batch]:
    """What is below `end` of batches that touch. A batch may go beyond by what nobody sees, as markers of transactions."""
    for batch in batches:
        if batch.base >= end:
            return
        if batch.next > end:
            batch.payload = [record for record in batch.payload if record.offset < end]
            batch.count, batch.next = len(batch.payload), end
        yield batch
