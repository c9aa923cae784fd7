"""The exactly-counted state on real Kafka: what is committed, restored and fenced. Each protection with its control."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import MessageSizeTooLargeError
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from allocator.errors import Fenced
from deploy.kafka.broker import Broker
from streams.connection import Connection
from streams.seam import install
from streams.state import Ledger, LedgerSettings, Output, Store
from tests.workers import read_topic

pytestmark = pytest.mark.kafka
SMALL_BYTES = 2000

State = dict[bytes, bytes]


class Changelog:
    """The topics of one test, and ledgers over them."""

    def __init__(self, bootstrap: str, prefix: str, directory: Path) -> None:
        self.bootstrap, self.directory = bootstrap, directory
        self.topic, self.output, self.small = f"{prefix}.changelog", f"{prefix}.output", f"{prefix}.small"
        self._opened: list[Ledger] = []
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self.create(self.topic, {"cleanup.policy": "compact"})
        self.create(self.output)
        self.create(self.small, {"max.message.bytes": str(SMALL_BYTES)})

    def create(self, topic: str, config: dict[str, str] | None = None) -> None:
        for done in self._admin.create_topics([NewTopic(topic, 1, 1, config=config or {})]).values():
            done.result()

    def delete_before(self, topic: str, offset: int) -> None:
        """Have the broker forget the records below `offset`."""
        for done in self._admin.delete_records([TopicPartition(topic, 0, offset)]).values():
            done.result()

    def ledger(self, directory: str = "kept", *, topic: str | None = None, batch_bytes: int = 1_000_000) -> Ledger:
        """One of partition 0, not yet open. Another `directory`: as on another machine."""
        settings = LedgerSettings(Connection(self.bootstrap), self.directory / directory, batch_bytes=batch_bytes)
        ledger = Ledger("test", 0, topic or self.topic, self.topic, settings)
        self._opened.append(ledger)
        return ledger

    async def opened(self, *arguments: Any, **named: Any) -> Ledger:
        ledger = self.ledger(*arguments, **named)
        assert await ledger.open()
        return ledger

    async def close(self) -> None:
        for ledger in self._opened:
            await ledger.close()

    def visible(self, topic: str, isolation: str = "read_committed") -> list[bytes]:
        """Values of the records a consumer sees."""
        return [message.value() for message in read_topic(self.bootstrap, topic, isolation)]


@pytest.fixture
async def changelog(kafka: Broker, prefix: str, tmp_path: Path) -> AsyncIterator[Changelog]:
    install()
    made = Changelog(kafka.bootstrap, prefix, tmp_path)
    yield made
    await made.close()


def state(ledger: Ledger) -> State:
    """What is stored, without the store's own records."""
    return {key: value for key, value in ledger.store.scan(b"") if not key.startswith(b"\x00")}


async def commit(ledger: Ledger, offset: int, **values: str | None) -> None:
    """Commit `values` with the source `events` applied up to `offset`."""
    given = [None if value is None else value.encode() for value in values.values()]
    await ledger.commit({"events": offset}, [key.encode() for key in values], given)


# -- commit ----------------------------------------------------------------------------------------------------------------------


async def test_a_commit_stores_publishes_and_counts_together(changelog: Changelog) -> None:
    ledger = await changelog.opened()
    assert (ledger.checkpoint.seq, ledger.checkpoint.applied, state(ledger)) == (0, {}, {})
    outputs = [Output(changelog.output, 0, b"k", b"out-1", (("reason", b"why"),)), Output(changelog.output, 0, None, b"out-2")]
    await ledger.commit({"events": 7}, [b"a", b"b"], [b"1", b"2"], outputs)
    assert state(ledger) == {b"a": b"1", b"b": b"2"}
    assert (ledger.checkpoint.seq, ledger.checkpoint.applied) == (1, {"events": 7})
    first, second = read_topic(changelog.bootstrap, changelog.output)
    assert (first.key(), first.value(), first.headers()) == (b"k", b"out-1", [("reason", b"why")])
    assert (second.key(), second.value(), second.headers()) == (None, b"out-2", None)
    assert changelog.visible(changelog.topic)[:2] == [b"1", b"2"]


async def test_a_later_commit_keeps_the_offsets_it_does_not_name(changelog: Changelog) -> None:
    ledger = await changelog.opened()
    await ledger.commit({"exposures": 5, "rewards": 2}, [], [])
    await ledger.commit({"rewards": 4}, [], [])
    assert (ledger.checkpoint.seq, ledger.checkpoint.applied) == (2, {"exposures": 5, "rewards": 4})


