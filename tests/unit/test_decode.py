"""From raw records to events: every unusable record becomes a dead letter that says why, and takes no other with it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from streams.join.decode import AHEAD_MAX_S, decoder_of
from streams.records import Exposure, Reward

LOGGED_S = 1000.0
EXPOSURE = {"experiment": "chat", "unit": "u", "arm": "a", "propensity": 0.5, "ts": 999.5, "exposure_id": "x"}
REWARD = {"unit": "u", "metric": "thumbs_up", "value": 1, "ts": 999.5, "reward_id": "r"}
DEEP = 100_000
ABSENT = ...
"""Has the same name in every process, which the ids of tests run side by side need."""

exposures, rewards = decoder_of(Exposure), decoder_of(Reward)


def record(value: bytes | None, key: bytes | None = b"u", offset: int = 0, logged_s: float = LOGGED_S) -> Any:
    return SimpleNamespace(key=key, value=value, offset=offset, timestamp=int(logged_s * 1000))


def written(of: dict[str, Any] = EXPOSURE, **changes: Any) -> bytes:
    """The JSON of a good record with some fields changed, or left out (ABSENT)."""
    return json.dumps({name: value for name, value in {**of, **changes}.items() if value is not ABSENT}).encode()


def refused(decode: Any, good: bytes, bad: Any) -> str:
    """Why the bad record, between two good ones, is a dead letter. The good ones must come through."""
    events = decode([record(good, offset=40), bad, record(good, offset=42)])
    assert events.offsets == [40, 42]
    assert [event.unit for event in events.events] == ["u", "u"]
    assert (events.keys, events.values) == ([b"u", b"u"], [good, good])
    assert events.mark == 999.5
    (letter,) = events.dead
    assert (letter.offset, letter.key, letter.value) == (bad.offset, bad.key, bad.value)
    return str(letter.reason)


def test_good_records_are_decoded_in_order() -> None:
    records = [record(written(unit=f"u-{i}", ts=900.0 + i, segment="pro"), b"u-%d" % i, offset=7 + i) for i in range(3)]
    events = exposures(records)
    assert [event.unit for event in events.events] == ["u-0", "u-1", "u-2"]
    assert events.events[0] == Exposure(**{**EXPOSURE, "unit": "u-0", "ts": 900.0, "segment": "pro"})
    assert (events.keys, list(events.offsets), events.dead) == ([b"u-0", b"u-1", b"u-2"], [7, 8, 9], [])
    assert events.values == [r.value for r in records]
    assert events.letter(1, "why") == (8, b"u-1", records[1].value, "why")


def test_unknown_fields_are_ignored_and_optional_ones_have_defaults() -> None:
    (event,) = exposures([record(written(new_field={"a": [1]}))]).events
    assert (event.weights_version, event.segment, event.holdback, event.covariates) == (0, None, False, {})
    (event,) = rewards([record(written(REWARD, new_field=1))]).events
    assert (event.experiment, event.exposure_id) == (None, None)


def test_units_are_any_text() -> None:
    for unit in ("ü-17", "用户", "🙂", " ", "a\nb"):
        (event,) = exposures([record(written(unit=unit), unit.encode())]).events
        assert event.unit == unit


def test_no_records_are_no_events() -> None:
    """A range of offsets in which there is nothing to see, as transactions and compaction leave it."""
    assert exposures([]).events == []


@pytest.mark.parametrize("field", ["experiment", "unit", "arm", "propensity", "ts", "exposure_id"])
@pytest.mark.parametrize("value", [ABSENT, None, [], {"a": 1}, True, ""], ids=repr)
def test_a_missing_or_ill_typed_field_of_an_exposure_is_named(field: str, value: object) -> None:
    assert field in refused(exposures, written(), record(written(**{field: value}), offset=41))


@pytest.mark.parametrize("field", ["unit", "metric", "value", "ts", "reward_id"])
@pytest.mark.parametrize("value", [ABSENT, None, [], {"a": 1}, True, ""], ids=repr)
def test_a_missing_or_ill_typed_field_of_a_reward_is_named(field: str, value: object) -> None:
    assert field in refused(rewards, written(REWARD), record(written(REWARD, **{field: value}), offset=41))


@pytest.mark.parametrize(
    "field, value",
    [
        ("propensity", 0),
        ("propensity", -0.5),
        ("propensity", 1e-7),
        ("propensity", 1.5),
        ("propensity", "NaN"),
        ("propensity", "0.5"),
        ("ts", -1),
        ("ts", 1764000000123456),
        ("ts", "2026-01-01T00:00:00Z"),
        ("weights_version", -1),
        ("weights_version", 1.5),
        ("arm", "a" * 513),
        ("arm", 3),
        ("holdback", 1),
        ("segment", 7),
        ("covariates", [1]),
    ],
)
def test_a_value_out_of_domain_is_refused_by_the_name_of_its_field(field: str, value: object) -> None:
    assert field in refused(exposures, written(), record(written(**{field: value}), offset=41))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_are_none_are_refused(number: str) -> None:
    value = written(REWARD).replace(b'"value": 1', f'"value": {number}'.encode())
    assert refused(rewards, written(REWARD), record(value, offset=41)).startswith(("JSON is malformed", "Number out of range"))
    value = written().replace(b"0.5", number.encode())
    assert refused(exposures, written(), record(value, offset=41))


@pytest.mark.parametrize(
    "value, reason",
    [
        (None, "truncated"),
        (b"", "truncated"),
        (b" ", "truncated"),
        (b"{", "truncated"),
        (b"not json", "malformed"),
        (b"null", "got `null`"),
        (b"[]", "got `array`"),
        (b"{}", "missing required field `experiment`"),
        (written() + b"," + written(), "trailing"),
        (written() + b",", "trailing"),
        (written() + b"]", "trailing"),
        (written().replace(b'"a"', b'"\xff\xfe"'), "utf-8"),
        (written().replace(b'"u"', b'"\\ud800"'), "surrogate"),
        (written()[:-1] + b', "covariates": ' + b"[" * DEEP, "array"),
        (b"[" * DEEP, "array"),
        (b"[" * DEEP + b"]" * DEEP, "array"),
        (b'{"a":' * DEEP, "recursion"),
        (written()[:-1] + b', "covariates": {"a": ' + b"[" * DEEP + b"]" * DEEP + b"}}", "recursion"),
        (written()[:-1] + b', "unheard_of": ' + b"[" * DEEP + b"]" * DEEP + b"}", "recursion"),
    ],
    ids=lambda value: value[:20].decode(errors="replace") if isinstance(value, bytes) else str(value),
)
def test_what_is_no_record_is_refused(value: bytes | None, reason: str) -> None:
    assert reason in refused(exposures, written(), record(value, offset=41))


def test_values_that_only_together_are_json_are_refused_each() -> None:
    events = exposures([record(written()[:30]), record(written()[30:], offset=1), record(written(), offset=2)])
    assert ([letter.offset for letter in events.dead], events.offsets) == ([0, 1], [2])


@pytest.mark.parametrize(
    "key, reason",
    [
        (None, "key: missing: expected the unit"),
        (b"", "key: b'': expected the unit, 'u'"),
        (b"v", "key: b'v': expected the unit, 'u'"),
        (b"\xff", "key: b'\\xff': expected the unit, 'u'"),
    ],
)
def test_a_key_that_is_not_the_unit_is_refused(key: bytes | None, reason: str) -> None:
    assert refused(exposures, written(), record(written(), key, offset=41)) == reason


def test_a_long_key_is_cut_in_the_reason() -> None:
    assert len(refused(exposures, written(), record(written(), b"k" * 5000, offset=41))) < 200


def test_an_event_may_be_a_day_ahead_of_its_log_time_and_no_more() -> None:
    (event,) = exposures([record(written(ts=LOGGED_S + AHEAD_MAX_S))]).events
    assert event.ts == LOGGED_S + AHEAD_MAX_S
    reason = refused(exposures, written(), record(written(ts=LOGGED_S + AHEAD_MAX_S + 1), offset=41))
    assert reason == "ts: 87401.0: expected at most a day after the log time, 1000.0"


def test_each_events_own_log_time_counts() -> None:
    late = record(written(ts=5000.0 + AHEAD_MAX_S), logged_s=5000.0)
    assert len(exposures([record(written()), late]).events) == 2


def test_an_old_event_is_decoded() -> None:
    assert len(exposures([record(written(ts=0), logged_s=1_764_000_000.0)]).events) == 1


@pytest.mark.parametrize("broken", [[], [record(b"{")]], ids=["all good", "record by record"])
def test_the_mark_is_the_newest_event_time_but_never_beyond_the_log(broken: list[Any]) -> None:
    """A clock that is hours ahead must not make everybody else late."""
    batch = [record(written(ts=998.0)), record(written(ts=999.0)), record(written(ts=997.0)), *broken]
    assert exposures(batch).mark == 999.0
    assert exposures([*batch, record(written(ts=50_000.0))]).mark == LOGGED_S


def test_a_batch_of_dead_letters_has_no_mark() -> None:
    events = exposures([record(b"{"), record(None, offset=1)])
    assert (events.mark, events.events, len(events.dead)) == (0.0, [], 2)
