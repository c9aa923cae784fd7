"""Events on a partition that is not their unit's, and the way home for them.

librdkafka's clients choose the partition by CRC32 of the key unless told otherwise; Java, aiokafka and this join by murmur2. So a
unit's exposures and rewards may be on different partitions, where they would never meet.

1. `homes` tells which of a chunk's units belong elsewhere: every key is hashed.
2. `part` takes their events out of a batch. They are counted as forwarded, and not folded here.
3. `forwards` puts their keys and values, as they came, on the right partition of the same topic, with a header that says where
   they were read. They are part of the transaction that commits the chunk: each is forwarded once whatever dies, and the owner of
   its new partition, which reads what is committed, reads it once.

What is forwarded is where murmur2 puts it, so it is never forwarded again. Its log time is the time it was forwarded at, so that
no rule about old records takes it away; a batch's mark still tells of the events that left it, for they have told the time here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from operator import not_
from typing import Generic, NamedTuple

import numpy as np

from streams.join.decode import E, Events
from streams.partitioning import partitions_of
from streams.state import Output

__all__ = ["FORWARDED", "Astray", "forwards", "homes", "origin_partition", "part"]

FORWARDED = "forwarded-from"
"""Header of what is forwarded: topic/partition/offset of where it was read."""


class Astray(NamedTuple, Generic[E]):
    """An event that belongs to partition `home`; `offset` is where it was read on this one."""

    event: E
    key: bytes
    value: bytes
    offset: int
    home: int


def homes(units: Sequence[bytes], partition: int, partitions: int) -> dict[bytes, int]:
    """The right partition of each of the units that is not of `partition`; there are `partitions`."""
    if not units:
        return {}
    right = partitions_of(units, partitions)
    return {units[i]: int(right[i]) for i in np.flatnonzero(right != partition).tolist()}


def part(events: Events[E], elsewhere: Mapping[bytes, int], bytes_max: int) -> tuple[Events[E], list[Astray[E]]]:
    """The batch without the events of units that are `elsewhere`, and these, both in log order.

    What has more than `bytes_max` bytes would not fit the record batch that it must travel in: a dead letter of the batch.
    """
    if elsewhere.keys().isdisjoint(events.keys):
        return events, []
    stay = [key not in elsewhere for key in events.keys]
    rest = Events(
        list(compress(events.keys, stay)),
        list(compress(events.events, stay)),
        list(compress(events.values, stay)),
        list(compress(events.offsets, stay)),
        list(events.dead),
        events.mark,
    )
    astray = []
    for i in compress(range(len(stay)), map(not_, stay)):
        key, value = events.keys[i], events.values[i]
        size, home = len(key) + len(value), elsewhere[key]
        if size > bytes_max:
            reason = f"key: {key[:80]!r}: belongs to partition {home}: expected at most {bytes_max} bytes to forward, not {size}"
            rest.dead.append(events.letter(i, reason))
        else:
            astray.append(Astray(events.events[i], key, value, events.offsets[i], home))
    return rest, astray


def forwards(topic: str, partition: int, astray: Sequence[Astray[E]]) -> list[Output]:
    """What to publish for events that were read on `partition` of the topic."""
    here = f"{topic}/{partition}/".encode()
    return [Output(topic, a.home, a.key, a.value, ((FORWARDED, here + b"%d" % a.offset),)) for a in astray]


def origin_partition(headers: Sequence[tuple[str, bytes]]) -> int | None:
    """Where a record with these headers was read before it was forwarded; None if it never was."""
    origin = dict(headers).get(FORWARDED, b"").split(b"/")
    return int(origin[1]) if len(origin) == 3 and origin[1].isdigit() else None
