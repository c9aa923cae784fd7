"""A changelog or a source that is deleted and made again, under a ledger: rebuilt or refused, never mixed. With controls."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from allocator.errors import StateError
from deploy.kafka.broker import Broker
from streams.connection import Connection
from streams.incarnations import read_incarnations
from streams.seam import install
from streams.state import Ledger, LedgerSettings, Origin, Store
from tests.topic_admin import TopicAdmin
from tests.workers import read_topic

pytestmark = pytest.mark.kafka


class Place:
    """A changelog and a source of one partition, and ledgers over them, on any disk."""

    def __init__(self, bootstrap: str, prefix: str, directory: Path) -> None:
        self.connection, self.directory = Connection(bootstrap), directory
        self.changelog, self.source = f"{prefix}.changelog", f"{prefix}.source"
        self.topics = TopicAdmin(bootstrap)
        self.topics.make(self.changelog, 1, compacted=True)
        self.topics.make(self.source, 1)
        self._opened: list[Ledger] = []

    async def opened(
        self, disk: str = "kept", *, known: bool = True, cumulative: bool = False, accept_loss: bool = False
    ) -> Ledger:
        """A ledger over the topics as they are; not `known`: by their names alone, which is the control."""
        found = await read_incarnations(self.connection, [self.changelog, self.source]) if known else {}
        ids = {name: topic.id for name, topic in found.items()}
        origin = Origin((self.source,), ids, cumulative, accept_loss)
        settings = LedgerSettings(self.connection, self.directory / disk)
        ledger = Ledger("test", 0, self.changelog, self.changelog, settings, origin)
        self._opened.append(ledger)
        assert await ledger.open()
        return ledger

    async def commit(self, ledger: Ledger, offset: int, **values: str) -> None:
        await ledger.commit({self.source: offset}, [k.encode() for k in values], [v.encode() for v in values.values()])

    async def close(self) -> None:
        for ledger in self._opened:
            await ledger.close()


@pytest.fixture
async def place(kafka: Broker, prefix: str, tmp_path: Path) -> AsyncIterator[Place]:
    install()
    made = Place(kafka.bootstrap, prefix, tmp_path)
    yield made
    await made.close()


def state(ledger: Ledger) -> dict[str, str]:
    """What is stored, without the store's own records."""
    return {key.decode(): value.decode() for key, value in ledger.store.scan(b"") if not key.startswith(b"\x00")}


# -- the changelog ---------------------------------------------------------------------------------------------------------------


async def remade_while_away(place: Place) -> None:
    """The disk "kept" is of a changelog that was deleted; its successor has as many offsets, of another state."""
    here = await place.opened()
    await place.commit(here, 1, a="of the old log")
    await place.commit(here, 2, b="of the old log")
    await here.close()
    place.topics.remake(place.changelog, 1, compacted=True)
    there = await place.opened("elsewhere")
    assert (state(there), there.checkpoint.applied) == ({}, {})
    assert there.checkpoint.epoch > here.checkpoint.epoch > 0
    await place.commit(there, 1, a="of the new log")
    await place.commit(there, 2, c="of the new log")
    await there.close()


async def test_a_store_of_a_changelog_made_again_is_wiped(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    await remade_while_away(place)
    with caplog.at_level(logging.WARNING):
        restored = await place.opened()
    assert state(restored) == {"a": "of the new log", "c": "of the new log"}
    assert "that was deleted, the changelog now is" in caplog.text


async def test_by_offsets_alone_two_logs_would_be_mixed(place: Place) -> None:
    """The control of the test above."""
    await remade_while_away(place)
    assert state(await place.opened(known=False)) == {"a": "of the old log", "b": "of the old log"}


async def remade_while_open(place: Place) -> Ledger:
    ledger = await place.opened()
    await place.commit(ledger, 1, a="1")
    place.topics.remake(place.changelog, 1, compacted=True)
    return ledger


async def test_a_commit_to_a_changelog_made_again_is_refused(place: Place) -> None:
    ledger = await remade_while_open(place)
    with pytest.raises(StateError, match="it was deleted and made again"):
        await place.commit(ledger, 2, b="2")
    assert read_topic(place.connection.bootstrap, place.changelog) == []
    await ledger.close()
    restored = await place.opened()
    assert (state(restored), restored.checkpoint.applied, restored.checkpoint.seq) == ({}, {}, 0)


async def test_unrefused_it_would_hold_the_end_of_a_state_without_its_beginning(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test above."""
    ledger = await remade_while_open(place)
    monkeypatch.setattr(Ledger, "_check_log_goes_on", lambda *_: None)
    await place.commit(ledger, 2, b="2")
    restored = await place.opened("elsewhere")
    assert (state(restored), restored.checkpoint.applied) == ({"b": "2"}, {place.source: 2})


# -- the sources -----------------------------------------------------------------------------------------------------------------


async def test_a_source_made_again_is_refused_until_the_loss_is_accepted(place: Place) -> None:
    ledger = await place.opened()
    await place.commit(ledger, 5, a="1")
    await ledger.close()
    place.topics.remake(place.source, 1)
    with pytest.raises(StateError, match=f"found {place.source} deleted and made again .* after 5 offsets of partition 0"):
        await place.opened()
    assert (await place.opened("elsewhere", known=False)).checkpoint.applied == {place.source: 5}  # the control: 5 of nothing
    accepted = await place.opened("third", accept_loss=True)
    assert (state(accepted), accepted.checkpoint.applied) == ({"a": "1"}, {place.source: 0})
    again = await place.opened("fourth")  # it is asked for once
    assert (state(again), again.checkpoint.applied) == ({"a": "1"}, {place.source: 0})


async def test_a_cumulative_source_made_again_is_read_from_its_beginning(place: Place) -> None:
    ledger = await place.opened(cumulative=True)
    await place.commit(ledger, 5, a="1")
    await ledger.close()
    place.topics.remake(place.source, 1)
    again = await place.opened(cumulative=True)
    assert (state(again), again.checkpoint.applied) == ({"a": "1"}, {place.source: 0})


async def test_a_state_is_not_begun_anew_from_sources_that_have_forgotten(place: Place) -> None:
    ledger = await place.opened()
    await place.commit(ledger, 2, a="1")
    await ledger.close()
    place.topics.fill(place.source, 3)
    place.topics.forget(place.source, 2)
    place.topics.remake(place.changelog, 1, compacted=True)
    with pytest.raises(StateError, match=f"its records below offset 2 are gone from {place.source}"):
        await place.opened()
    await place.close()
    store = Store(place.directory / "kept" / "test-0")
    assert store.get(b"a") == b"1", "what is refused is not wiped"
    store.close()
    begun = await place.opened(accept_loss=True)
    assert (state(begun), begun.checkpoint.applied) == ({}, {})
