"""What all queues of a worker hold together is bounded, and none keeps another from what it waits for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.queues import RECORD_BYTES, Backlog, SourceQueue
from streams.seam import Batch

LIMIT_BYTES = 400 * RECORD_BYTES
BATCH_RECORDS = 10
BATCH_BYTES = BATCH_RECORDS * RECORD_BYTES


def fetch(queue: SourceQueue, records: int) -> None:
    """What a fetch with room for so many records brings of one partition: whole batches, the last one with more."""
    while records > 0:
        queue.put([Batch(queue.next, queue.next + BATCH_RECORDS, BATCH_RECORDS, 0, 0, None)])
        records -= BATCH_RECORDS


def queues_of(backlog: Backlog, count: int) -> list[SourceQueue]:
    return [SourceQueue(0, backlog) for _ in range(count)]


@given(st.integers(1, 40), st.lists(st.tuples(st.integers(0, 39), st.sampled_from(["fetch", "take", "release"])), max_size=200))
def test_whatever_happens_no_more_is_held_than_was_said(count: int, happenings: list[tuple[int, str]]) -> None:
    backlog = Backlog(LIMIT_BYTES)
    queues = queues_of(backlog, count)
    for n, what in happenings:
        queue = queues[n % count]
        if what == "fetch" and backlog.wants(queue):
            fetch(queue, backlog.room().each)
        elif what == "take":
            queue.take(len(queue.batches) // 2)
        elif what == "release":
            queue.release()
        assert backlog.held_bytes == sum(q.held_bytes for q in queues)
        assert backlog.most_bytes <= LIMIT_BYTES + count * BATCH_BYTES
        assert all(backlog.wants(q) for q in queues if q.held_bytes == 0), "the join may be waiting for just this one"
    for queue in queues:
        queue.close()
    assert (backlog.held_bytes, backlog.queues) == (0, 0)


def test_a_bound_a_queue_would_grow_with_the_partitions() -> None:
    """Control: the same fetches, each queue on its own."""
    for count, bounded in ((1, True), (40, False)):
        held = 0
        for queue in [SourceQueue(0, Backlog(LIMIT_BYTES)) for _ in range(count)]:
            fetch(queue, LIMIT_BYTES // RECORD_BYTES)
            held += queue.held_bytes
        assert (held <= 2 * LIMIT_BYTES) == bounded


def test_what_is_being_counted_is_still_held() -> None:
    backlog = Backlog(LIMIT_BYTES)
    (queue,) = queues_of(backlog, 1)
    fetch(queue, 400)
    assert not backlog.wants(queue)
    queue.take(40)
    assert not backlog.wants(queue)
    queue.release()
    assert backlog.wants(queue)
    assert backlog.held_bytes == 0


def test_large_records_leave_room_for_fewer() -> None:
    class Large:
        size_bytes = BATCH_RECORDS * 100_000

    backlog = Backlog(100 << 20)
    (queue,) = queues_of(backlog, 1)
    small = backlog.room()
    for n in range(60):
        queue.put([Batch(n * BATCH_RECORDS, (n + 1) * BATCH_RECORDS, BATCH_RECORDS, 0, 0, Large())])
        queue.take(1)
        queue.release()
    assert backlog.room() < small / 100
