"""Forget units that no event can concern any more: a slow walk over the store, a little with every chunk.

A unit's record carries its deadline in front, so that the walk need not decode it. A walk begins once the watermark has passed
the nearest deadline the last one saw by `SLACK` of the horizon, so each record is looked at a few times in its life, and at most
that share of the store is of units that could be gone already. Where the walk stands matters to nobody: the fold treats a record
past its deadline as gone, found by the walk or not.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from streams.state.store import Store

__all__ = ["Sweep", "deadline_of"]

SLACK = 0.25
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
        self._walk: Iterator[tuple[bytes, bytes]] | None = None
        self._nearest = 0.0
        self._next_at = 0.0

    @property
    def walking(self) -> bool:
        """Whether a walk is under way."""
        return self._walk is not None

    def stale(self, watermark: float, horizon_s: float, budget: int) -> list[tuple[bytes, bytes]]:
        """Go on for at most `budget` records; the keys (as stored) and values of those whose deadline has passed."""
        if self._walk is None:
            if watermark < self._next_at:
                return []
            self._walk, self._nearest = self._store.scan_from(UNITS_FROM), 0.0
        found: list[bytes] = []
        for _ in range(budget):
            item = next(self._walk, None)
            if item is None:
                self._walk = None
                # without any record left, the next one to come has a whole horizon before it
                self._next_at = (self._nearest or watermark) + SLACK * horizon_s
                break
            deadline = deadline_of(item[1])
            if deadline < watermark:
                found.append(item[0])
            elif not self._nearest or deadline < self._nearest:
                self._nearest = deadline
        # A walk sees the store as it was when it began; a unit may have come back since.
        current = zip(found, self._store.get_many(found), strict=True)
        return [(key, value) for key, value in current if value is not None and deadline_of(value) < watermark]
