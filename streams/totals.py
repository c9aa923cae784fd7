"""What experiments have counted so far, read from the partials topic as an allocate agent sums it; no worker has to run."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from streams.allocate.totals import Totals
from streams.compacted import CompactedTopic
from streams.connection import Connection
from streams.records import Partial
from streams.topics import Topics

__all__ = ["read_totals"]


async def read_totals(connection: Connection, topics: Topics, names: Collection[str]) -> dict[str, Totals]:
    """The sums of some experiments, as of now; empty ones of an experiment without units.

    Raises
    ------
    Unreachable, TopicError : the topics of a worker have to be there.
    """
    found = {name: Totals() for name in names}
    starts = tuple(f"{name}{after}".encode() for name in names for after in "|@")
    decode = msgspec.json.Decoder(Partial).decode

    def take(record: Any) -> None:
        if record.value is not None and record.key.startswith(starts):
            partial = decode(record.value)
            found[partial.experiment].replace(partial)

    reader = CompactedTopic(connection, topics.partials, take)
    await reader.read_to_end()
    await reader.stop()
    return found
