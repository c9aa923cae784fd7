"""The decisions of one experiment, as far back as the topic goes."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from streams.compacted import CompactedTopic
from streams.connection import Connection
from streams.records import Decision
from streams.topics import Topics

__all__ = ["DECISIONS_READ_MAX", "read_decisions"]

log = logging.getLogger(__name__)

DECISIONS_READ_MAX = 1_000_000
"""Offsets looked at, of all experiments together; older decisions are left out."""


async def read_decisions(connection: Connection, topics: Topics, name: str) -> list[Decision]:
    """Those of the experiment as a whole, oldest first; a malformed one is logged and left out.

    Raises
    ------
    Unreachable, TopicError : the topics of a worker have to be there.
    """
    found: dict[int, Decision] = {}
    key, decode = name.encode(), msgspec.json.Decoder(Decision).decode

    def take(record: Any) -> None:
        if record.key != key or record.value is None:
            return
        try:
            decision = decode(record.value)
        except (ValueError, RecursionError) as error:  # MsgspecError and UnicodeDecodeError are ValueErrors
            log.error("%s, offset %d: not a decision: %s", record.topic, record.offset, error)
            return
        if decision.segment is None:
            found[decision.version] = decision

    reader = CompactedTopic(connection, topics.decisions, take, newest=DECISIONS_READ_MAX)
    await reader.read_to_end()
    await reader.stop()
    return [found[version] for version in sorted(found)]
