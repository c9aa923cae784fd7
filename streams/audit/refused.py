"""What the live join has refused: the dead letters' origins. A rebuild refuses the same records.

Specs and events travel on different topics, so whether an event was ahead of its spec is not in the sources. A rebuild reads them
when every spec is there, and would count what the live join has refused; and once more when it is sent again after a fix.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import TopicPartition

from streams.audit.log import Log
from streams.dead_letters import NOTE
from streams.join.reasons import reason_class
from streams.topics import Topics

__all__ = ["Refused", "read_refused"]

NAMED = frozenset({"arm", "metric", "unit", "value"})
"""Classes of reasons that the join counts under the experiment the event names; of the others it knows none."""


class Refused(NamedTuple):
    """Offsets of one partition of a source whose records are dead letters, ascending; 8 bytes each."""

    offsets: Sequence[int]
    nameless: Sequence[int]
    """Those of them that are counted under no experiment."""
    begin: int = 0
    """First offset of the dead letters' partition that is still there: above 0, some may have been deleted."""

    def between(self, first: int, last: int) -> set[int]:
        """Those from `first` to `last`, both included."""
        at = bisect_left(self.offsets, first)
        found = set()
        while at < len(self.offsets) and self.offsets[at] <= last:
            found.add(self.offsets[at])
            at += 1
        return found

    def is_nameless(self, offset: int) -> bool:
        """Whether one of them is counted under no experiment."""
        at = bisect_left(self.nameless, offset)
        return at < len(self.nameless) and self.nameless[at] == offset


async def read_refused(log: Log, source: TopicPartition) -> Refused:
    """The dead letters of one partition of a source, which are on the same partition of their topic.

    Read to the end of the log, not of what is committed: what an open transaction hides is awaited, for a letter that was missed
    could not be taken back.
    """
    tp = TopicPartition(Topics.dead_letters(source.topic), source.partition)
    begin, end = (await log.begins([tp]))[tp], (await log.ends([tp]))[tp]
    offsets, nameless = array("q"), array("q")
    async for batch in log.read(tp, begin, end):
        for record in batch.payload:
            headers = dict(record.headers)
            offset = _origin(headers, source)
            if offset is not None:
                offsets.append(offset)
                if reason_class(headers.get("reason", b"").decode(errors="replace")) not in NAMED:
                    nameless.append(offset)
    return Refused(array("q", sorted(offsets)), array("q", sorted(nameless)), begin)


def _origin(headers: Mapping[str, Any], source: TopicPartition) -> int | None:
    """The offset a letter comes from; None for a note, and for what comes from elsewhere."""
    offset = headers.get("origin-offset", b"")
    here = (headers.get("origin-topic"), headers.get("origin-partition")) == (source.topic.encode(), b"%d" % source.partition)
    return int(offset) if here and NOTE not in headers and offset.isdigit() else None