async def test_more_outputs_than_fit_one_batch_arrive_in_order(changelog: Changelog) -> None:
    ledger = await changelog.opened(batch_bytes=5000)
    values = [b"%04d" % i + b"x" * 400 for i in range(100)]
    await ledger.commit({}, [], [], [Output(changelog.output, 0, b"k", value) for value in values])
    assert changelog.visible(changelog.output) == values


async def test_a_commit_of_many_batches_is_restored_whole(changelog: Changelog) -> None:
    ledger = await changelog.opened(batch_bytes=5000)
    keys = [b"%04d" % i for i in range(1000)]
    await ledger.commit({"events": 1000}, list(keys), [key * 20 for key in keys])
    restored = await changelog.opened("elsewhere")
    assert state(restored) == state(ledger) == {key: key * 20 for key in keys}
    assert restored.restored_records == 1001


async def test_an_output_the_broker_refuses_undoes_the_commit(changelog: Changelog) -> None:
    ledger = await changelog.opened()
    await commit(ledger, 1, a="before")
    outputs = [Output(changelog.output, 0, b"k", b"small"), Output(changelog.small, 0, b"k", b"x" * 2 * SMALL_BYTES)]
    with pytest.raises(MessageSizeTooLargeError):
        await ledger.commit({"events": 2}, [b"a"], [b"after"], outputs)
    assert state(ledger) == {b"a": b"before"}
    await ledger.close()
    restored = await changelog.opened("elsewhere")
    assert (state(restored), restored.checkpoint.applied) == ({b"a": b"before"}, {"events": 1})
    assert changelog.visible(changelog.output) == []
    # The control: the records are in the log, and only the isolation level keeps them from readers.
    assert changelog.visible(changelog.output, "read_uncommitted") == [b"small"]
    assert b"after" in changelog.visible(changelog.topic, "read_uncommitted")


@pytest.mark.parametrize("where", ["state", "output"])
async def test_a_record_that_fits_no_batch_is_refused_before_anything_is_sent(changelog: Changelog, where: str) -> None:
    ledger = await changelog.opened(batch_bytes=5000)
    keys, values = ([b"a"], [b"x" * 6000]) if where == "state" else ([], [])
    outputs = [Output(changelog.output, 0, b"k", b"small")]
    if where == "output":
        outputs.append(Output(changelog.output, 0, b"k", b"x" * 7000))
    with pytest.raises(ValueError, match="does not fit a batch"):
        await ledger.commit({"events": 1}, keys, values, outputs)
    assert changelog.visible(changelog.output, "read_uncommitted") == []
    assert changelog.visible(changelog.topic, "read_uncommitted") == []
    assert (await changelog.opened("elsewhere")).checkpoint.applied == {}


async def test_a_transaction_left_open_by_a_killed_worker_is_not_restored(changelog: Changelog) -> None:
    killed = await changelog.opened()
    await commit(killed, 1, a="committed")
    producer: Any = killed._producer
    await producer.begin_transaction()
    await producer.send_and_wait(changelog.topic, b"in the open", b"a", partition=0)
    restored = await changelog.opened("elsewhere")
    assert (state(restored), restored.checkpoint.seq) == ({b"a": b"committed"}, 1)
    assert b"in the open" in changelog.visible(changelog.topic, "read_uncommitted")
    await commit(restored, 2, b="goes on")
    assert state(await changelog.opened("third")) == {b"a": b"committed", b"b": b"goes on"}


