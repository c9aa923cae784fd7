"""Forget units that no event can concern any more: a slow walk over the store, a little with every chunk.

A unit's record carries its deadline in front, so that the walk need not decode it: of two packed records the one with the
earlier deadline is the lesser. A walk begins once the watermark has passed the nearest deadline the last one saw by `SLACK` of
the horizon, so each record is looked at a few times in its life. Where the walk stands matters to nobody: no event
can concern a record past its deadline, found by the walk or not.

The walk must keep up however fast events come. With r records looked at for each new unit, a walk over S records lets S / r new
ones in on its way, so the store settles at (1 + SLACK) / (1 - 1 / r) times the live units: 1.7 at r = 4, without bound at r = 1.
"""

from __future__ import annotations

from itertools import islice
from struct import Struct

from streams.join.units import pack
from streams.state.store import Store

__all__ = ["LOOKS_PER_EVENT", "Sweep", "deadline_of"]

SLACK = 0.25
LOOKS_PER_EVENT = 2
"""Records to look at with each event of a chunk. Most units have two events or more."""
SHRINK_RECORDS = 10_000
"""A walk that found so many has the store take their space back."""
_FLOAT64 = Struct(">d")
"""How MessagePack writes the deadline, behind one byte for the list and one for the type."""
UNITS_FROM = b"\x01"
"""Where units' keys begin in the store; the reserved ones are below."""


def deadline_of(value: bytes) -> float:
    """The deadline in front of a packed record, in seconds since the epoch."""
    deadline: float = _FLOAT64.unpack_from(value, 2)[0]
    return deadline


class Sweep:
    """One partition's walk."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._next_key: bytes | None = None
        self._nearest = 0.0
        self._next_at = 0.0
        self._found = 0

    @property
    def walking(self) -> bool:
        """Whether a walk is under way."""
        return self._next_key is not None

    def stale(self, watermark: float, horizon_s: float, budget: int) -> list[tuple[bytes, bytes]]:
        """Go on for at most `budget` records; the keys (as stored) and values of those whose deadline has passed."""
        if not budget or not horizon_s:  # a chunk in which nothing can be seen; nothing that says how long anything is of use
            return []
        if self._next_key is None:
            if watermark < self._next_at:
                return []
            self._next_key, self._nearest, self._found = UNITS_FROM, 0.0, 0
        least = pack([float(watermark), [], {}])[: 2 + _FLOAT64.size]
        # Not one iterator for the whole walk: while it lived, all it could still show would stay in memory and on disk.
        seen = list(islice(self._store.scan_from(self._next_key), budget))
        found = [item for item in seen if item[1] < least]
        if len(found) < len(seen):
            nearest = deadline_of(min([value for _, value in seen if value >= least]))
            self._nearest = min(nearest, self._nearest or nearest)
        self._found += len(found)
        if len(seen) == budget:
            self._next_key = seen[-1][0] + b"\0"
        else:
            self._end(watermark, horizon_s)
        return found

    def _end(self, watermark: float, horizon_s: float) -> None:
        self._next_key = None
        # without any record left, the next one to come has a whole horizon before it
        self._next_at = (self._nearest or watermark) + SLACK * horizon_s
        if self._found >= SHRINK_RECORDS:
            self._store.shrink()
