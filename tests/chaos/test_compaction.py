"""The changelog is compacted all the time: under a working worker, before a restore, past the tombstones a store has missed."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from deploy.kafka.broker import Broker
from streams.admin import tombstones_kept_ms
from streams.connection import Connection
from streams.seam import install
from streams.state import Ledger, LedgerSettings, Store
from streams.state.ledger import WHOLE_AT
from streams.topics import Topics
from tests.chaos.checker import differences
from tests.chaos.job import job, runner
from tests.chaos.schedule import Kill, Ready
from tests.reference import PARTITIONS
from tests.workers import read_topic

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

UNITS = 10_000
CLEANER = {"log.cleaner.backoff.ms": "100"}
EAGER = {"cleanup.policy": "compact", "segment.ms": "200", "min.cleanable.dirty.ratio": "0.01"}
"""A segment is closed at the first append after 200 ms, and cleaned at once."""


@pytest.fixture(scope="module")
def cleaning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker whose cleaner hardly rests."""
    with Broker(tmp_path_factory.mktemp("cleaning"), config=CLEANER) as broker:
        yield broker
    shutil.rmtree(broker.directory)


def make(kafka: Broker, topic: str, partitions: int, **config: str) -> str:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for done in admin.create_topics([NewTopic(topic, partitions, 1, config=EAGER | config)]).values():
        done.result()
    return topic


def forget_tombstones_at_once(kafka: Broker, topic: str) -> None:
    change = ConfigEntry("delete.retention.ms", "0", incremental_operation=AlterConfigOpType.SET)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for done in admin.incremental_alter_configs(
        [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])]
    ).values():
        done.result()


def ends(kafka: Broker, topic: str, partitions: int) -> int:
    """Offsets given out so far, over all partitions."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "test-ends"})
    try:
        return sum(consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in range(partitions))
    finally:
        consumer.close()


def test_a_changelog_compacted_under_load(cleaning: Broker, prefix: str, tmp_path: Path) -> None:
    kafka, changelog = cleaning, make(cleaning, Topics(prefix).join_changelog, PARTITIONS)
    answer, chaos = job(kafka, prefix, UNITS), runner(kafka, prefix, tmp_path)
    with chaos.running(0):
        chaos.run([Kill(at=0.2, batches=1), Kill(at=0.6, disk="old_copy", batches=2)])
        forget_tombstones_at_once(kafka, changelog)  # from now on no store is young enough: as if the disk were wiped
        chaos.run([Kill(at=0.8), Ready(worker=0)])
        chaos.heal()
    assert differences(kafka.bootstrap, prefix, answer) == []
    assert len(read_topic(kafka.bootstrap, changelog)) < ends(kafka, changelog, PARTITIONS) / 2, "most was compacted away"
    wiped = re.findall(r"join (\d): .* deleted since: .* for 0 h .*: wiping it", chaos.workers[0].log.read_text())
    assert len(set(wiped)) == PARTITIONS, "the last restore was from the start of the compacted log"


class Ledgers:
    """Of one partition of a compacted changelog; each on the machine that its name says."""

    def __init__(self, kafka: Broker, changelog: str, directory: Path) -> None:
        self._connection, self._changelog, self._directory = Connection(kafka.bootstrap), changelog, directory

    async def opened(self, machine: str, **settings: int) -> Ledger:
        ledger = Ledger(
            "test", 0, self._changelog, self._changelog, LedgerSettings(self._connection, self._directory / machine, **settings)
        )
        assert await ledger.open()
        return ledger

    async def commit(self, machine: str, seq: int, **values: str | None) -> None:
        ledger = await self.opened(machine)
        given = [None if value is None else value.encode() for value in values.values()]
        await ledger.commit({"events": seq}, [key.encode() for key in values], given)
        await ledger.close()

    async def state(self, machine: str, **settings: int) -> dict[bytes, bytes]:
        """What is there after a restore, without the ledger's own."""
        ledger = await self.opened(machine, **settings)
        found = {key: value for key, value in ledger.store.scan(b"") if not key.startswith(b"\x00")}
        await ledger.close()
        return found


async def test_a_store_that_missed_a_tombstone_is_wiped(
    cleaning: Broker, prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    install()
    kafka, changelog = cleaning, make(cleaning, f"{prefix}.changelog", 1, **{"delete.retention.ms": "0"})
    ledgers = Ledgers(kafka, changelog, tmp_path)
    await ledgers.commit("a", 1, gone="x", kept="1")
    await ledgers.commit("b", 2, gone=None)
    seq = 3
    while any(message.key() == b"gone" for message in read_topic(kafka.bootstrap, changelog)):
        await ledgers.commit("b", seq := seq + 1, kept="2")  # only what follows closes a segment
    assert await ledgers.state("b") == {b"kept": b"2"}
    # The control: a store that is taken for younger than the tombstones that are kept.
    shutil.copytree(tmp_path / "a", tmp_path / "copy of a")
    assert await ledgers.state("copy of a") == {b"kept": b"2", b"gone": b"x"}
    assert "wiping" not in caplog.text
    kept_ms = await tombstones_kept_ms(Connection(kafka.bootstrap), [changelog])
    assert await ledgers.state("a", tombstones_kept_ms=kept_ms) == {b"kept": b"2"}
    assert f"deleted since: {changelog} keeps tombstones for 0 h (delete.retention.ms): wiping it" in caplog.text


@pytest.mark.parametrize("age_h,wiped", [(11, False), (13, True), (25, True), (-1, True), (None, True)])
async def test_the_age_of_a_store(
    kafka: Broker, prefix: str, tmp_path: Path, age_h: float | None, wiped: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Half of Kafka's 24 hours are left for the restore itself; a clock that was set back tells nothing."""
    install()
    ledgers = Ledgers(kafka, make(kafka, f"{prefix}.changelog", 1), tmp_path)
    await ledgers.commit("a", 1, unit="1")
    store = Store(tmp_path / "a" / "test-0")
    assert store.position is not None
    stamp = None if age_h is None else b"%d" % ((time.time() - age_h * 3600) * 1000)
    store.write([WHOLE_AT, b"local"], [stamp, b"only"], store.position)
    store.close()
    state = await ledgers.state("a")
    assert (b"local" not in state, "wiping it" in caplog.text) == (wiped, wiped)
    caplog.clear()
    assert await ledgers.state("a") == state
    assert "wiping it" not in caplog.text, "it is whole now"
