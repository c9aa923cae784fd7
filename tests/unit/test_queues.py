"""The queue between consumer and task: gapless whatever the transport drops, and without what is applied already."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.queues import SourceQueue
from streams.seam import Batch


class Payload(tuple[int, ...]):
    """The offsets of a batch's records."""

    size_bytes = 100


def batch(base: int, next_: int) -> Batch:
    return Batch(base, next_, next_ - base, base * 1000, next_ * 1000, Payload(range(base, next_)))


def ranges(queue: SourceQueue) -> list[tuple[int, int]]:
    return [(b.base, b.next) for b in queue.batches]


def test_begins_at_the_applied_offset() -> None:
    queue = SourceQueue(10)
    assert queue.put([batch(10, 12), batch(12, 15)])
    assert (ranges(queue), queue.records, queue.next) == ([(10, 12), (12, 15)], 5, 15)


def test_replayed_batches_are_skipped() -> None:
    queue = SourceQueue(10)
    assert queue.put([batch(4, 7), batch(7, 10), batch(10, 12)])
    assert queue.put([batch(10, 12), batch(12, 13)])
    assert ranges(queue) == [(10, 12), (12, 13)]


def test_a_batch_that_holds_applied_records_too_is_fetched_again_from_its_middle() -> None:
    queue = SourceQueue(10)
    assert not queue.put([batch(8, 12)])
    assert queue.put([batch(10, 12)])


def test_a_batch_beyond_next_is_refused_and_so_is_everything_after_it() -> None:
    queue = SourceQueue(0)
    assert queue.put([batch(0, 2)])
    assert not queue.put([batch(3, 4), batch(4, 6)])
    assert (ranges(queue), queue.next, queue.records) == ([(0, 2)], 2, 2)


def test_what_was_in_flight_when_the_rewind_happened_is_refused_too() -> None:
    """Regression: after the first refusal the next fetch in flight was taken, and the records before it were lost."""
    queue = SourceQueue(0)
    # [0, 2) was lost in a rebalance; [2, 4) and [4, 6) were in flight behind it.
    assert not queue.put([batch(2, 4)])
    assert not queue.put([batch(4, 6)])
    assert queue.next == 0
    assert queue.put([batch(0, 2), batch(2, 4), batch(4, 6)])
    assert ranges(queue) == [(0, 2), (2, 4), (4, 6)]


def test_ranges_without_records_move_it_on() -> None:
    queue = SourceQueue(0)
    assert queue.put([Batch(0, 5, 0, 0, 0, []), batch(5, 6)])
    assert (queue.next, queue.records) == (6, 1)


def test_take_removes_from_the_front() -> None:
    queue = SourceQueue(0)
    queue.put([batch(0, 2), batch(2, 5), batch(5, 6)])
    assert [b.base for b in queue.take(2)] == [0, 2]
    assert (ranges(queue), queue.records, queue.next) == ([(5, 6)], 1, 6)
    assert queue.take(0) == []


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 11), st.integers(1, 6), st.booleans()), max_size=30),
)
def test_any_mix_of_lost_and_repeated_fetches_ends_gapless_and_without_a_record_twice(
    sizes: list[int], fetches: list[tuple[int, int, bool]]
) -> None:
    log, at = [], 0
    for size in sizes:
        log.append(batch(at, at + size))
        at += size
    queue = SourceQueue(0)
    taken: list[int] = []
    for begin, count, drain in fetches:
        complete = queue.put(log[begin : begin + count])
        assert complete or queue.next < at
        if drain:
            taken += [offset for b in queue.take(len(queue.batches)) for offset in b.payload]
    rest = next((i for i, b in enumerate(log) if b.next > queue.next), len(log))
    assert queue.put(log[rest:])  # the rewind
    taken += [offset for b in queue.take(len(queue.batches)) for offset in b.payload]
    assert taken == list(range(at))
