"""The seam to Faust and aiokafka: a contract test for each private name it leans on, and how its batches behave.

A contract test that fails after an upgrade says in its message what no longer holds; the rest of the suite would only say that
nothing arrives.
"""

from __future__ import annotations

import inspect
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder, _DefaultRecordBatchBuilderPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport.consumer import Consumer, ThreadDelegateConsumer
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP, ConsumerMessage

from streams import seam
from streams.seam import Batch, build_batches, install, read_batches

# The module as it came, whatever the test run has installed since.
STOCK_RECORDS, STOCK_RESULT = seam._BatchRecords.__base__, seam._BatchResult.__base__


def source(of: Any) -> str:
    """The text of a class or function of a library."""
    return inspect.getsource(of)


def parameters(of: Any) -> list[str]:
    return list(inspect.signature(of).parameters)


# -- what is leaned on -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package, pinned", [("faust-streaming", "0.15.3"), ("aiokafka", "0.14.0")])
def test_versions_are_those_the_seam_was_written_for(package: str, pinned: str) -> None:
    assert version(package) == pinned, (
        f"{package} is no longer {pinned}: read what changed in the names used by streams/seam.py, mend it, and move this pin"
    )


def test_the_fetcher_makes_its_records_and_results_by_their_module_names() -> None:
    made = source(fetcher.Fetcher)
    for name in ("PartitionRecords(", "FetchResult(", "type(res_or_error) is FetchResult"):
        assert name in made, f"aiokafka's fetcher no longer says {name!r}: replacing the class in its module has no effect"


def test_partition_records_take_what_the_fetcher_hands_them() -> None:
    expected = [
        *("self", "tp", "records", "aborted_transactions", "fetch_offset"),
        *("key_deserializer", "value_deserializer", "check_crcs", "isolation_level"),
    ]
    assert parameters(STOCK_RECORDS.__init__) == expected, "PartitionRecords is made differently: _BatchRecords inherits that"
    fields = ["_tp", "_records", "_check_crcs", "_isolation_level", "_aborted_producers", "next_fetch_offset"]
    made = stock_records(log(data(0, "a")))
    absent = [name for name in fields if not hasattr(made, name)]
    assert not absent, f"PartitionRecords no longer has {absent}, which _unpack_batches reads"
    for name in ("_unpack_records", "_consume_aborted_up_to", "_contains_abort_marker"):
        assert callable(getattr(made, name, None)), f"PartitionRecords.{name} is gone: aborted records would be handed out"
    assert "self._unpack_records()" in source(STOCK_RECORDS.__init__), "PartitionRecords iterates something else by now"


def test_fetch_results_keep_records_and_position_where_the_seam_finds_them() -> None:
    result = STOCK_RESULT(TopicPartition("t", 0), assignment=None, partition_records="records", backoff=0)
    assert result._topic_partition == TopicPartition("t", 0), "FetchResult keeps its partition elsewhere: getall reads it"
    assert result._partition_records == "records", "FetchResult keeps its records elsewhere: getall iterates them"
    assert result.has_more(), "FetchResult.has_more no longer means that records are left"
    assert "next_fetch_offset" in source(STOCK_RESULT._update_position), "_update_position moves by something else"
    assert parameters(STOCK_RESULT.getall) == ["self", "max_records"], "the fetcher calls getall with other arguments"
    assert parameters(STOCK_RESULT.check_assignment) == ["self", "tp"], "check_assignment takes other arguments"


def test_the_fetcher_counts_records_by_len() -> None:
    text = source(fetcher.Fetcher.fetched_records)
    assert "max_records -= len(drained[tp])" in text, "fetched_records counts otherwise: `_Batches.__len__` is for this line"
    assert "if not records:" in text, "fetched_records leaves out fetches by another rule: `_Batches.__bool__` is for this line"


def test_read_committed_is_the_isolation_level_compared_with() -> None:
    made = source(fetcher.Fetcher.__init__)
    assert "self._isolation_level = READ_COMMITTED" in made, "the fetcher writes its isolation level otherwise"
    assert "READ_COMMITTED" in source(STOCK_RECORDS._unpack_records), "the level that hides aborted records is written otherwise"


