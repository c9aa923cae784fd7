"""Record batches through the seam: what is read of them, whatever is hidden in the log, and what is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CorruptRecordException
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords

from streams.seam import Room, build_batches, read_batches
from streams.seam import aiokafka as seam
from tests.batches import TOPIC, Raw, data, log, marker, records_of

# -- reading batches -------------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def batched() -> Iterator[None]:
    """`TOPIC` is read as batches of the records' offsets."""
    read_batches(TOPIC, lambda records: [record.offset for record in records])
    yield
    del seam._parsers[TOPIC]


def fetched(*batches: Raw, position: int = 0, aborted: Iterable[tuple[int, int]] = ()) -> list[tuple[int, int, list[int]]]:
    """(base, next, offsets of the records) of every batch that a fetch gives."""
    records = records_of(seam._BatchRecords, log(*batches), TOPIC, position, aborted)
    found = [(batch.base, batch.next, batch.payload) for batch in records]
    assert records.next_fetch_offset == (found[-1][1] if found else position), "the next fetch starts where the last batch ends"
    return found


def touching(position: int, found: list[tuple[int, int, list[int]]]) -> bool:
    """Whether each range begins where the one before ended, the first one at the fetch's position."""
    return all(base == before for (base, _, _), before in zip(found, [position, *(next_ for _, next_, _ in found)], strict=False))


def test_one_batch_a_record_batch() -> None:
    assert fetched(data(0, "a", "b"), data(2, "c")) == [(0, 2, [0, 1]), (2, 3, [2])]


def test_a_batch_counts_its_records_and_knows_their_times() -> None:
    (batch,) = records_of(seam._BatchRecords, data(4, "a", "b", "c"), TOPIC, 4, ())
    assert (batch.count, batch.first_ms, batch.last_ms) == (3, 1004, 1006)


def test_a_fetch_into_the_middle_of_a_batch_gives_the_rest_of_it() -> None:
    assert fetched(data(0, "a", "b", "c"), data(3, "d"), position=2) == [(2, 3, [2]), (3, 4, [3])]


def test_a_marker_is_part_of_the_batch_before_it() -> None:
    log_ = (data(0, "a", producer=1), marker(1, 1, commit=True), data(2, "b"))
    assert fetched(*log_) == [(0, 2, [0]), (2, 3, [2])]


def test_a_marker_at_the_end_is_part_of_the_last_batch() -> None:
    assert fetched(data(0, "a", producer=1), marker(1, 1, commit=True)) == [(0, 2, [0])]


def test_aborted_records_are_not_handed_out() -> None:
    log_ = (data(0, "a"), data(1, "x", "y", producer=1), marker(3, 1, commit=False), data(4, "b", producer=1))
    assert fetched(*log_, aborted=[(1, 1)]) == [(0, 4, [0]), (4, 5, [4])]


def test_without_the_list_of_aborted_transactions_they_would_be() -> None:
    log_ = (data(0, "a"), data(1, "x", "y", producer=1), marker(3, 1, commit=False))
    assert fetched(*log_) == [(0, 1, [0]), (1, 4, [1, 2])]


def test_another_producers_records_between_aborted_ones_are_handed_out() -> None:
    log_ = (data(0, "x", producer=1), data(1, "a", producer=2), data(2, "y", producer=1), marker(3, 1, commit=False))
    assert fetched(*log_, aborted=[(1, 0)]) == [(0, 4, [1])]


def test_what_is_hidden_at_the_beginning_is_part_of_the_first_batch() -> None:
    """Regression: its range began after the hidden records, which looked like a lost fetch and was fetched again for ever."""
    log_ = (data(5, "x", producer=1), marker(6, 1, commit=False), data(7, "a"))
    assert fetched(*log_, position=5, aborted=[(1, 5)]) == [(5, 8, [7])]
    assert fetched(marker(5, 1, commit=True), data(6, "a"), position=5) == [(5, 7, [6])]


def test_a_fetch_of_nothing_but_hidden_records_moves_on_without_records() -> None:
    """Regression: nothing was handed out, so the position the worker knew of stayed behind the log's end for ever."""
    assert fetched(data(5, "x", producer=1), marker(6, 1, commit=False), position=5, aborted=[(1, 5)]) == [(5, 7, [])]


def test_ranges_span_what_compaction_removed() -> None:
    log_ = (data(0, "a", "b", "c", kept=[1]), data(10, "d", "e", kept=[], length=2), data(20, "f"))
    assert fetched(*log_) == [(0, 12, [1]), (12, 21, [20])]


@pytest.mark.parametrize("position", range(9))
def test_ranges_touch_wherever_the_fetch_starts(position: int) -> None:
    log_ = [
        *((2, data(0, "a", "b")), (3, data(2, "x", producer=1)), (4, marker(3, 1, commit=False))),
        *((7, data(4, "c", "d", "e", kept=[0, 2])), (8, data(7, "f", producer=2)), (9, marker(8, 2, commit=True))),
    ]
    sent = [batch for next_, batch in log_ if next_ > position]  # a broker begins with the batch that holds the position
    found = fetched(*sent, position=position, aborted=[(1, 2)])
    assert touching(position, found)
    assert found[-1][1] == 9
    assert [offset for _, _, offsets in found for offset in offsets] == [o for o in (0, 1, 4, 6, 7) if o >= position]


