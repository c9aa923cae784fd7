"""What the doctor makes of what it sees, without Kafka."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition

from allocator.spec import load_experiment
from streams.doctor import check_clock, check_experiments, check_lag, check_partitioner, check_schema, check_topics, check_weights
from streams.join.astray import FORWARDED
from streams.partitioning import partition_of
from streams.records import Reward
from streams.schema import RECORDS

PARTITIONS = 4
LOG_TIME_S = 1764000000.0


@dataclass
class Record:
    """As much of a consumed record as the doctor looks at."""

    key: bytes | None
    value: bytes
    partition: int
    offset: int = 0
    timestamp: int = int(LOG_TIME_S * 1000)
    headers: Sequence[tuple[str, bytes]] = ()


def reward(unit: str, **fields: Any) -> Record:
    value = {"unit": unit, "metric": "click", "value": 1, "ts": LOG_TIME_S, "reward_id": "r"} | fields
    return Record(unit.encode(), json.dumps(value).encode(), partition_of(unit, PARTITIONS))


REWARDS = [reward(f"u-{i}") for i in range(50)]


def test_records_where_the_default_partitioner_puts_them() -> None:
    assert check_partitioner("t", REWARDS, PARTITIONS).state == "ok"
    assert check_partitioner("t", [], PARTITIONS).state == "ok"


def misplaced(records: Sequence[Record] = REWARDS) -> list[Record]:
    """The records where librdkafka puts them when it is not told otherwise."""
    return [Record(r.key, r.value, zlib.crc32(r.key or b"") % PARTITIONS) for r in records]


def forwarded(records: Sequence[Record]) -> list[Record]:
    """What workers have made of them."""
    records = [(r, partition_of(r.key or b"", PARTITIONS)) for r in records]
    return [
        Record(r.key, r.value, home, headers=[(FORWARDED, b"t/%d/7" % r.partition)]) for r, home in records if r.partition != home
    ]


def test_librdkafkas_default_is_named_with_its_share_and_setting() -> None:
    check = check_partitioner("t", misplaced(), PARTITIONS)
    astray = sum(partition_of(r.key or b"", PARTITIONS) != r.partition for r in misplaced())
    assert check.state == "fail"
    assert check.found.startswith(f"{astray} of 50 records ({astray / 50:.0%}) were not where murmur2 of the unit puts them")
    assert "all of them where librdkafka's default, CRC32, puts them" in check.found
    assert check.repair.startswith("set partitioner=murmur2_random in librdkafka clients")


def test_another_partitioner_is_not_taken_for_librdkafkas() -> None:
    check = check_partitioner("t", [Record(r.key, r.value, (r.partition + 1) % PARTITIONS) for r in REWARDS], PARTITIONS)
    assert (check.state, "CRC32" in check.found) == ("fail", False)
    assert check.found.startswith("50 of 50 records (100%)")
    assert check.repair.startswith("have the producers partition by murmur2 of the key")


def test_what_workers_have_forwarded_is_not_the_producers_doing() -> None:
    before, moved = check_partitioner("t", misplaced(), PARTITIONS), forwarded(misplaced())
    assert check_partitioner("t", [*misplaced(), *moved], PARTITIONS) == before
    after = check_partitioner("t", [*moved, *REWARDS], PARTITIONS)
    assert (after.state, after.found) == ("ok", "50 of 50 records where murmur2 of the unit puts them")


def test_when_only_forwarded_records_are_left_their_origins_tell() -> None:
    moved = forwarded(misplaced())
    check = check_partitioner("t", moved, PARTITIONS)
    assert check.state == "fail"
    assert check.found.startswith(f"{len(moved)} of {len(moved)} forwarded records (100%)")
    assert "CRC32" in check.found


def test_records_without_their_unit_as_key_are_named() -> None:
    assert check_partitioner("t", [*REWARDS, Record(None, b"{}", 0)], PARTITIONS).found.startswith("1 of 51 records have no key")
    other = Record(b"else", reward("u-1").value, partition_of("else", PARTITIONS))
    assert check_partitioner("t", [*REWARDS, other], PARTITIONS).found.startswith("1 of 51 records have another key")


def test_the_first_record_that_does_not_decode_is_shown() -> None:
    assert check_schema("t", REWARDS, Reward).state == "ok"
    broken = [Record(b"u", b'{"unit": "u"}', 2, offset=17), Record(b"u", b"\xff", 2, offset=18)]
    check = check_schema("t", [*REWARDS, *broken], Reward)
    assert check.state == "fail"
    assert check.found == "2 of 52 records do not decode; partition 2, offset 17: Object missing required field `metric`"
    assert check.repair.endswith("allocator schema reward prints what is expected")


@pytest.mark.parametrize(
    "ahead_s,state,found", [(0, "ok", "behind"), (59, "ok", "ahead of"), (61, "warn", "ahead of"), (-3600, "warn", "behind")]
)
def test_clocks(ahead_s: float, state: str, found: str) -> None:
    sample = [reward("u", ts=LOG_TIME_S + ahead_s)] * 3 + [Record(b"u", b"not json", 0), reward("u", ts=LOG_TIME_S + 1e6)]
    check = check_clock("t", sample)
    assert (check.state, found in check.found) == (state, True)
    assert check_clock("t", []).state == "ok"


def test_milliseconds_taken_for_seconds_are_a_warning() -> None:
    assert "ts is in seconds" in check_clock("t", [reward("u", ts=LOG_TIME_S * 1000)]).repair


def test_lag_is_what_is_not_committed_yet() -> None:
    ends = {TopicPartition("t", 0): 100, TopicPartition("t", 1): 50}
    assert check_lag(ends, {}).state == "warn"
    assert check_lag({TopicPartition("t", 0): 0}, {}).state == "ok"
    assert check_lag(ends, {TopicPartition("t", 0): 90}).found == "60 records, at most 50 in one partition (t, 1)"


def test_experiments_are_counted_by_status() -> None:
    spec = load_experiment("{experiment: e, arms: [a, b], metrics: {m: binary}}")
    paused = msgspec.structs.replace(spec, status="paused")
    assert check_experiments({"e": spec, "f": spec, "g": paused}, 0).found == "2 running, 1 paused"
    assert check_experiments({}, 0).state == "warn"
    assert check_experiments({"e": spec}, 1).state == "fail"


def test_weights_of_running_experiments_must_be_in_force() -> None:
    weights: Any = next(record.example for record in RECORDS if record.name == "weights")
    spec = load_experiment("{experiment: chat, arms: [control, b], metrics: {m: binary}}")
    older = msgspec.structs.replace(weights, version=1, valid_until=1.0)
    values = [msgspec.json.encode(weights), msgspec.json.encode(older)]

    [check] = check_weights({"chat": spec}, values, weights.valid_until - 30)
    assert (check.state, check.found) == ("ok", "version 312, in force for another 30 s")
    [check] = check_weights({"chat": spec}, values, weights.valid_until + 600)
    assert (check.state, check.found) == ("fail", "version 312 ran out 10 min ago: routers serve control")
    [check] = check_weights({"chat": spec}, [], 0.0)
    assert check.state == "warn"
    assert check_weights({"chat": msgspec.structs.replace(spec, status="stopped")}, values, 1e10) == []
    [broken, check] = check_weights({"chat": spec}, [b"{}", *values], 0.0)
    assert (broken.state, check.state) == ("fail", "ok")


def test_topics_without_a_problem_make_one_line() -> None:
    [check] = check_topics([], {}, 4)
    assert check.state == "ok"
