"""The join agent of one partition: cut a chunk, fold it, commit it, and publish the partials that are due.

A step is: fetched → decoded (already, in the consumer's thread) → cut → parted from what is astray → folded → committed; the
partials, the dead letters and what is forwarded go out in the same transaction. Partials are cumulative; how often they go out
depends on how often weights may be published, not on the event rate.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from allocator.lifecycle import counted
from allocator.phases import name_of, phase_of
from streams.join.astray import forwards, homes, part
from streams.join.chunk import fold_chunk, units_of
from streams.join.cut import Chunk, cut, linger_s
from streams.join.decode import DeadLetter, E, Events
from streams.join.fold import REWARDS_MAX, Fold
from streams.join.outcomes import Outcome, label
from streams.join.reasons import reason_class
from streams.join.sweep import Sweep
from streams.metrics import Metrics
from streams.partitioning import partition_of
from streams.queues import SourceQueue
from streams.records import COUNTERS, Cell, Partial, encode
from streams.specs import Specs
from streams.state import Ledger, Output
from streams.topics import Topics

__all__ = ["JoinAgent", "JoinSettings"]

log = logging.getLogger(__name__)

GIVEN_UP_MAX = 1000
CROWDED_MAX = 20
SWEPT_AT_REST = 5000
"""Records the sweep looks at before it lets others do something, when there are no events."""
REASON_BYTES_MAX = 1000
PARTIALS_PER_PUBLICATION = 8
"""How often partials go out in the shortest `publish_interval` of all experiments, so that they add little to it."""
PARTIALS_PER_PUBLICATION_MIN = 2
PARTIALS_MAX = 10_000
"""In one commit, so that a worker that starts, and publishes everything, does so in commits that fit."""
PARTIALS_SHARE = 0.06
"""Of a partition's time that may go into making partials; where it would be more, they go out less often, down to the least.

