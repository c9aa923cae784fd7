"""Fetched batches on their way from the consumer to a partition's task: without gaps, without what is applied already."""

from __future__ import annotations

from collections import deque

from streams.seam import Batch

__all__ = ["SourceQueue"]


class SourceQueue:
    """Batches of one partition of one topic, gapless from the applied offset on."""

    def __init__(self, applied: int) -> None:
        self.batches: deque[Batch] = deque()
        self.records = 0
        self.next = applied
        """Offset the next batch should start at."""
        self._sought: int | None = None

    def put(self, batches: list[Batch]) -> int | None:
        """Queue what is new. Returns an offset to seek to when records are missing in between, else None.

        A hole that is still there after one seek is real (compaction, transaction markers, retention) and is stepped over.
        """
        for batch in batches:
            if batch.next <= self.next:
                continue
            if batch.base < self.next or (batch.base > self.next and self._sought != self.next):
                self._sought = self.next
                return self.next
            self.batches.append(batch)
            self.records += batch.count
            self.next = batch.next
        return None

    def take(self, count: int) -> list[Batch]:
        """Remove the first `count` batches."""
        taken = [self.batches.popleft() for _ in range(count)]
        self.records -= sum(batch.count for batch in taken)
        return taken
