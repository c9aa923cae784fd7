"""The seam to Faust and aiokafka: a contract test for each private name it leans on, and how its batches behave.

A contract test that fails after an upgrade says in its message what no longer holds; the rest of the suite would only say that
nothing arrives.
"""

from __future__ import annotations

import inspect
from importlib.metadata import version
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport.consumer import Consumer, ThreadDelegateConsumer
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP, ConsumerMessage

from streams import seam
from streams.seam import Batch, install
from tests.batches import data, records_of

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
    made = records_of(STOCK_RECORDS, data(0, "a"), "t", 0)
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
    batch = MemoryRecords(data(7, "a", "b")).next_batch()
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