While more than a chunk waits, what goes out is old already: once a publication is enough then, and leaves more time to catch up.
"""


@dataclass(frozen=True, slots=True)
class JoinSettings:
    """What all join agents of a worker share."""

    topics: Topics
    partitions: int
    """Partitions of the partials topic."""
    source_partitions: int
    """Partitions of exposures, and as many of rewards."""
    chunk_records_max: int = 10_000
    partials_interval_s: float = 0.04
    letter_bytes_max: int = 500_000
    """Key and value of a dead letter together; longer ones are cut. What was sent compressed may be too large to be written."""
    unknown_grace_s: float = 5.0
    """How old a record must be before its unknown experiment is its fault: specs and events travel on different topics."""


class JoinAgent:
    """State and steps of one join partition."""

    def __init__(
        self,
        ledger: Ledger,
        settings: JoinSettings,
        specs: Specs,
        at_end: Callable[[str, int, int], bool],
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.ledger, self.fold = ledger, Fold()
        self._settings, self._specs, self._metrics, self._clock = settings, specs, metrics, clock
        self._topics = (settings.topics.exposures, settings.topics.rewards)
        self._at_end = lambda topic, offset: at_end(topic, ledger.partition, offset)
        self._dirty: dict[tuple[str, int], None] = {}
        """The (experiment, cell) pairs whose partials are to go out, in the order in which they changed first."""
        self._published_at = self._committed_at = 0.0
        self._interval_s = self._least_s = self._most_s = self._behind_s = settings.partials_interval_s
        self._behind = False
        self._specs_seen = -1
        self._given_up: dict[str, None] = {}
        self._warned = False
        self._crowded: set[bytes] = set()

    def restore(self) -> None:
        self._sweep = Sweep(self.ledger.store)
        self._take_specs()
        self.fold.restore(self.ledger.store.scan)
        self._touch((name.experiment, cell) for cell, name in enumerate(self.fold.cells.names))
        self._touch((name, COUNTERS) for name in self.fold.counts if name)
        if self.ledger.checkpoint.seq == 0:  # what a state before this one has published is void: say so in every experiment
            self._touch((name, COUNTERS) for name in self.fold.phases)

    async def step(self, queues: Mapping[str, SourceQueue]) -> float | None:
        self._take_specs()
        exposures, rewards = (queues[topic] for topic in self._topics)
        records, since_commit_s = max(exposures.records, rewards.records), time.monotonic() - self._committed_at
        self._behind = records > self._settings.chunk_records_max
        if wait_s := linger_s(records, self._settings.chunk_records_max, self._interval_s - since_commit_s):
            return wait_s
        chunk = cut(exposures, rewards, self._settings.chunk_records_max, self._at_end, self._topics)
        if chunk is None:
            return await self._rest(bool(exposures.batches or rewards.batches))
        await self._await_specs(chunk)
        await self._process(chunk)
        return 0

    async def _rest(self, waiting: bool) -> float | None:
        """Nothing to fold: publish what is dirty and due, sweep, and say when to look again."""
        if stale := self._sweep.stale(self.fold.watermark, self.fold.horizon_s, SWEPT_AT_REST):
            self.fold.evict(stale)
            keys, values, touched = self.fold.end()
            self._touch(touched)
            await self._commit({}, keys, values)
            return 0
        if self._dirty and self._partials_due():
            await self._commit({}, [], [])
            return 0
        pauses = [0.01] if waiting else []  # one topic waits for the other, whose end may come without a record
        if self._sweep.walking:
            pauses.append(0.01)
        if self._dirty:
            pauses.append(max(0.001, self._published_at + self._interval_s - time.monotonic()))
        return min(pauses, default=None)

    # -- specs -----------------------------------------------------------------------------------------------

    def _take_specs(self) -> None:
        if self._specs.changes != self._specs_seen:
            self._specs_seen = self._specs.changes
            experiments = counted(self._specs.current)
            self.fold.set_experiments(experiments)
            shortest_s = min((experiment.publish_interval_s for experiment in experiments.values()), default=0.0)
            least_s = self._settings.partials_interval_s
            self._interval_s = self._least_s = max(least_s, shortest_s / PARTIALS_PER_PUBLICATION)
            self._most_s = max(least_s, shortest_s / PARTIALS_PER_PUBLICATION_MIN)
            self._behind_s = max(least_s, shortest_s)

    async def _await_specs(self, chunk: Chunk) -> None:
        """Give a spec time to arrive when an event is ahead of it; once a name, so that a wrong one cannot stall everything."""
        for batch in (*chunk[0], *chunk[1]):
            wait_s = batch.last_ms / 1000 + self._settings.unknown_grace_s - self._clock()
            if wait_s <= 0:
                continue
            unknown = {e.experiment for e in batch.payload.events} - self.fold.phases.keys() - self._given_up.keys() - {None}
            while unknown and wait_s > 0:
                await self._specs.wait(wait_s)
                self._take_specs()
                unknown -= self.fold.phases.keys()
                wait_s = batch.last_ms / 1000 + self._settings.unknown_grace_s - self._clock()
            self._given_up.update(dict.fromkeys(unknown))
            while len(self._given_up) > GIVEN_UP_MAX:
                del self._given_up[next(iter(self._given_up))]

    # -- a chunk ---------------------------------------------------------------------------------------------

    async def _process(self, chunk: Chunk) -> None:
        started = time.perf_counter()
        fold = self.fold
        exposures, rewards = ([batch.payload for batch in batches] for batches in chunk)
        applied = {topic: batches[-1].next for topic, batches in zip(self._topics, chunk, strict=True) if batches}
        sent_on: list[Output] = []
        units = units_of(exposures, rewards)
        if elsewhere := homes(units, self.ledger.partition, self._settings.source_partitions):
            exposures, sent_exposures = self._send_on(self._topics[0], exposures, elsewhere, Outcome.EXPOSURE_FORWARDED)
            rewards, sent_rewards = self._send_on(self._topics[1], rewards, elsewhere, Outcome.REWARD_FORWARDED)
            sent_on = [*sent_exposures, *sent_rewards]
        fold_chunk(fold, self.ledger.store, self._sweep, units, exposures, rewards)
        self._warn_of_crowded()
        exposures_dead, rewards_dead = fold.take_dead()
        keys, values, touched = fold.end()
        self._touch(touched)
        letters = [
            *self._letters(self._topics[0], exposures_dead),
            *self._letters(self._topics[1], rewards_dead),
        ]
        await self._commit(applied, keys, values, [*letters, *sent_on])
        self._observe(chunk, letters, time.perf_counter() - started)

    def _warn_of_crowded(self) -> None:
        """Once a unit, and no more than `CROWDED_MAX` of them."""
        unit, self.fold.crowded = self.fold.crowded, None
        if unit is not None and unit not in self._crowded and len(self._crowded) < CROWDED_MAX:
            self._crowded.add(unit)
            log.warning(
                "%s %d: unit %r has more than %d rewards: further ones are counted as rewards.overflow and not used",
                self.ledger.name, self.ledger.partition, unit.decode(errors="replace"), REWARDS_MAX,
            )  # fmt: skip

    def _observe(self, chunk: Chunk, letters: list[Output], seconds: float) -> None:
        counts = [sum(batch.count for batch in batches) for batches in chunk]
        for topic, n in zip(self._topics, counts, strict=True):
            self._metrics.events_read.labels(topic).inc(n)
        self._metrics.chunk_events.observe(sum(counts))
        self._metrics.chunk_seconds.observe(seconds)
        for letter in letters:
            self._metrics.dead_letters.labels(letter.topic, reason_class(letter.headers[0][1].decode(errors="replace"))).inc()

    def _send_on(
        self, topic: str, batches: Sequence[Events[E]], elsewhere: Mapping[bytes, int], outcome: Outcome
    ) -> tuple[list[Events[E]], list[Output]]:
        """The batches of a topic without what belongs on other partitions, which is counted and ready to go there."""
        known, rest, astray = self.fold.phases, [], []
        for events in batches:
            stay, gone = part(events, elsewhere, self._settings.letter_bytes_max)
            rest.append(stay)
            astray += gone
        for found in astray:
            name = found.event.experiment
            self.fold.count(name if name in known else "", outcome)
        if astray and not self._warned:
            self._warned = True
            log.warning(
                "%s %d: %d of the records just read are on the wrong partition, and are forwarded: their producers choose it "
                "otherwise than Kafka's own. allocator doctor says which setting to change",
                topic, self.ledger.partition, len(astray),
            )  # fmt: skip
        return rest, forwards(topic, self.ledger.partition, astray)

    def _letters(self, topic: str, dead: list[DeadLetter]) -> list[Output]:
        """Dead letters with reason and origin in the headers, on the partition they came from."""
        partition, most = self.ledger.partition, self._settings.letter_bytes_max
        origin = (("origin-topic", topic.encode()), ("origin-partition", b"%d" % partition))
        to, letters = Topics.dead_letters(topic), []
        for letter in dead:
            key, value, reason = letter.key, letter.value, letter.reason.encode()[:REASON_BYTES_MAX]
            headers: tuple[tuple[str, bytes], ...] = (("reason", reason), *origin, ("origin-offset", b"%d" % letter.offset))
            size = len(key or b"") + len(value or b"")
            if size > most:
                key, value = key and key[: most // 2], value and value[: most // 2]
                headers = (*headers, ("cut-from", b"%d" % size))
            letters.append(Output(to, partition, key, value, headers))
        return letters

    async def _commit(
        self, applied: Mapping[str, int], keys: list[bytes], values: list[bytes | None], others: Sequence[Output] = ()
    ) -> None:
        due = list(islice(self._dirty, PARTIALS_MAX)) if self._partials_due() else []
        began = time.perf_counter()
        outputs = [*others, *(self._partial(*pair) for pair in sorted(due))]
        started = time.perf_counter()
        await self.ledger.commit(applied, keys, values, outputs)
        self._metrics.commit_seconds.observe(time.perf_counter() - started)
        self._committed_at = time.monotonic()
        if due:
            for pair in due:
                del self._dirty[pair]
            self._published_at = time.monotonic()
            self._interval_s = min(max(self._least_s, (started - began) / PARTIALS_SHARE), self._most_s)

    # -- partials --------------------------------------------------------------------------------------------

    def _touch(self, changed: Iterable[tuple[str, int]]) -> None:
        self._dirty.update(dict.fromkeys(changed))

    def _partials_due(self) -> bool:
        return time.monotonic() - self._published_at >= (self._behind_s if self._behind else self._interval_s)

    def _partial(self, key: str, cell: int) -> Output:
        """Of a cell of the experiment and phase, or of the experiment's counters."""
        partial = self._counters(name_of(key)) if cell == COUNTERS else self._cell(key, cell)
        place = f"{key}|{partial.partition}|{partial.period}"
        if partial.cell is not None:  # the segment last, for it may hold a bar
            place += f"|{partial.cell.arm}|{partial.cell.holdback:d}|{partial.cell.segment}"
        to = partition_of(partial.experiment, self._settings.partitions)
        return Output(self._settings.topics.partials, to, place.encode(), encode(partial))

    def _cell(self, key: str, cell: int) -> Partial:
        fold, at = self.fold, self.ledger.checkpoint
        _, segment, arm, holdback, period = fold.cells.names[cell]
        return Partial(
            experiment=name_of(key),
            partition=self.ledger.partition,
            period=period,
            seq=at.seq + 1,
            cell=Cell(segment, arm, holdback, fold.cells.sums[cell], fold.lags.of_cell(cell)),
            event_ts=max(fold.exposures_mark, fold.rewards_mark),
            phase=phase_of(key),
            epoch=at.epoch,
        )

    def _counters(self, experiment: str) -> Partial:
        fold, at = self.fold, self.ledger.checkpoint
        versions = fold.versions.of.get(experiment)
        return Partial(
            experiment=experiment,
            partition=self.ledger.partition,
            period=COUNTERS,
            seq=at.seq + 1,
            counters={label(Outcome(i)): n for i, n in enumerate(fold.counts.get(experiment, ())) if n},
            event_ts=max(fold.exposures_mark, fold.rewards_mark),
            epoch=at.epoch,
            read_until=fold.rewards_mark,
            versions=versions.rows if versions else [],
            older_versions=versions.older if versions else None,
        )
