"""The story of the weights as the topics tell it, judged version by version; and a router that watches it being told.

What holds for every experiment, whoever owned it when:

- versions are 1, 2, 3 and so on in log order, once each;
- the versions' `inputs`, `ts` and `valid_until` never go back;
- every version is what `decide` makes of the version before and of the partials that `inputs` names, to the last bit, and so is
  the decision beside it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import msgspec
from confluent_kafka import Consumer, KafkaError, TopicPartition

from allocator.decide import decide
from allocator.experiment import Experiment
from allocator.weights import Weights
from streams.allocate.agent import audit_of
from streams.allocate.totals import Totals
from streams.records import Decision, Partial
from streams.router import Router
from streams.topics import Topics
from tests.chaos.checker import unlike
from tests.chaos.traffic import settled_counters
from tests.reference import Answer

__all__ = ["Chapter", "Story", "Watcher"]

READ_TIMEOUT_S = 120.0
BOTH_SEEN_TIMEOUT_S = 2.0
"""A transaction ends on one topic after the other: a decision may be seen a moment later than its weights."""
POLL_RECORDS_MAX = 20_000


class Chapter:
    """One experiment's part of the story."""

    def __init__(self, experiment: Experiment) -> None:
        self.first = 1
        """The version that `weights` and `decisions` begin with."""
        self.weights: list[Weights] = []
        self.decisions: list[Decision] = []
        self.wrong: list[str] = []
        self.newest = Totals()
        """Of all partials."""
        self._experiment = experiment
        self._totals = Totals()
        """Of the partials that the version judged last was decided on."""
        self._partials: dict[str, deque[Partial]] = {}
        """Those after it, by join partition."""
        self._judged = 0

    def partial(self, partial: Partial) -> None:
        """The next in log order."""
        self._partials.setdefault(str(partial.partition), deque()).append(partial)
        self.newest.replace(partial)

    def judge(self, count: int) -> None:
        """Look at what has come since among the first `count` versions, with all partials before them in hand."""
        for at in range(self._judged, count):
            self._judge(self.weights[at - 1] if at else None, self.weights[at])
        self._judged = count

    def unlike(self) -> list[str]:
        """How weights and decisions contradict each other, as far as the versions were judged."""
        return unlike(self.weights[: self._judged], self.decisions[: self._judged], self.first)

    def forget(self) -> None:
        """Keep the last version judged and what came after it."""
        done = max(0, self._judged - 1)
        del self.weights[:done], self.decisions[:done]
        self.first += done
        self._judged -= done

    def settled(self) -> bool:
        """Whether all partials there are would change nothing more: the last weights are theirs."""
        if not self.weights:
            return False
        last = self.weights[-1]
        decision = decide(self._experiment, self.newest.training(self._experiment), last, last.ts)
        return decision.settled and not decision.publish

    def arms(self) -> dict[str, list[int]]:
        """{arm: [n, sum of the first metric]} as of the newest partials."""
        training = self.newest.training(self._experiment)
        seen = {arm for sums in training.segments.values() for arm in sums}
        by_arm = sorted(zip(training.arms, training.total, strict=True))
        return {arm: [moments.n, moments.sum(0)] for arm, moments in by_arm if arm in seen}

    def _judge(self, before: Weights | None, now: Weights) -> None:
        name = f"{now.experiment} version {now.version}"
        expected = 1 if before is None else before.version + 1
        if now.version != expected:
            self.wrong.append(f"{name}: expected {expected}")
        if before is not None:
            gone = {p: seq for p, seq in before.inputs.items() if now.inputs.get(p, 0) < seq}
            if gone:
                self.wrong.append(f"{name}: inputs {now.inputs} after {before.inputs}")
            if now.valid_until < before.valid_until or now.ts < before.ts:
                self.wrong.append(f"{name}: from {now.ts} to {now.valid_until} after {before.ts} to {before.valid_until}")
        self._replay(name, before, now)

    def _replay(self, name: str, before: Weights | None, now: Weights) -> None:
        """Decide again, from the same partials."""
        for partition, seq in now.inputs.items():
            waiting = self._partials.get(partition, deque())
            while waiting and waiting[0].seq <= seq:
                self._totals.replace(waiting.popleft())
        if self._totals.inputs() != now.inputs:
            self.wrong.append(f"{name}: inputs {now.inputs}, on the topic of partials {self._totals.inputs()}")
            return
        again = decide(self._experiment, self._totals.training(self._experiment), before, now.ts)
        expected = msgspec.structs.replace(again.weights, inputs=now.inputs)
        if expected != now or not again.publish:
            self.wrong.append(f"{name}: {now}, decided again: {expected}")
        elif (beside := self._beside(now.version)) is not None and beside != audit_of(again, now, self._totals):
            self.wrong.append(f"{name}: the decision is {beside}, decided again: {audit_of(again, now, self._totals)}")

    def _beside(self, version: int) -> Decision | None:
        """The decision that stands where the version does; what is missing or doubled is for `unlike` to say."""
        at = version - self.first
        return self.decisions[at] if at < len(self.decisions) and self.decisions[at].version == version else None


