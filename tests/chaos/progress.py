"""How far the workers are, from their topics alone: it needs none of them alive and cannot be wrong about what is committed."""

from __future__ import annotations

import msgspec
from confluent_kafka import Consumer, TopicPartition

from streams.records import Partial
from streams.state import Checkpoint
from streams.state.ledger import CHECKPOINT
from streams.topics import Topics

__all__ = ["Progress"]

POLL_RECORDS_MAX = 20_000


class Progress:
    """Follows the checkpoints of the join and the sequence numbers of its partials, as any reader sees them."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self._topics = Topics(prefix)
        self._ends: dict[tuple[str, int], int] = {}
        self._checkpoints: dict[int, Checkpoint] = {}
        self._published: dict[int, int] = {}
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "test-progress",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "log_level": 0,  # a broker that is down is what some tests want
            }
        )

    def start(self) -> None:
        """Begin to follow. The topics exist; if a test adds something to the sources later, it has to `aim` again."""
        self.aim()
        described, followed = self._consumer.list_topics(timeout=10).topics, (self._topics.join_changelog, self._topics.partials)
        self._consumer.assign([TopicPartition(topic, p, 0) for topic in followed for p in described[topic].partitions])

    def aim(self) -> None:
        """All means everything that is on the sources now."""
        described = self._consumer.list_topics(timeout=10).topics
        for source in (self._topics.exposures, self._topics.rewards):
            for p in described[source].partitions:
                self._ends[source, p] = self._consumer.get_watermark_offsets(TopicPartition(source, p), timeout=10)[1]

    def close(self) -> None:
        self._consumer.close()

    def share(self) -> float:
        """Source records applied, of all; above 1 when some were added since `aim`."""
        self._follow()
        applied = sum(sum(checkpoint.applied.values()) for checkpoint in self._checkpoints.values())
        return applied / max(1, sum(self._ends.values()))

    def applied(self) -> bool:
        """Whether every source record is applied, those that workers have forwarded on the way too."""
        self._follow()
        applied = {(topic, p): n for p, checkpoint in self._checkpoints.items() for topic, n in checkpoint.applied.items()}
        if all(applied.get(at, 0) >= end for at, end in self._ends.items()):
            self.aim()
        return applied == self._ends

    def done(self) -> bool:
        """Whether that is so, and the last commit of each partition has published what it changed.

        A commit that only forgets units changes nothing that is published: where that happens, ask `applied`.
        """
        return self.applied() and self._published == {p: checkpoint.seq for p, checkpoint in self._checkpoints.items()}

    def _follow(self) -> None:
        """Take what has come since: once and no longer, for while workers work there is always more."""
        for message in self._consumer.consume(POLL_RECORDS_MAX, 0.02):
            error = message.error()
            assert error is None or error.retriable(), error
            if error is None:
                self._take(message.topic(), message.partition(), message.key(), message.value())

    def _take(self, topic: str | None, partition: int | None, key: bytes | None, value: bytes | None) -> None:
        if value is None:
            return  # a unit that was forgotten
        assert partition is not None
        if topic == self._topics.partials:
            partial = msgspec.json.decode(value, type=Partial)
            self._published[partial.partition] = partial.seq
        elif key == CHECKPOINT:
            self._checkpoints[partition] = msgspec.msgpack.decode(value, type=Checkpoint)
