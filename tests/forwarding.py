"""What is on the wrong partition of a topic, and what was forwarded: two lists that must become the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aiokafka.partitioner import DefaultPartitioner

from streams.join.astray import FORWARDED
from streams.topics import Topics
from tests.workers import read_topic

__all__ = ["Moves", "moves"]


@dataclass
class Moves:
    """Origins (topic/partition/offset) of the records of both sources."""

    astray: list[str] = field(default_factory=list)
    """Those that are not where murmur2 of their key puts them."""
    forwarded: list[str] = field(default_factory=list)
    """Those that forwarded records name."""
    changed: list[str] = field(default_factory=list)
    """Those of forwarded records that are not, with their key and value, on the right partition."""


def moves(bootstrap: str, prefix: str, isolation: str = "read_committed") -> Moves:
    """As a reader of what is committed sees it, or one of everything."""
    found, topics = Moves(), Topics(prefix)
    for topic in (topics.exposures, topics.rewards):
        _add(found, topic, read_topic(bootstrap, topic, isolation))
    return found


def _add(found: Moves, topic: str, messages: Iterable[Any]) -> None:
    messages = list(messages)
    sent = {f"{topic}/{m.partition()}/{m.offset()}": (m.key(), m.value()) for m in messages}
    partitions = list(range(1 + max(m.partition() for m in messages)))
    choose = DefaultPartitioner()
    for message in messages:
        right = message.partition() == choose(message.key(), partitions, partitions)
        origin = dict(message.headers() or ()).get(FORWARDED, b"").decode()
        if origin:
            found.forwarded.append(origin)
            if not right or sent[origin] != (message.key(), message.value()):
                found.changed.append(origin)
        elif not right:
            found.astray.append(f"{topic}/{message.partition()}/{message.offset()}")
