"""Which changes of its topics end a worker. The broker's answers are made up; no Kafka."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from allocator.errors import TopicErrors
from streams import incarnations
from streams.clients import Unreachable
from streams.connection import Connection
from streams.incarnations import Incarnation, TopicWatch, changes

BEFORE = {"exposures": Incarnation("e1", 4), "partials": Incarnation("p1", 4)}


def told(now: dict[str, Incarnation]) -> list[tuple[str, str]]:
    return [(error.topic, error.found) for error in changes(BEFORE, now)]


def test_the_same_topics_are_no_change() -> None:
    assert told(BEFORE) == []
    assert told(BEFORE | {"other": Incarnation("o1", 1)}) == []


def test_each_change_is_named() -> None:
    assert told({"exposures": Incarnation("e2", 4), "partials": Incarnation("p1", 6)}) == [
        ("exposures", "been deleted and made again"),
        ("partials", "6 partitions"),
    ]
    assert told({"partials": Incarnation("p1", 4)}) == [("exposures", "been deleted")]


def test_unknown_ids_are_not_compared() -> None:
    assert told(BEFORE | {"exposures": Incarnation("", 4)}) == []
    assert changes({"exposures": Incarnation("", 4)}, BEFORE) == []


class Broker:
    """Gives these answers one after another, then the last for ever; None is no answer."""

    def __init__(self, *answers: dict[str, Incarnation] | None) -> None:
        self.answers = list(answers)

    async def read(self, connection: Connection, names: Iterable[str]) -> dict[str, Incarnation]:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            raise Unreachable("nowhere:1")
        return answer


async def watch(monkeypatch: pytest.MonkeyPatch, *answers: dict[str, Incarnation] | None) -> TopicWatch:
    monkeypatch.setattr(incarnations, "CONFIRM_S", 0)
    monkeypatch.setattr(incarnations, "read_incarnations", Broker(BEFORE, *answers).read)
    made = TopicWatch(Connection("nowhere:1"))
    await made.start(BEFORE)
    return made


async def test_a_change_that_stays_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = await watch(monkeypatch, BEFORE, {})
    assert watched.ids() == {"exposures": "e1", "partials": "p1"}
    await watched.check()
    with pytest.raises(TopicErrors, match="exposures has been deleted"):
        await watched.check()


async def test_a_broker_that_does_not_know_its_topics_yet_ends_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    await (await watch(monkeypatch, {}, BEFORE)).check()


async def test_no_answer_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    await (await watch(monkeypatch, None)).check()
    await (await watch(monkeypatch, {}, None)).check()


async def test_a_watch_that_was_not_started_asks_nobody() -> None:
    watched = TopicWatch(Connection("nowhere:1"))
    await watched.check()
    assert watched.ids() == {}
