"""Follows a topic, committed records only, until what it says adds up: when a program's count has reached its readers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from confluent_kafka import Consumer, Message, TopicPartition

from tests.waiting import until

__all__ = ["await_sum", "following"]

KNOWN_TIMEOUT_S = 30.0
FETCH_WAIT_MS = 20
"""The default, half a second, is how late a record could be seen on a topic of several partitions."""


@contextmanager
def following(bootstrap: str, topic: str) -> Iterator[Consumer]:
    """A consumer of all partitions of a topic from their beginning, in no group."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": FETCH_WAIT_MS,
        }
    )
    try:
        # A topic made a moment ago may still be told to have none.
        partitions = until(lambda: list(consumer.list_topics(topic, timeout=10).topics[topic].partitions), KNOWN_TIMEOUT_S, topic)
        consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
        yield consumer
    finally:
        consumer.close()


def await_sum(
    bootstrap: str, topic: str, target: int, count: Callable[[Message], int | None], timeout_s: float, check: Callable[[], None]
) -> int:
    """Read until the newest counts under each key add up to `target`, and return their sum: less if the time is over.

    `count` gives a record's count, None for a record that has none. `check` is called now and then and raises if there is nothing
    to wait for any more.
    """
    counts: dict[bytes, int] = {}
    deadline = time.monotonic() + timeout_s
    with following(bootstrap, topic) as consumer:
        while sum(counts.values()) < target and time.monotonic() < deadline:
            message = consumer.poll(1.0)
            if message is None:
                check()
            elif message.error() is None and (counted := count(message)) is not None:
                counts[message.key() or b""] = counted
    return sum(counts.values())
