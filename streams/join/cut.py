"""Which events make the next chunk, and when: both topics up to the same log time.

A replay then meets rewards about when they first came, few of them wait for an exposure that is still in the queue, and each
unit's record is read and written once for both. The moments do not depend on where the cuts fall; the speed does.
"""

from __future__ import annotations

from collections.abc import Callable

from streams.queues import SourceQueue
from streams.seam import Batch

__all__ = ["Chunk", "cut", "linger_s"]

Chunk = tuple[list[Batch], list[Batch]]


def cut(
    exposures: SourceQueue, rewards: SourceQueue, records_max: int, at_end: Callable[[str, int], bool], topics: tuple[str, str]
) -> Chunk | None:
    """The next chunk as (exposure batches, reward batches), whole batches only, or None while one side must be waited for.

    `at_end(topic, next)` says whether nothing is left to fetch from `next` on; a side that is not at its end bounds the
    other one by the log time it has reached.
    """
    queues = (exposures, rewards)
    have = [_leading(queue, records_max) for queue in queues]
    drained = [
        n == len(queue.batches) and at_end(topic, queue.next) for n, queue, topic in zip(have, queues, topics, strict=True)
    ]
    if not any(have) or any(not n and not end for n, end in zip(have, drained, strict=True)):
        return None
    bounds = [(queues[i].batches[have[i] - 1].last_ms, i) for i in (0, 1) if not drained[i]]
    if bounds:
        until_ms, by = min(bounds)
        other = 1 - by
        # of exposures those batches that have begun by then, of rewards those that have ended
        batches, n = queues[other].batches, have[other]
        while n and (batches[n - 1].last_ms if other else batches[n - 1].first_ms) > until_ms:
            n -= 1
        have[other] = n
    return exposures.take(have[0]), rewards.take(have[1])


def linger_s(records: int, records_max: int, until_due_s: float) -> float:
    """Seconds to wait before the next chunk is cut.

    Less than a whole chunk waits until partials are due: until then it would be of use to nobody, and what comes meanwhile shares
    its commit. How full the queues are decides, not whether they hold the end of the log: at a steady rate that is always a
    little ahead, and every fetch would be a transaction of its own.
    """
    return max(0.0, until_due_s) if 0 < records < records_max else 0.0


def _leading(queue: SourceQueue, records_max: int) -> int:
    """How many batches from the front hold about `records_max` records."""
    records = 0
    for n, batch in enumerate(queue.batches):
        if records >= records_max:
            return n
        records += batch.count
    return len(queue.batches)
