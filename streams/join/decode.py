"""From the raw records of one Kafka batch to typed events, in the consumer's thread.

What cannot be decoded, is out of domain, or is keyed by something else than its unit becomes a `DeadLetter` here and goes no
further.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from streams.records import Exposure, Reward

__all__ = ["AHEAD_MAX_S", "DeadLetter", "Events", "decoder_of"]

AHEAD_MAX_S = 86_400.0
"""An event may claim to be at most this much later than the time it was logged."""

MALFORMED = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What msgspec raises for bytes that are no record; the last one for JSON nested a thousand deep."""

E = TypeVar("E", Exposure, Reward)


class DeadLetter(NamedTuple):
    """A record that cannot be used, with its origin and why."""

    offset: int
    key: bytes | None
    value: bytes | None
    reason: str


@dataclass(slots=True)
class Events(Generic[E]):
    """The usable events of one batch, in log order; parallel lists."""

    keys: list[bytes]
    events: list[E]
    values: list[bytes]
    offsets: Sequence[int]
    dead: list[DeadLetter]
    mark: float = 0.0
    """Newest `ts` of the events, but not beyond the log time of the last: one wrong clock must not make everyone late."""
    size_bytes: int = 0
    """Of all values, dead ones included."""

    def letter(self, i: int, reason: str) -> DeadLetter:
        """The i-th event as a dead letter."""
        return DeadLetter(self.offsets[i], self.keys[i], self.values[i], reason)


def decoder_of(struct: type[E]) -> Callable[[list[Any]], Events[E]]:
    """A parser of raw records (with key, value, offset, timestamp) into `Events` of that type."""
    decode_one = msgspec.json.Decoder(struct).decode
    decode_list: Callable[[bytes], list[E]] = msgspec.json.Decoder(list[struct]).decode  # type: ignore[valid-type]

    def decode(records: list[Any]) -> Events[E]:
        if not records:  # a range of offsets in which nothing can be seen
            return Events([], [], [], [], [])
        keys = [record.key for record in records]
        values = [record.value for record in records]
        try:
            # One call for the whole batch is three times cheaper than one a record; a batch with anything odd in it is done
            # again slowly.
            joined = b"[" + b",".join(values) + b"]"
            events = decode_list(joined)
            if _keyed_by_unit(events, keys):
                latest = max([event.ts for event in events])
                if latest <= records[0].timestamp / 1000 + AHEAD_MAX_S:
                    mark = min(latest, records[-1].timestamp / 1000)
                    return Events(keys, events, values, _offsets(records), [], mark, len(joined))
        except (TypeError, *MALFORMED):
            pass  # said record by record below
        return _decode_each(records, decode_one)

    return decode


def _keyed_by_unit(events: Sequence[Exposure | Reward], keys: list[bytes]) -> bool:
    """Whether every key is its event's unit. One comparison of all is half the work of one each."""
    units = "\0".join([event.unit for event in events])
    return units.encode() == b"\0".join(keys) and units.count("\0") == len(keys) - 1


def _offsets(records: Sequence[Any]) -> Sequence[int]:
    """The records' offsets; a log that was never compacted has no holes between them."""
    first, last = records[0].offset, records[-1].offset
    return range(first, last + 1) if last - first == len(records) - 1 else [record.offset for record in records]


def _decode_each(records: list[Any], decode_one: Callable[[bytes], E]) -> Events[E]:
    offsets: list[int] = []
    good: Events[E] = Events([], [], [], offsets, [])
    for record in records:
        try:
            event = decode_one(record.value if record.value is not None else b"")
            reason = _domain(event, record)
        except MALFORMED as error:
            reason = str(error)
        if reason is None:
            good.keys.append(record.key)
            good.events.append(event)
            good.values.append(record.value)
            offsets.append(record.offset)
            good.mark = max(good.mark, min(event.ts, record.timestamp / 1000))
        else:
            good.dead.append(DeadLetter(record.offset, record.key, record.value, reason))
    good.size_bytes = sum(len(record.value or b"") for record in records)
    return good


def _domain(event: Exposure | Reward, record: Any) -> str | None:
    if record.key is None:
        return "key: missing: expected the unit"
    if record.key != event.unit.encode():
        return f"key: {record.key[:80]!r}: expected the unit, {event.unit!r}"
    if event.ts > record.timestamp / 1000 + AHEAD_MAX_S:
        return f"ts: {event.ts!r}: expected at most a day after the log time, {record.timestamp / 1000!r}"
    return None
