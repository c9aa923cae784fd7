"""The seam to Faust and aiokafka: a contract test for each private name it leans on, and for what it takes them to do.

One that fails after an upgrade says in a sentence what no longer holds; the rest of the suite would only say that nothing comes.
How the seam's own batches behave is in `test_seam_batches`; that no name is used elsewhere, in `test_private_names`.
"""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.consumer import consumer, fetcher
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance, GroupCoordinator
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.producer.sender import Sender
from aiokafka.producer.transaction_manager import TransactionManager
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport.conductor import Conductor
from faust.transport.consumer import Consumer, ThreadDelegateConsumer
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP, ConsumerMessage
from mode.worker import Worker

from streams import seam
from streams.seam import Batch
from streams.seam import aiokafka as kafka_seam
from streams.seam import faust as faust_seam
from tests.batches import data, records_of
from tests.unit.test_private_names import private

SEAM = Path(seam.__file__).parent
# The classes as they came, whatever the test run has installed since.
STOCK_RECORDS, STOCK_RESULT, STOCK_FETCHER = (
    made.__base__ for made in (kafka_seam._BatchRecords, kafka_seam._BatchResult, kafka_seam._Fetcher)
)


def source(of: Any) -> str:
    """The text of a class or function of a library."""
    return inspect.getsource(of)


# -- each name is there, and taken as it is given --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Name:
    """A private name, or a public one that is overridden: a method with its parameters, or a field that its class fills."""

    owner: Any
    name: str
    use: str
    parameters: tuple[str, ...] | None = None
    """None for a field."""

    def __str__(self) -> str:
        return f"{self.owner.__module__}.{self.owner.__qualname__}.{self.name}"

    def complaint(self) -> str | None:
        """What no longer holds, as a sentence."""
        file = "faust.py" if self.owner.__module__.startswith(("faust", "mode")) else "aiokafka.py"
        whose = f"streams/seam/{file} {self.use}"
        if self.parameters is None:
            filled = any(f"self.{self.name}{sign}" in source(self.owner) for sign in (" = ", ": "))
            return None if filled or hasattr(self.owner, self.name) else f"{self} is gone: {whose}"
        method = getattr(self.owner, self.name, None)
        if not callable(method):
            return f"{self} is gone: {whose}"
        taken = tuple(inspect.signature(method).parameters)[1:]
        return None if taken == self.parameters else f"{self} takes {taken}, no longer {self.parameters}: {whose}"


