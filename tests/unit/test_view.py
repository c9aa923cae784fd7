"""The tables a worker keeps of what was published: weights in force, and the newest decisions."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from allocator.weights import PPM, Gate, Holdback, WeightedArm, Weights
from streams.connection import Connection
from streams.experiments import ExperimentsReader
from streams.records import Decision, encode
from streams.topics import Topics
from streams.view import DECISIONS_KEPT, DecisionLog
from streams.weights_table import WeightsTable
from tests.folding import experiment

MALFORMED = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"not json",
    b"\xff",
    b'{"experiment": "\xff"}',
    b'{"experiment": "chat", "version": "1"}',
    b'{"experiment": ' + b"[" * 100_000,
    b'{"unheard_of": ' + b"[" * 100_000,
]


def short(value: bytes | None) -> str:
    return repr(value)[:24]


def record(value: bytes | None, key: bytes | None = b"chat", offset: int = 0) -> Any:
    return SimpleNamespace(topic="t", partition=0, offset=offset, key=key, value=value)


def weights(version: int, name: str = "chat") -> Weights:
    return Weights(
        experiment=name, version=version, arms=(WeightedArm("a", PPM, 1),), enrolment=Gate(PPM, 1), holdback=Holdback(0, 1, "a"),
        valid_until=1.0, fallback="a", policy="thompson", reason="", spec_hash="", ts=0.0,
    )  # fmt: skip


def decision(version: int, name: str = "chat") -> Decision:
    return Decision(
        experiment=name, version=version, ts=0.0, reason="", policy="thompson", arms=[], steps={}, inputs={}, counters={},
        spec_hash="",
    )  # fmt: skip


# -- weights ---------------------------------------------------------------------------------------------------------------------


def test_the_newest_weights_of_each_experiment_are_kept() -> None:
    table = WeightsTable({})
    for version, name in ((1, "chat"), (2, "chat"), (1, "search")):
        table.take(record(encode(weights(version, name)), name.encode()))
    assert table.weights == {"chat": weights(2), "search": weights(1, "search")}


def test_versions_of_weights_never_go_back() -> None:
    table = WeightsTable({})
    for version in (5, 4, 5):
        table.take(record(encode(msgspec.structs.replace(weights(version), ts=float(version)))))
    assert table.weights["chat"].version == 5


def test_a_tombstone_removes_the_weights_and_what_follows_begins_anew() -> None:
    table = WeightsTable({})
    for value in (encode(weights(9)), None, None):
        table.take(record(value))
    assert table.weights == {}
    table.take(record(encode(weights(1))))
    assert table.weights["chat"].version == 1


@pytest.mark.parametrize("value", MALFORMED, ids=short)
def test_malformed_weights_are_logged_and_the_former_ones_stay(value: bytes, caplog: pytest.LogCaptureFixture) -> None:
    table = WeightsTable({})
    table.take(record(encode(weights(1))))
    table.take(record(value, offset=7))
    assert table.weights == {"chat": weights(1)}
    assert "t, offset 7: 'chat' is not weights, the former ones stay" in caplog.text


# -- decisions -------------------------------------------------------------------------------------------------------------------


def test_decisions_are_kept_in_order_and_by_experiment() -> None:
    log = DecisionLog()
    for version, name in ((1, "chat"), (1, "search"), (2, "chat")):
        log.take(record(encode(decision(version, name))))
    assert list(log.of["chat"]) == [decision(1), decision(2)]
    assert list(log.of["search"]) == [decision(1, "search")]


def test_a_decision_read_again_is_kept_once() -> None:
    log = DecisionLog()
    for version in (1, 2, 1, 2, 3):
        log.take(record(encode(decision(version))))
    assert [kept.version for kept in log.of["chat"]] == [1, 2, 3]


def test_no_more_decisions_are_kept_than_so_many() -> None:
    log = DecisionLog()
    for version in range(1, DECISIONS_KEPT + 11):
        log.take(record(encode(decision(version))))
    assert (len(log.of["chat"]), log.of["chat"][0].version) == (DECISIONS_KEPT, 11)


@pytest.mark.parametrize("value", [None, *MALFORMED], ids=short)
def test_a_malformed_decision_is_logged_and_left_out(value: bytes | None, caplog: pytest.LogCaptureFixture) -> None:
    log = DecisionLog()
    log.take(record(value, offset=7))
    assert log.of == {}
    assert "t, offset 7: not a decision" in caplog.text


# -- specs -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", MALFORMED, ids=short)
def test_a_malformed_spec_is_logged_and_the_former_one_stays(value: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever anybody writes to the topic: a reader that ended here would never hear of another spec."""
    reader = ExperimentsReader(Connection(), Topics())
    with caplog.at_level(logging.ERROR):
        for given in (msgspec.json.encode(experiment()), value):
            reader._take(record(given))
    assert reader.specs == {"chat": experiment()}
    assert reader.malformed == 1
    assert "'chat' is not a spec, the former one stays" in caplog.text