def test_a_damaged_batch_is_refused() -> None:
    damaged = bytearray(data(0, "a"))
    damaged[-1] ^= 1
    with pytest.raises(CorruptRecordException):
        fetched(bytes(damaged))


def test_other_topics_keep_the_stock_path() -> None:
    records = list(records_of(seam._BatchRecords, data(0, "a", "b"), "stock", 0, ()))
    assert [(type(r).__name__, r.offset) for r in records] == [("ConsumerRecord", 0), ("ConsumerRecord", 1)]


def test_a_fetch_result_hands_out_at_least_one_batch_and_stops_at_the_limit() -> None:
    result, position = result_of(data(0, "a", "b"), data(2, "c", "d"), data(4, "e"))
    first = result.getall(3)
    assert [batch.payload for batch in list(first)] == [[0, 1], [2, 3]]
    assert (len(first), position()) == (3, 4), "the fetcher takes the length from the limit, and must not go below 0"
    assert result.has_more()
    assert [batch.payload for batch in list(result.getall(3))] == [[4]]
    assert (result.has_more(), position()) == (False, 5)


def test_room_for_so_many_of_each_partition_is_kept_to_while_what_is_left_in_all_counts_down() -> None:
    room = Room(10, each=3)
    for left in (6, 2):
        result, _ = result_of(data(0, "a", "b"), data(2, "c", "d"), data(4, "e"))
        taken = result.getall(room)
        assert [batch.payload for batch in list(taken)] == [[0, 1], [2, 3]]
        room -= len(taken)
        assert (room, room.each) == (left, 3)
    result, _ = result_of(data(0, "a", "b"), data(2, "c", "d"))
    assert [batch.payload for batch in list(result.getall(room))] == [[0, 1]]


def test_a_fetch_without_visible_records_counts_none_and_is_not_left_out() -> None:
    result, position = result_of(marker(0, 1, commit=True))
    batches = result.getall(10)
    assert (len(batches), bool(batches), position()) == (0, True, 1)


def test_a_fetch_from_before_a_seek_is_not_handed_out() -> None:
    result, _ = result_of(data(0, "a"), at=7)
    assert list(result.getall()) == []
    assert not result.has_more()


def result_of(*batches: Raw, at: int = 0) -> tuple[Any, Callable[[], int]]:
    """A fetch from offset 0, of a consumer that is at `at`, and how to ask for the position."""
    state = SimpleNamespace(paused=False, position=at)
    state.consumed_to = lambda position: setattr(state, "position", position)
    assignment = SimpleNamespace(active=True, state_value=lambda tp: state)
    records = records_of(seam._BatchRecords, log(*batches), TOPIC, 0, ())
    result = seam._BatchResult(TopicPartition(TOPIC, 0), assignment=assignment, partition_records=records, backoff=0)
    return result, lambda: state.position


# -- building batches ------------------------------------------------------------------------------------------------------------

OVERHEAD = 200


class Accumulator:
    """What `build_batches` asks of a producer. `python` takes aiokafka's builder that needs no compiler."""

    def __init__(self, limit: int = 1 << 20, *, python: bool = False) -> None:
        self._limit, self._python = limit, python

    def create_batch(self) -> BatchBuilder:
        batch = BatchBuilder(self._limit, 0, is_transactional=1)
        if self._python:
            batch._builder = _DefaultRecordBatchBuilderPy(2, 0, 1, -1, -1, 0, self._limit)
        return batch


def built(batches: list[BatchBuilder]) -> list[tuple[bytes, bytes | None]]:
    """The records of closed batches, as a consumer would read them."""
    found = []
    for batch in batches:
        assert batch._closed
        read = list(MemoryRecords(bytes(batch._builder.build())).next_batch())
        assert [record.offset for record in read] == list(range(batch.record_count()))
        found += [(record.key, record.value) for record in read]
    return found


def records(n: int, size: int = 100) -> tuple[list[bytes], list[bytes | None]]:
    return [b"k%05d" % i for i in range(n)], [None if i % 7 == 0 else b"%d" % i * (i % size) for i in range(n)]


@pytest.mark.parametrize("python", [False, True])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 100, 1001])
def test_batches_hold_every_record_in_order(n: int, python: bool) -> None:
    keys, values = records(n)
    batches = build_batches(Accumulator(python=python), keys, values, 1000, 4000)
    assert built(batches) == list(zip(keys, values, strict=True))
    assert len(batches) >= n // 40


def test_no_batch_is_larger_than_the_limit() -> None:
    keys, values = records(3000, size=300)
    for batch in build_batches(Accumulator(), keys, values, 1000, 5000):
        assert len(batch._builder.build()) <= 5000


def test_one_batch_is_enough_for_what_fits_one() -> None:
    assert len(build_batches(Accumulator(), *records(100, size=3), 1000, 100_000)) == 1


@pytest.mark.parametrize("n, at", [(1, 0), (5, 2), (100, 99)])
def test_a_record_that_fits_no_batch_is_an_error(n: int, at: int) -> None:
    keys, values = records(n)
    values[at] = b"x" * 5001
    with pytest.raises(ValueError, match=r"a record of 5\d\d\d bytes does not fit a batch of 5000 bytes"):
        build_batches(Accumulator(), keys, values, 1000, 5000)


def test_a_producer_with_smaller_batches_loses_nothing_silently() -> None:
    keys, values = records(100)
    with pytest.raises(ValueError, match="do not fit one of the producer's batches"):
        build_batches(Accumulator(1000), keys, values, 1000, 100_000)