RELIED_ON = [
    Name(STOCK_RECORDS, "_unpack_records", "overrides it to hand out whole batches", ()),
    Name(STOCK_RECORDS, "_consume_aborted_up_to", "asks it which transactions were aborted", ("batch_offset",)),
    Name(STOCK_RECORDS, "_contains_abort_marker", "asks it where an aborted transaction ends", ("next_batch",)),
    Name(STOCK_RECORDS, "_tp", "takes the topic's parser by it"),
    Name(STOCK_RECORDS, "_records", "reads the record batches from it"),
    Name(STOCK_RECORDS, "_check_crcs", "validates checksums if it says so"),
    Name(STOCK_RECORDS, "_isolation_level", "hides aborted records if it says so"),
    Name(STOCK_RECORDS, "_aborted_producers", "hides the records of these producers"),
    Name(STOCK_RECORDS, "next_fetch_offset", "begins there, and sets it to where the next fetch begins"),
    Name(STOCK_RESULT, "getall", "overrides it to give batches", ("max_records",)),
    Name(STOCK_RESULT, "check_assignment", "asks it whether the fetch is from before a seek", ("tp",)),
    Name(STOCK_RESULT, "has_more", "asks it whether records are left", ()),
    Name(STOCK_RESULT, "_update_position", "moves the consumer's position by it", ()),
    Name(STOCK_RESULT, "_topic_partition", "takes the partition from it"),
    Name(STOCK_RESULT, "_partition_records", "iterates it, and sets it to None at the end"),
    Name(STOCK_FETCHER, "_fetch_max_wait_ms", "makes it depend on what is named in the request"),
    Name(STOCK_FETCHER, "_records", "knows by it which partitions a request leaves out"),
    Name(STOCK_FETCHER, "_fetch_task", "cancels it before the consumer is stopped"),
    Name(STOCK_FETCHER, "_pending_tasks", "cancels them, and awaits them in the fetcher's place"),
    Name(AIOKafkaConsumer, "_fetcher", "ends its fetches"),
    Name(AIOKafkaConsumer, "_coordinator", "reaches the group through it"),
    Name(AIOKafkaConsumer, "_isolation_level", "sets it, as Faust does not for an app like this one"),
    Name(AIOKafkaConsumer, "_fetch_max_wait_ms", "sets it, as Faust has 1.5 s"),
    Name(AIOKafkaConsumer, "_max_poll_records", "sets it before each poll, to what there is room for"),
    Name(AIOKafkaConsumer, "_partition_assignment_strategy", "sets it, as Faust takes round-robin for an app without tables"),
    Name(GroupCoordinator, "_group_instance_id", "sets it to None, so that a worker that stops leaves the group"),
    Name(BatchBuilder, "_builder", "fills it in bulk"),
    Name(BatchBuilder, "_relative_offset", "sets it to the number of records"),
    Name(AIOKafkaProducer, "_closed", "sets it, so that the producer is not stopped a second time"),
    Name(AIOKafkaProducer, "_sender", "closes it"),
    Name(AIOKafkaProducer, "client", "closes it"),
    Name(AIOKafkaProducer, "_txn_manager", "takes the error of its transaction from it"),
    Name(TransactionManager, "wait_for_transaction_end", "takes the error from what it returns", ()),
    Name(Sender, "close", "calls it without the flush before", ()),
    Name(AIOKafkaConsumerThread, "_create_worker_consumer", "overrides it to change the consumer", ("transport",)),
    Name(AIOKafkaConsumerThread, "getmany", "overrides it to say how much it may bring", ("active_partitions", "timeout")),
    Name(AIOKafkaConsumerThread, "_ensure_consumer", "takes the consumer from it", ()),
    Name(AIOKafkaConsumerThread, "on_thread_stop", "overrides it to leave the group", ()),
    Name(AIOKafkaConsumerThread, "_consumer", "finds the consumer there"),
    Name(AIOKafkaConsumerThread, "highwater", "overrides it to end where what is committed does", ("tp",)),
    Name(AIOKafkaConsumerThread, "_assignor", "sets it together with the consumer's, as Faust does"),
    Name(ThreadDelegateConsumer, "_new_consumer_thread", "overrides it to make its own thread", ()),
    Name(ThreadDelegateConsumer, "_getmany", "fetches by it", ("active_partitions", "timeout")),
    Name(ThreadDelegateConsumer, "seek_wait", "seeks by it", ("partitions",)),
    Name(Consumer, "getmany", "overrides it to yield a message a fetch", ("timeout",)),
    Name(Consumer, "perform_seek", "overrides it to seek to the applied offsets", ()),
    Name(Consumer, "_add_gap", "overrides it, as chunks jump offsets", ("tp", "offset_from", "offset_to")),
    Name(Consumer, "_new_offset", "overrides it to commit the applied offsets", ("tp",)),
    Name(Consumer, "_get_active_partitions", "asks it what is assigned", ()),
    Name(Consumer, "_read_offset", "replaces it, so that nothing is dropped as read already"),
    Name(Consumer, "_acked", "empties it, or it would grow"),
    Name(Consumer, "_acked_index", "empties it, or it would grow"),
    Name(Consumer, "can_resume_flow", "waits for it"),
    Name(Consumer, "flow_active", "asks it whether records may flow"),
    Name(TableManager, "on_start", "overrides it to start at once", ()),
    Name(TableManager, "_update_channels", "starts the tables, of which there are none, by it", ()),
    Name(TableManager, "recovery", "starts it, as Faust does"),
    Name(Worker, "_sentinel_task", "overrides it to end at once", ()),
]


@pytest.mark.parametrize("relied_on", RELIED_ON, ids=str)
def test_the_name_is_as_the_seam_uses_it(relied_on: Name) -> None:
    complaint = relied_on.complaint()
    assert complaint is None, complaint


