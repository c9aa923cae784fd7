"""The producer without Kafka: what it accepts, what it fills in, and that each record ends in a counter."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from allocator.errors import ArgumentError
from streams.clients import Unreachable
from streams.producer import BufferFull, EventProducer, Stopped
from streams.records import Exposure, Reward


def only_event(producer: EventProducer) -> tuple[str, bytes, dict[str, Any]]:
    (event,) = producer._buffer
    return event.topic, event.key, json.loads(event.value)


async def test_a_reward_gets_its_time_and_an_id_and_the_unit_as_key() -> None:
    producer = EventProducer(prefix="p", clock=lambda: 12.5)
    record = producer.reward("größer", "thumbs_up", 1)
    topic, key, value = only_event(producer)
    assert (topic, key) == ("p.rewards.v1", "größer".encode())
    assert value == {
        "unit": "größer",
        "metric": "thumbs_up",
        "value": 1.0,
        "ts": 12.5,
        "reward_id": record.reward_id,
        "experiment": None,
        "exposure_id": None,
    }
    assert producer.reward("größer", "thumbs_up", 1).reward_id != record.reward_id


async def test_an_exposure_goes_to_its_topic_with_what_was_given() -> None:
    producer = EventProducer(prefix="p")
    producer.exposure("chat", "u-1", "b", 0.42, weights_version=3, ts=7, exposure_id="e-1", covariates={"requests": 41})
    topic, key, value = only_event(producer)
    assert (topic, key) == ("p.exposures.v1", b"u-1")
    assert (value["ts"], value["exposure_id"], value["propensity"], value["covariates"]) == (7.0, "e-1", 0.42, {"requests": 41})


@pytest.mark.parametrize("value", [True, 1, np.int64(1), np.float32(1), Decimal(1)])
async def test_any_real_number_is_a_value(value: Any) -> None:
    assert EventProducer().reward("u-1", "m", value).value == 1.0


@pytest.mark.parametrize(
    "field, value, expected",
    [
        ("value", "1", "a number"),
        ("value", None, "a number"),
        ("value", float("nan"), "a finite number"),
        ("value", float("-inf"), "a finite number"),
        ("value", 10**400, "a number"),
        ("unit", "", "length >= 1"),
        ("unit", "x" * 513, "length <= 512"),
        ("unit", 17, "str, got int"),
        ("unit", "\ud800", "JSON in UTF-8"),
        ("metric", "", "length >= 1"),
        ("ts", -1.0, ">= 0"),
        ("ts", 1764000000123.0, "< 1"),  # milliseconds
        ("ts", float("nan"), "a finite number"),
        ("reward_id", "", "length >= 1"),
        ("experiment", "", "length >= 1"),
    ],
)
async def test_a_reward_the_worker_would_refuse_is_refused_by_field(field: str, value: Any, expected: str) -> None:
    producer = EventProducer()
    with pytest.raises(ArgumentError, match=expected) as caught:
        producer.reward(**{"unit": "u-1", "metric": "m", "value": 1.0, field: value})
    assert caught.value.name in {field, "record"}
    assert producer.pending == 0


@pytest.mark.parametrize(
    "field, value, expected",
    [
        ("propensity", 0.0, ">= 1e-06"),
        ("propensity", 1.5, "<= 1"),
        ("propensity", float("nan"), "a finite number"),
        ("weights_version", -1, ">= 0"),
        ("arm", None, "str, got null"),
        ("covariates", {"x": object()}, "JSON"),
        ("covariates", {"x": float("inf")}, "a finite number"),
        ("holdback", "yes", "bool"),
    ],
)
async def test_an_exposure_the_worker_would_refuse_is_refused_by_field(field: str, value: Any, expected: str) -> None:
    producer = EventProducer()
    with pytest.raises(ArgumentError, match=expected):
        producer.exposure(**{"experiment": "chat", "unit": "u-1", "arm": "b", "propensity": 0.5, field: value})
    assert producer.pending == 0


async def test_a_record_built_by_hand_is_checked_too() -> None:
    producer = EventProducer()
    with pytest.raises(ArgumentError, match=r"propensity: 2\.0"):
        producer.send(Exposure(experiment="chat", unit="u-1", arm="b", propensity=2.0, ts=1.0, exposure_id="e-1"))
    with pytest.raises(ArgumentError, match="value: nan"):
        producer.send(Reward(unit="u-1", metric="m", value=float("nan"), ts=1.0, reward_id="r-1"))


async def test_beyond_the_buffer_records_are_dropped_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    producer = EventProducer(buffer_max=2)
    for _ in range(4):
        producer.reward("u-1", "m", 1.0)
    assert (producer.pending, producer.counters.dropped) == (2, 2)
    assert "1 events dropped: 2 wait for Kafka" in caplog.text
    with pytest.raises(BufferFull):
        await producer.send(Reward(unit="u-1", metric="m", value=1.0, ts=1.0, reward_id="r-1"))


async def test_what_is_unsent_at_the_stop_is_counted_and_its_sender_told(caplog: pytest.LogCaptureFixture) -> None:
    producer = EventProducer("localhost:1")
    ack = producer.send(Reward(unit="u-1", metric="m", value=1.0, ts=1.0, reward_id="r-1"))
    await producer.stop()
    with pytest.raises(Unreachable, match="localhost:1"):
        await ack
    assert (producer.pending, producer.counters.failed) == (0, 1)
    assert "1 events not delivered" in caplog.text
    with pytest.raises(Stopped):
        producer.reward("u-1", "m", 1.0)


async def test_flush_of_an_empty_producer_returns() -> None:
    await EventProducer().flush()