async def test_a_crash_between_commit_and_store_is_repaired(changelog: Changelog, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = await changelog.opened()
    await commit(ledger, 1, a="1")

    def crash(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", crash)
        with pytest.raises(OSError, match="no space left"):
            await commit(ledger, 2, a="2")
    assert state(ledger) == {b"a": b"1"}
    await ledger.close()
    restored = await changelog.opened()
    assert (state(restored), restored.checkpoint.applied) == ({b"a": b"2"}, {"events": 2})
    assert restored.restored_records == 2


# -- restore ---------------------------------------------------------------------------------------------------------------------


async def test_a_restore_from_scratch_equals(changelog: Changelog) -> None:
    ledger = await changelog.opened()
    for i in range(10):
        await commit(ledger, i, **{f"k{i % 3}": f"v{i}", f"only-{i}": "x"})
    restored = await changelog.opened("elsewhere")
    assert state(restored) == state(ledger)
    assert restored.checkpoint == ledger.checkpoint
    assert restored.store.get(b"\x00checkpoint") == ledger.store.get(b"\x00checkpoint")


async def test_a_restore_from_a_kept_directory_reads_only_what_is_new(changelog: Changelog) -> None:
    here = await changelog.opened()
    for i in range(5):
        await commit(here, i, **{f"k{i}": "x"})
    await here.close()
    there = await changelog.opened("elsewhere")
    assert there.restored_records == 10
    await commit(there, 5, k5="y")
    await there.close()
    back = await changelog.opened()
    assert back.restored_records == 2
    assert state(back) == {f"k{i}".encode(): b"y" if i == 5 else b"x" for i in range(6)}
    await back.close()
    assert (await changelog.opened()).restored_records == 0


async def test_deleted_keys_stay_deleted(changelog: Changelog) -> None:
    ledger = await changelog.opened()
    await commit(ledger, 1, a="1", b="1", c="1")
    await commit(ledger, 2, a=None, b=None)
    await commit(ledger, 3, b="2", never=None)
    assert state(ledger) == {b"b": b"2", b"c": b"1"}
    assert state(await changelog.opened("elsewhere")) == state(ledger)


async def test_a_store_ahead_of_its_changelog_is_wiped(changelog: Changelog, caplog: pytest.LogCaptureFixture) -> None:
    """As after somebody deleted the topic and kept the directory."""
    ledger = await changelog.opened()
    for i in range(3):
        await commit(ledger, i, a="of the former log", b="x")
    await ledger.close()
    changelog.create(anew := f"{changelog.topic}.anew", {"cleanup.policy": "compact"})
    with caplog.at_level(logging.WARNING):
        restored = await changelog.opened(topic=anew)
    assert (state(restored), restored.checkpoint.seq) == ({}, 0)
    assert "outside [0, 0]: wiping it" in caplog.text
    await commit(restored, 1, c="1")
    assert state(await changelog.opened("elsewhere", topic=anew)) == {b"c": b"1"}


async def test_a_store_behind_its_changelogs_beginning_is_wiped(changelog: Changelog, caplog: pytest.LogCaptureFixture) -> None:
    changelog.create(deleting := f"{changelog.topic}.deleting", {"cleanup.policy": "delete"})
    here = await changelog.opened(topic=deleting)
    await commit(here, 1, gone="1")
    await here.close()
    there = await changelog.opened("elsewhere", topic=deleting)
    await commit(there, 2, gone=None, kept="1")
    end = there.store.position
    assert end is not None
    await commit(there, 3, new="1")
    changelog.delete_before(deleting, end)
    with caplog.at_level(logging.WARNING):
        restored = await changelog.opened(topic=deleting)
    assert "wiping it" in caplog.text
    assert state(restored) == {b"new": b"1"}


async def test_a_store_within_its_changelog_is_not_wiped(changelog: Changelog, caplog: pytest.LogCaptureFixture) -> None:
    ledger = await changelog.opened()
    await commit(ledger, 1, a="1")
    ledger.store.write([b"local"], [b"only"], ledger.store.position or 0)
    await ledger.close()
    restored = await changelog.opened()
    assert restored.store.get(b"local") == b"only"
    assert "wiping" not in caplog.text


async def test_a_cancelled_restore_ends_early(changelog: Changelog) -> None:
    ledger = await changelog.opened()
    await commit(ledger, 1, a="1")
    cancelled = changelog.ledger("elsewhere")
    assert not await cancelled.open(lambda: True)
    assert cancelled.checkpoint.seq == 0


# -- fencing ---------------------------------------------------------------------------------------------------------------------


async def test_a_second_owner_fences_the_first(changelog: Changelog) -> None:
    first = await changelog.opened()
    await commit(first, 1, a="1")
    second = await changelog.opened("elsewhere")
    outputs = [Output(changelog.output, 0, b"k", b"of the fenced")]
    with pytest.raises(Fenced, match="test 0 has another owner"):
        await first.commit({"events": 2}, [b"a"], [b"2"], outputs)
    assert state(first) == {b"a": b"1"}
    await commit(second, 2, a="3")
    assert state(await changelog.opened("third")) == {b"a": b"3"}
    assert changelog.visible(changelog.output) == []


async def test_without_a_common_transactional_id_both_would_write(changelog: Changelog) -> None:
    """The control of the test above."""
    first = await changelog.opened()
    other = changelog.ledger("elsewhere")
    other._transactional_id += "-other"
    assert await other.open()
    await commit(first, 1, a="1")
    await commit(other, 1, a="2")
    await commit(first, 2, a="3")
    assert changelog.visible(changelog.topic)[::2] == [b"1", b"2", b"3"]


async def test_a_second_owner_ends_a_commit_of_the_first_under_way(changelog: Changelog) -> None:
    first = await changelog.opened()
    producer: Any = first._producer
    committing: Callable[[], Any] = producer.commit_transaction
    second: list[Ledger] = []

    async def overtaken() -> None:
        second.append(await changelog.opened("elsewhere"))
        await committing()

    producer.commit_transaction = overtaken
    with pytest.raises(Fenced):
        await commit(first, 1, a="sent in full, never committed")
    assert state(first) == state(second[0]) == {}
    assert changelog.visible(changelog.topic) == []