OWN = {"_aborted", "_unpack_batches", "_whole_fetch_wait_ms"}
"""What the seam adds to a library's class."""


def test_every_private_name_of_the_seam_is_in_the_list() -> None:
    used: set[str] = set()
    for node in (node for path in SEAM.glob("*.py") for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.Attribute):
            used.add(node.attr)
        elif isinstance(node, ast.ClassDef):
            used.update(made.name for made in node.body if isinstance(made, ast.FunctionDef | ast.AsyncFunctionDef))
    missing = {name for name in used if private(name)} - {relied_on.name for relied_on in RELIED_ON} - OWN
    assert not missing, f"{sorted(missing)}: add each to RELIED_ON, with what it is used for, or to OWN"


@pytest.mark.parametrize(
    "name, complaint",
    [
        (Name(BatchBuilder, "_gone", "fills it"), "BatchBuilder._gone is gone: streams/seam/aiokafka.py fills it"),
        (Name(BatchBuilder, "_gone", "calls it", ()), "BatchBuilder._gone is gone: streams/seam/aiokafka.py calls it"),
        (
            Name(Consumer, "_new_offset", "overrides it", ("topic",)),
            "Consumer._new_offset takes ('tp',), no longer ('topic',): streams/seam/faust.py overrides it",
        ),
    ],
    ids=["field", "method", "parameters"],
)
def test_a_name_that_changed_is_complained_about(name: Name, complaint: str) -> None:
    assert str(name.complaint()).endswith(complaint)


# -- what they are taken to do ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package, pinned", [("faust-streaming", "0.15.3"), ("aiokafka", "0.14.0")])
def test_versions_are_those_the_seam_was_written_for(package: str, pinned: str) -> None:
    assert version(package) == pinned, (
        f"{package} is no longer {pinned}: read what changed in the names used by streams/seam, mend it, and move this pin"
    )


def test_the_classes_are_made_by_their_module_names() -> None:
    made = source(fetcher.Fetcher) if fetcher.Fetcher is STOCK_FETCHER else source(STOCK_FETCHER)
    for name in ("PartitionRecords(", "FetchResult(", "type(res_or_error) is FetchResult"):
        assert name in made, f"aiokafka's fetcher no longer says {name!r}: replacing the class in its module has no effect"
    assert "self._fetcher = Fetcher(" in source(AIOKafkaConsumer.start), "the consumer makes its fetcher otherwise"


def test_partition_records_take_what_the_fetcher_hands_them() -> None:
    expected = [
        *("self", "tp", "records", "aborted_transactions", "fetch_offset"),
        *("key_deserializer", "value_deserializer", "check_crcs", "isolation_level"),
    ]
    taken = list(inspect.signature(STOCK_RECORDS.__init__).parameters)
    assert taken == expected, "PartitionRecords is made differently: _BatchRecords inherits that"
    assert "self._unpack_records()" in source(STOCK_RECORDS.__init__), "PartitionRecords iterates something else by now"
    assert records_of(STOCK_RECORDS, data(0, "a"), "t", 0)._tp.topic == "t", "PartitionRecords._tp no longer has a topic"


def test_fetch_results_mean_what_the_seam_takes_them_for() -> None:
    result = STOCK_RESULT(TopicPartition("t", 0), assignment=None, partition_records="records", backoff=0)
    assert (result._topic_partition, result._partition_records) == (TopicPartition("t", 0), "records")
    assert result.has_more(), "FetchResult.has_more no longer means that records are left"
    assert "next_fetch_offset" in source(STOCK_RESULT._update_position), "_update_position moves by something else"


def test_the_fetcher_counts_records_by_len() -> None:
    text = source(STOCK_FETCHER.fetched_records)
    assert "max_records -= len(drained[tp])" in text, "fetched_records counts otherwise: `_Batches.__len__` is for this line"
    assert "if not records:" in text, "fetched_records leaves out fetches by another rule: `_Batches.__bool__` is for this line"


