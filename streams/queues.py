"""Fetched batches on their way from the consumer to a partition's task: without gaps, without what is applied already, bounded.

However far a worker is behind and however many partitions it has, what it has fetched and not counted yet takes no more memory
than its `Backlog` allows.
"""

from __future__ import annotations

import sys
from collections import deque

from streams.seam import Batch, Room

__all__ = ["RECORD_BYTES", "Backlog", "SourceQueue"]

RECORD_BYTES = 500
"""What a decoded event takes besides its bytes, which are there twice: as they came, for a dead letter, and decoded."""
MEAN_SHARE = 0.1


class Backlog:
    """What the queues of a process may hold together, in bytes of memory. A chunk that is being counted is still held.

    Three quarters of `limit_bytes` are for whoever comes first. Of the rest every queue has an even part to itself, so that none
    can keep another from what both are waiting for. A queue below its part gets up to another one with a fetch, so two of them
    are set aside for each. Together they hold at most the limit, and one record batch each: a batch is never taken in parts.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = self.most_bytes = 0
        """Now, and at its most."""
        self.queues = 0
        self._common_bytes = limit_bytes * 3 // 4
        self._record_bytes = 2.0 * RECORD_BYTES

    @property
    def part_bytes(self) -> int:
        """What every queue may hold in any case."""
        return (self.limit_bytes - self._common_bytes) // (2 * max(1, self.queues))

    def wants(self, queue: SourceQueue) -> bool:
        """Whether the queue may take more."""
        return queue.held_bytes < self.part_bytes or self.held_bytes < self._common_bytes

    def room(self) -> Room:
        """How many records the next fetch may bring, going by the size of those before."""
        common_bytes, part_bytes = self._common_bytes - self.held_bytes, self.part_bytes
        each = max(1, int(max(common_bytes, part_bytes) / self._record_bytes))
        return Room(max(each, int(self.queues * part_bytes / self._record_bytes)), each)

    def take(self, count: int, size_bytes: int) -> None:
        """Hold so many more records."""
        self.held_bytes += size_bytes
        self.most_bytes = max(self.most_bytes, self.held_bytes)
        if count:
            self._record_bytes += MEAN_SHARE * (size_bytes / count - self._record_bytes)


class SourceQueue:
    """Batches of one partition of one topic, gapless from the applied offset on.

    A batch begins where its fetch did or where the batch before it ended, so a batch that begins beyond `next` means that a
    fetch was lost on the way (a rebalance drops what is in flight), never that the log itself has a hole.
    """

    def __init__(self, applied: int, backlog: Backlog | None = None) -> None:
        self.batches: deque[Batch] = deque()
        self.records = 0
        self.held_bytes = 0
        """Memory of the batches here, and of those taken and not released."""
        self.next = applied
        """Offset the next batch must start at."""
        self._backlog = backlog or Backlog(sys.maxsize)
        self._backlog.queues += 1
        self._taken_bytes = 0

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
            size_bytes = memory_of(batch)
            self.held_bytes += size_bytes
            self._backlog.take(batch.count, size_bytes)
        return True

    def take(self, count: int) -> list[Batch]:
        """Remove the first `count` batches. They are held until `release`."""
        taken = [self.batches.popleft() for _ in range(count)]
        self.records -= sum(batch.count for batch in taken)
        self._taken_bytes += sum(map(memory_of, taken))
        return taken

    def release(self) -> None:
        """What was taken is counted, and its memory free."""
        self._give_back(self._taken_bytes)

    def close(self) -> None:
        """Give back everything."""
        self.batches.clear()
        self._give_back(self.held_bytes)
        self._backlog.queues -= 1

    def _give_back(self, size_bytes: int) -> None:
        self.held_bytes -= size_bytes
        self._backlog.held_bytes -= size_bytes
        self._taken_bytes = 0


def memory_of(batch: Batch) -> int:
    """Bytes that a batch is reckoned to take."""
    payload = batch.payload
    raw = isinstance(payload, list)
    value_bytes = sum(len(record.value or b"") for record in payload) if raw else getattr(payload, "size_bytes", 0)
    return batch.count * RECORD_BYTES + 2 * value_bytes