class Story:
    """Reads the topics on and on; `wrong` is everything that was amiss so far."""

    def __init__(self, bootstrap: str, prefix: str, specs: Mapping[str, Experiment]) -> None:
        self.chapters = {name: Chapter(spec) for name, spec in specs.items()}
        self._topics = Topics(prefix)
        self._ended: dict[tuple[str, int], int] = {}
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "test-story",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "log_level": 0,
            }
        )
        self._followed: list[TopicPartition] = []

    def __enter__(self) -> Self:
        described = self._consumer.list_topics(timeout=10).topics
        topics = (self._topics.weights, self._topics.decisions, self._topics.partials)
        self._followed = [TopicPartition(topic, p, 0) for topic in topics for p in described[topic].partitions]
        self._consumer.assign(self._followed)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._consumer.close()

    def read(self) -> Story:
        """Everything that is committed by now, judged."""
        weights, *others = self._followed
        self._read_to_end([weights])
        counts = {name: len(chapter.weights) for name, chapter in self.chapters.items()}
        self._read_to_end(others)  # afterwards: then no partial that one of those versions names is missing
        deadline = time.monotonic() + BOTH_SEEN_TIMEOUT_S
        while any(len(self.chapters[name].decisions) < count for name, count in counts.items()) and time.monotonic() < deadline:
            self._read_to_end(others)
        for name, chapter in self.chapters.items():
            chapter.judge(counts[name])
        return self

    def _read_to_end(self, partitions: Sequence[TopicPartition]) -> None:
        deadline = time.monotonic() + READ_TIMEOUT_S
        for tp in partitions:
            end = self._consumer.get_watermark_offsets(tp, timeout=10)[1]
            while self._ended.get((tp.topic, tp.partition), -1) < end:
                assert time.monotonic() < deadline, f"{tp.topic} {tp.partition} was not read to {end}"
                for message in self._consumer.consume(POLL_RECORDS_MAX, 0.1):
                    self._take(message)

    def wrong(self) -> list[str]:
        """Everything amiss so far, a sentence each."""
        return [line for chapter in self.chapters.values() for line in (*chapter.wrong, *chapter.unlike())]

    def differences(self, answer: Answer) -> list[str]:
        """What the newest partials say otherwise than the generator."""
        counted: Counter[str] = Counter()
        for chapter in self.chapters.values():
            counted.update(chapter.newest.counters())
        got, expected = settled_counters(counted), settled_counters(answer.counters)
        found = [] if got == expected else [f"counters {got}, expected {expected}"]
        return found + [
            f"{name}: sums {chapter.arms()}, expected {answer.sums.get(name)}"
            for name, chapter in self.chapters.items()
            if chapter.arms() != answer.sums.get(name)
        ]

    def versions(self) -> int:
        """How many have been published, of all experiments together."""
        return sum(chapter.first - 1 + len(chapter.weights) for chapter in self.chapters.values())

    def forget(self) -> None:
        """Let go of all versions judged but the last: for who reads on for hours."""
        for chapter in self.chapters.values():
            chapter.forget()

    def settled(self) -> bool:
        """Whether the last weights of every experiment are those of all partials."""
        return all(chapter.settled() for chapter in self.chapters.values())

    def _take(self, message: Any) -> None:
        error = message.error()
        if error is not None:
            assert error.retriable() or error.code() == KafkaError._PARTITION_EOF, error
            if error.code() == KafkaError._PARTITION_EOF:
                self._ended[message.topic(), message.partition()] = message.offset()
            return
        match message.topic():
            case self._topics.weights:
                weights = msgspec.json.decode(message.value(), type=Weights)
                self.chapters[weights.experiment].weights.append(weights)
            case self._topics.decisions:
                decision = msgspec.json.decode(message.value(), type=Decision)
                self.chapters[decision.experiment].decisions.append(decision)
            case _:
                partial = msgspec.json.decode(message.value(), type=Partial)
                self.chapters[partial.experiment].partial(partial)


class Watcher:
    """A router in a thread of its own, there from the beginning, that writes down what it took."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.took: dict[str, list[Weights]] = {}
        self._bootstrap, self._prefix = bootstrap, prefix
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="watcher", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._router = self._do(self._start())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._do(self._router.stop())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _start(self) -> Router:
        router = Router(self._bootstrap, prefix=self._prefix)
        router.on_update.append(lambda weights: self.took.setdefault(weights.experiment, []).append(weights))
        await router.start()
        return router

    def forget(self, story: Story) -> None:
        """Let go of what the story lets go of, after it did."""
        for name, took in self.took.items():
            first = story.chapters[name].first
            del took[: next((i for i, weights in enumerate(took) if weights.version >= first), 0)]

    def _do(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(READ_TIMEOUT_S)

    def behind(self, story: Story) -> bool:
        """Whether versions are on the topic that it has not taken yet."""
        return any(
            chapter.weights and (not (took := self.took.get(name)) or took[-1].version < chapter.weights[-1].version)
            for name, chapter in story.chapters.items()
        )

    def wrong(self, story: Story) -> list[str]:
        """How what it took differs from what the story has read; nothing if it saw every version once, in order."""
        return [
            f"{name}: the router took versions {_versions(self.took.get(name, []))}, published were {_versions(chapter.weights)}"
            for name, chapter in story.chapters.items()
            if self.took.get(name, [])[: len(chapter.weights)] != chapter.weights
        ]


def _versions(weights: Sequence[Weights]) -> list[int]:
    return [w.version for w in weights]
