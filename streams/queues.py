"""Fetched batches on their way from the consumer to a partition's task: without gaps, without what is applied already."""

from __future__ import annotations

from collections import deque

from streams.seam import Batch

__all__ = ["SourceQueue"]


class SourceQueue:
    """Batches of one partition of one topic, gapless from the applied offset on.

    A batch begins where its fetch did or where the batch before it ended, so a batch that begins beyond `next` means that a
    fetch was lost on the way (a rebalance drops what is in flight), never that the log itself has a hole.
    """

    def __init__(self, applied: int) -> None:
        self.batches: deque[Batch] = deque()
        self.records = 0
        self.next = applied
        """Offset the next batch must start at."""

    def put(self, batches: list[Batch]) -> bool:
        """Queue what is new. False if something is missing in between: nothing beyond it is taken, fetch again from `next`."""
        for batch in batches:
            if batch.next <= self.next:
                continue
            if batch.base != self.next:
                return False
            self.batches.append(batch)
            self.records += batch.count
            self.next = batch.next
        return True

    def take(self, count: int) -> list[Batch]:
        """Remove the first `count` batches."""
        taken = [self.batches.popleft() for _ in range(count)]
        self.records -= sum(batch.count for batch in taken)
        return taken