def test_record_batches_tell_their_range_times_and_kind() -> None:
    batch = MemoryRecords(log(data(7, "a", "b"))).next_batch()
    assert (batch.base_offset, batch.next_offset) == (7, 9), "a record batch no longer tells its range of offsets"
    assert (batch.first_timestamp, batch.max_timestamp) == (1007, 1008), "a record batch no longer tells its times"
    assert batch.is_control_batch is False, "a record batch no longer tells whether it is a marker"
    assert batch.is_transactional is False, "a record batch no longer tells whether it is part of a transaction"
    assert batch.producer_id == -1, "a record batch no longer tells its producer"
    assert batch.validate_crc(), "a record batch's checksum is validated otherwise"
    assert [(r.offset, r.timestamp, r.key, r.value) for r in batch] == [(7, 1007, b"a", b"A"), (8, 1008, b"b", b"B")]


def test_a_consumer_reads_what_is_set_on_it_after_it_was_made() -> None:
    stored = source(AIOKafkaConsumer.__init__)
    for name in ("_isolation_level", "_fetch_max_wait_ms", "_partition_assignment_strategy"):
        assert f"self.{name} = " in stored, f"AIOKafkaConsumer.{name} is gone: the worker's consumer would run with Faust's own"
    starts = source(AIOKafkaConsumer.start)
    for use in ("isolation_level=self._isolation_level", "fetch_max_wait_ms=self._fetch_max_wait_ms"):
        assert use in starts, f"AIOKafkaConsumer.start no longer hands on {use!r}: setting it before the start has no effect"
    assert "assignors=self._partition_assignment_strategy" in source(AIOKafkaConsumer), "the assignor is handed on otherwise"


def test_faust_makes_its_consumer_where_the_seam_changes_it() -> None:
    name = "_create_worker_consumer"
    assert parameters(getattr(AIOKafkaConsumerThread, name)) == ["self", "transport"], f"AIOKafkaConsumerThread.{name} changed"
    assert f"self.{name}(" in source(AIOKafkaConsumerThread), f"Faust no longer calls {name}"
    assert "_assignor" in source(AIOKafkaConsumerThread), "Faust keeps its assignor elsewhere"
    assert "self._thread = self._new_consumer_thread()" in source(ThreadDelegateConsumer.__init__), "the thread is made otherwise"


def test_faust_asks_the_consumer_through_the_methods_overridden() -> None:
    stock: dict[str, list[str]] = {
        "getmany": ["self", "timeout"],
        "perform_seek": ["self"],
        "_add_gap": ["self", "tp", "offset_from", "offset_to"],
        "_new_offset": ["self", "tp"],
    }
    for name, taken in stock.items():
        assert parameters(getattr(Consumer, name)) == taken, f"Faust's Consumer.{name} changed: ChunkedConsumer overrides it"
        assert parameters(getattr(seam.ChunkedConsumer, name)) == taken, f"ChunkedConsumer.{name} is called as Consumer's is"
    drained = source(Consumer)
    assert "getmany(timeout=" in drained, "Faust no longer drains its consumer by getmany"
    assert "self._new_offset(tp)" in drained, "Faust takes the offset to commit from elsewhere"
    assert "self._add_gap(" in drained, "Faust fills gaps of offsets elsewhere"


def test_faust_gives_the_consumer_what_the_seam_reads() -> None:
    made = source(Consumer.__init__)
    for name in ("_acked", "_acked_index", "can_resume_flow"):
        assert f"self.{name} = " in made, f"Faust's Consumer.{name} is gone"
    assert Consumer.flow_active is True, "Consumer.flow_active no longer says whether records may flow"
    assert inspect.iscoroutinefunction(ThreadDelegateConsumer._getmany), "ThreadDelegateConsumer._getmany fetches no more"
    assert parameters(ThreadDelegateConsumer._getmany) == ["self", "active_partitions", "timeout"], "_getmany takes others"
    assert parameters(Consumer._get_active_partitions) == ["self"], "the assigned partitions are told otherwise"
    assert inspect.iscoroutinefunction(ThreadDelegateConsumer.seek_wait), "seek_wait no longer waits for the thread"
    assert "consumer_generation_id" in source(Consumer.getmany), "Faust marks rebalances otherwise than by the generation id"


def test_faust_never_drops_a_message_as_read_already() -> None:
    """A mark set by a message under way while the worker seeks back would have what is fetched again dropped."""
    drained = source(Consumer._drain_messages)
    for use in ("self._read_offset.__getitem__", "if r_offset is None or offset >= r_offset:"):
        assert use in drained, f"Faust drops messages by another rule than {use!r}"
    marks = seam._NothingRead()
    marks[TP("t", 0)] = 200
    assert marks[TP("t", 0)] is None
    assert "_read_offset = _NothingRead()" in source(seam.ChunkedConsumer.__init__)


def test_faust_seeks_by_perform_seek_after_every_rebalance() -> None:
    text = source(Recovery) + source(TableManager)
    assert "perform_seek()" in text, "Faust no longer seeks after a rebalance: fetches dropped there would be lost"


