"""A Kafka broker inside this process, for the demo and for first steps: no Java, no Docker, nothing else to install.

It is the broker that librdkafka carries for its own tests, in the wheel of confluent-kafka. It listens on a loopback port,
speaks the Kafka protocol with consumer groups and transactional producers, and runs on threads of its own, outside the
interpreter's lock. What it is not is in `LIMITS`, which whoever starts it should show. It ends with the process that made it.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import confluent_kafka

from allocator.errors import AllocatorError

__all__ = ["LIMITS", "PARTITIONS", "RETENTION_BYTES", "EmbeddedBroker", "EmbeddedBrokerError"]

PARTITIONS = 4
"""Partitions of every topic; the broker has no request that would choose another number."""

RETENTION_BYTES = 5 << 20
"""What a partition keeps, as sent; older records vanish without notice, read or not. No setting changes it."""

LIMITS = (
    "in memory: everything is gone when it stops",
    f"{PARTITIONS} partitions a topic, each keeps its newest {RETENTION_BYTES >> 20} MB, nothing is compacted",
    "no abort and no fencing: exact counts under failures need a real Kafka",
)
"""In the words a user should read."""

ANSWER_TIMEOUT_S = 10.0
FIRST_BROKEN = 0x020F0000
"""librdkafka 2.15: its transaction markers carry no checksum, which every client that checks one refuses (aiokafka does)."""


class EmbeddedBrokerError(AllocatorError):
    """The embedded broker cannot run here; the message says what repairs it."""


class EmbeddedBroker:
    """A context manager around one broker.

    Example
    -------
    >>> with EmbeddedBroker() as broker:
    ...     broker.create(["allocator.exposures.v1"])
    ...     broker.bootstrap.rpartition(":")[0]
    '127.0.0.1'
    """

    def __init__(self) -> None:
        self._bootstrap: str | None = None
        self._owner: Any = None

    @property
    def bootstrap(self) -> str:
        """``host:port`` of the running broker.

        Raises
        ------
        EmbeddedBrokerError : it is not running.
        """
        if self._bootstrap is None:
            raise EmbeddedBrokerError("the embedded broker is not running: call start() first")
        return self._bootstrap

    def start(self) -> str:
        """Start on a free loopback port and return ``host:port``; starting twice changes nothing.

        Raises
        ------
        EmbeddedBrokerError : this confluent-kafka carries a broker that cannot be used, or none that answers.
        """
        if self._bootstrap is not None:
            return self._bootstrap
        check_version(*confluent_kafka.libversion())
        # The client that owns the broker is told of one address that does not exist: it is replaced by the broker's own.
        settings = {"bootstrap.servers": "embedded", "test.mock.num.brokers": 1, "log_level": 3}
        try:
            self._owner = confluent_kafka.Producer(settings)
            (broker,) = self._owner.list_topics(timeout=ANSWER_TIMEOUT_S).brokers.values()
        except confluent_kafka.KafkaException as error:
            self._owner = None
            raise EmbeddedBrokerError(f"the embedded broker did not start: {error.args[0]}") from error
        self._bootstrap = f"{broker.host}:{broker.port}"
        return self._bootstrap

    def create(self, topics: Iterable[str]) -> None:
        """Make the topics that do not exist, with `PARTITIONS` partitions each.

        A topic appears the first time a client asks for it. Doing so before anyone needs it spares consumers a round, and a
        transaction that names an unseen topic would never return.

        Raises
        ------
        EmbeddedBrokerError : not running, or no answer.
        """
        bootstrap = self.bootstrap
        for topic in topics:
            try:
                found = self._owner.list_topics(topic, timeout=ANSWER_TIMEOUT_S).topics[topic]
            except confluent_kafka.KafkaException as error:
                raise EmbeddedBrokerError(
                    f"the embedded broker at {bootstrap} did not create {topic}: {error.args[0]}"
                ) from error
            if found.error is not None or len(found.partitions) != PARTITIONS:
                raise EmbeddedBrokerError(
                    f"the embedded broker at {bootstrap} made {topic} with {len(found.partitions)} partitions"
                )

    def stop(self) -> None:
        """Stop; everything it held is gone. Stopping twice changes nothing."""
        self._bootstrap = self._owner = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def check_version(version: str, number: int) -> None:
    """Refuse a librdkafka whose broker writes what other clients reject; `number` is 0xMMmmrrxx.

    Raises
    ------
    EmbeddedBrokerError : too new.
    """
    if number >= FIRST_BROKEN:
        raise EmbeddedBrokerError(
            f"the broker in librdkafka {version} writes transaction markers without a checksum, which aiokafka refuses; "
            "needs one before 2.15. Repair: pip install 'confluent-kafka<2.15'"
        )