def test_the_fetcher_leaves_out_partitions_whose_records_it_holds() -> None:
    text = source(STOCK_FETCHER._get_actions_per_node)
    assert "if tp in self._records:" in text, "partitions are left out of a fetch by another rule"
    assert "self._fetch_max_wait_ms," in text, "the wait of a fetch is no longer read for each: `_Fetcher` has no effect"


def test_read_committed_is_the_isolation_level_compared_with() -> None:
    made = source(STOCK_FETCHER.__init__)
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


def test_the_batch_builder_can_be_filled_from_below() -> None:
    builder = BatchBuilder(1000, 0)
    assert isinstance(builder._builder, DefaultRecordBatchBuilder), "BatchBuilder keeps the compiled builder elsewhere"
    assert builder._builder.append(0, 5, b"k", b"v", []) is not None, "append takes (offset, timestamp, key, value, headers)"
    assert builder._builder.append(1, 5, b"k", b"v" * 2000, []) is None, "a full builder says so otherwise than by None"
    builder._relative_offset = 1
    assert builder.record_count() == 1, "a batch counts its records otherwise than by _relative_offset: the accumulator asks it"


def test_a_producer_stops_by_what_abandoning_it_does() -> None:
    text = source(AIOKafkaProducer.stop)
    for step in ("if self._closed:", "self._sender.close()", "self.client.close()"):
        assert step in text, f"AIOKafkaProducer.stop no longer says {step!r}: abandoning a producer leaves something open"


def test_a_consumer_reads_what_is_set_on_it_after_it_was_made() -> None:
    starts = source(AIOKafkaConsumer.start)
    for name in ("isolation_level", "fetch_max_wait_ms"):
        assert f"{name}=self._{name}" in starts, f"AIOKafkaConsumer.start no longer hands on _{name}: setting it has no effect"
    assert "assignors=self._partition_assignment_strategy" in starts, "the assignor is handed on otherwise"


def test_a_member_without_an_instance_id_leaves() -> None:
    assert "self._group_instance_id is None" in source(GroupCoordinator._maybe_leave_group), "leaving depends on something else"
    assert "_maybe_leave_group()" in source(GroupCoordinator.close), "a coordinator that is closed no longer leaves the group"
    assert "_coordinator.close()" in source(AIOKafkaConsumer.stop), "a consumer that stops no longer closes its coordinator"
    assert "_group_instance_id" in source(CoordinatorGroupRebalance.perform_group_join), "joining no longer names the instance id"


def test_faust_makes_its_consumer_where_the_seam_changes_it() -> None:
    assert "self._create_worker_consumer(" in source(AIOKafkaConsumerThread), "Faust makes its consumer elsewhere"
    assert "self._assignor = " in source(AIOKafkaConsumerThread._create_worker_consumer), "Faust keeps its assignor elsewhere"
    assert "self._thread = self._new_consumer_thread()" in source(ThreadDelegateConsumer.__init__), "the thread is made otherwise"
    assert "await self._consumer.stop()" in source(AIOKafkaConsumerThread.on_thread_stop), "the consumer stops elsewhere"


def test_faust_ends_where_its_thread_says() -> None:
    assert "self._thread.highwater(tp)" in source(ThreadDelegateConsumer.highwater), "Faust takes the end of a log from elsewhere"
    assert ".lso" in source(AIOKafkaConsumer.last_stable_offset), "last_stable_offset is something else by now"
    assert "tp_state.lso = lso" in source(fetcher.Fetcher), "a fetch no longer tells where what is committed ends"


def test_faust_asks_the_consumer_through_the_methods_overridden() -> None:
    for name in ("getmany", "perform_seek", "_add_gap", "_new_offset"):
        stock, ours = (inspect.signature(getattr(of, name)).parameters for of in (Consumer, faust_seam.ChunkedConsumer))
        assert list(stock) == list(ours), f"ChunkedConsumer.{name} is called as Faust's is"
    drained = source(Consumer)
    assert "getmany(timeout=" in drained, "Faust no longer drains its consumer by getmany"
    assert "self._new_offset(tp)" in drained, "Faust takes the offset to commit from elsewhere"
    assert "self._add_gap(" in drained, "Faust fills gaps of offsets elsewhere"
    assert "consumer_generation_id" in source(Consumer.getmany), "Faust marks rebalances otherwise than by the generation id"
    for name in ("_getmany", "seek_wait"):
        assert inspect.iscoroutinefunction(getattr(ThreadDelegateConsumer, name)), f"{name} no longer waits for the thread"