def test_a_consumer_message_takes_what_the_seam_gives_it() -> None:
    message = seam._message(TP("t", 3), [Batch(5, 9, 4, 1000, 2000, None)], 17)
    assert isinstance(message, ConsumerMessage), "Faust's ConsumerMessage is made otherwise"
    assert (message.topic, message.partition, message.tp) == ("t", 3, TP("t", 3)), "its arguments have another order"
    assert (message.offset, message.timestamp, message.generation_id) == (8, 2.0, 17), "its arguments have another order"
    assert message.value[0].next == 9, "its arguments have another order"


def test_the_batch_builder_can_be_filled_from_below() -> None:
    builder = BatchBuilder(1000, 0)
    assert isinstance(builder._builder, DefaultRecordBatchBuilder), "BatchBuilder keeps the compiled builder elsewhere"
    assert builder._builder.append(0, 5, b"k", b"v", []) is not None, "append takes (offset, timestamp, key, value, headers)"
    assert builder._builder.append(1, 5, b"k", b"v" * 2000, []) is None, "a full builder says so otherwise than by None"
    builder._relative_offset = 1
    assert builder.record_count() == 1, "a batch counts its records otherwise than by _relative_offset: the accumulator asks it"


def test_faust_finds_transports_by_their_scheme() -> None:
    install()
    found = TRANSPORTS.by_url(f"{seam.TRANSPORT_SCHEME}://localhost")
    assert found is seam.ChunkedTransport, "Faust's registry of transports no longer knows aliases"
    assert found.Consumer is seam.ChunkedConsumer, "Faust's transport names its consumer class otherwise"


def test_install_replaces_both_classes_and_may_be_repeated() -> None:
    install()
    install()
    assert (fetcher.PartitionRecords, fetcher.FetchResult) == (seam._BatchRecords, seam._BatchResult)
    assert STOCK_RECORDS is not seam._BatchRecords


# -- reading batches -------------------------------------------------------------------------------------------------------------

Raw = bytes
TOPIC = "batched"
CONTROL, TRANSACTIONAL = 0x20, 0x10


@pytest.fixture(autouse=True)
def batched() -> Iterator[None]:
    """`TOPIC` is read as batches of the records' offsets."""
    read_batches(TOPIC, lambda records: [record.offset for record in records])
    yield
    del seam._parsers[TOPIC]


def data(base: int, *keys: str, producer: int = -1, kept: Sequence[int] | None = None, length: int | None = None) -> Raw:
    """A batch of records from offset `base`, one a key; `kept` are those compaction left, `length` the offsets it stands for."""
    builder = DefaultRecordBatchBuilder(2, 0, producer >= 0, producer, 0, 0, 1 << 20)
    for i, key in enumerate(keys):
        if kept is None or i in kept:
            assert builder.append(i, 1000 + base + i, key.encode(), key.upper().encode(), []) is not None
    return placed(builder, base, length or len(keys))


def marker(base: int, producer: int, *, commit: bool) -> Raw:
    """The batch that ends a transaction."""
    builder = DefaultRecordBatchBuilder(2, 0, True, producer, 0, 0, 1 << 20)
    builder.append(0, 1000 + base, struct.pack(">hh", 0, int(commit)), struct.pack(">hi", 0, 0), [])
    return placed(builder, base, 1, CONTROL)


def placed(builder: Any, base: int, length: int, attributes: int = 0) -> Raw:
    """The batch as the broker stores it: at its offset, its last offset told, its checksum anew."""
    raw = bytearray(builder.build())
    struct.pack_into(">q", raw, 0, base)
    (stored,) = struct.unpack_from(">h", raw, 21)
    struct.pack_into(">hi", raw, 21, stored | attributes, length - 1)
    struct.pack_into(">I", raw, 17, calc_crc32c(bytes(raw[21:])))
    return bytes(raw)


def log(*batches: Raw) -> bytes:
    return b"".join(batches)


def stock_records(raw: bytes, topic: str = TOPIC) -> Any:
    return records_of(STOCK_RECORDS, raw, topic, 0, ())


def records_of(cls: Any, raw: bytes, topic: str, position: int, aborted: Iterable[tuple[int, int]]) -> Any:
    return cls(TopicPartition(topic, 0), MemoryRecords(raw), list(aborted), position, None, None, True, fetcher.READ_COMMITTED)


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
    assert (len(first), position()) == (4, 4)
    assert result.has_more()
    assert [batch.payload for batch in list(result.getall(3))] == [[4]]
    assert (result.has_more(), position()) == (False, 5)


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