def test_faust_never_drops_a_message_as_read_already() -> None:
    """A mark set by a message under way while the worker seeks back would have what is fetched again dropped."""
    drained = source(Consumer._drain_messages)
    for use in ("self._read_offset.__getitem__", "if r_offset is None or offset >= r_offset:"):
        assert use in drained, f"Faust drops messages by another rule than {use!r}"
    marks = faust_seam._NothingRead()
    marks[TP("t", 0)] = 200
    assert marks[TP("t", 0)] is None
    assert "_read_offset = _NothingRead()" in source(faust_seam.ChunkedConsumer.__init__)


def test_faust_seeks_by_perform_seek_after_every_rebalance() -> None:
    text = source(Recovery) + source(TableManager)
    assert "perform_seek()" in text, "Faust no longer seeks after a rebalance: fetches dropped there would be lost"


def test_faust_starts_its_tables_as_the_seam_does_without_the_rest() -> None:
    rest, *lines = [line.strip() for line in source(TableManager.on_start).splitlines()[2:]]
    assert rest == "await self.sleep(1.0)", "Faust's tables no longer rest at the start: NoTables may not be needed any more"
    expected = ["if not self.should_stop:", "await self._update_channels()", "await self.recovery.start()"]
    assert lines == expected, f"Faust's tables start otherwise: NoTables.on_start must do the same ({lines})"
    assert "wait_until_tables_registered" in source(Conductor), "Faust subscribes without waiting for NoTables"


def test_faust_rests_before_it_closes_its_loop_and_nothing_else() -> None:
    assert "await asyncio.sleep(1.0)" in source(Worker._sentinel_task), "_sentinel_task does more than to rest"
    assert "self._sentinel_task()" in source(Worker._shutdown_loop), "Faust's worker rests elsewhere at its end"


def test_a_consumer_message_takes_what_the_seam_gives_it() -> None:
    message = faust_seam._message(TP("t", 3), [Batch(5, 9, 4, 1000, 2000, None)], 17)
    assert isinstance(message, ConsumerMessage), "Faust's ConsumerMessage is made otherwise"
    assert (message.topic, message.partition, message.tp) == ("t", 3, TP("t", 3)), "its arguments have another order"
    assert (message.offset, message.timestamp, message.generation_id) == (8, 2.0, 17), "its arguments have another order"
    assert message.value[0].next == 9, "its arguments have another order"


# -- what is installed -----------------------------------------------------------------------------------------------------------


def test_faust_finds_transports_by_their_scheme() -> None:
    faust_seam.install_transport()
    found = TRANSPORTS.by_url(f"{faust_seam.TRANSPORT_SCHEME}://localhost")
    assert found is faust_seam.ChunkedTransport, "Faust's registry of transports no longer knows aliases"
    assert found.Consumer is faust_seam.ChunkedConsumer, "Faust's transport names its consumer class otherwise"


def test_install_replaces_the_classes_and_may_be_repeated() -> None:
    seam.install()
    seam.install()
    assert (fetcher.PartitionRecords, fetcher.FetchResult) == (kafka_seam._BatchRecords, kafka_seam._BatchResult)
    assert consumer.Fetcher is kafka_seam._Fetcher
    assert STOCK_RECORDS is not kafka_seam._BatchRecords


@pytest.mark.parametrize("whole_ms, partial_ms", [(500, 20), (5, 5)])
def test_a_fetch_waits_only_if_it_names_every_partition(whole_ms: int, partial_ms: int) -> None:
    """As each test of a wait would measure time, this one asks for the number that goes into the request."""
    made = object.__new__(kafka_seam._Fetcher)
    made._fetch_max_wait_ms, made._records = whole_ms, {}
    assert made._fetch_max_wait_ms == whole_ms
    made._records = {TopicPartition("t", 0): "held"}
    assert made._fetch_max_wait_ms == partial_ms
