"""What is wrong with a deployment, and what to do about it: `allocator doctor`.

`examine` asks the broker; the functions named `check_...` judge what it answered and can be read, and tested, without Kafka.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal, get_args

import msgspec
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, IncompatibleBrokerVersion

from allocator.errors import TopicError
from allocator.experiment import Experiment, Status
from allocator.weights import Weights
from streams.admin import TopicState, problems, read_topics, repair_topics, sources_partitions
from streams.clients import UNREACHABLE, Unreachable, admin_client, started
from streams.compacted import read_compacted
from streams.connection import Connection
from streams.dead_letters import parse_letter, parse_note
from streams.experiments import ExperimentsReader
from streams.join.astray import origin_partition
from streams.partitioning import partition_of
from streams.phrases import rough_duration
from streams.records import Exposure, Reward
from streams.samples import end_offsets_and_newest
from streams.topics import Topics

__all__ = [
    "Check",
    "check_clock",
    "check_dead_letters",
    "check_lag",
    "check_partitioner",
    "check_schema",
    "check_topics",
    "check_weights",
    "examine",
]

SAMPLE = 100
"""Records looked at in each source."""
SKEW_S = 60.0
SLOW_MS = 500.0
MURMUR2 = "set partitioner=murmur2_random in librdkafka clients (confluent-kafka for Python, Go, .NET, Node; C)"
OTHERS = "have the producers partition by murmur2 of the key, as Java and aiokafka do by default"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: what was found and, unless it is ok, what to do."""

    name: str
    state: Literal["ok", "warn", "fail"]
    found: str
    repair: str = ""


async def examine(connection: Connection, topics: Topics, *, partitions: int, fix: bool = False) -> list[Check]:
    """Every check, in the order in which to mend. With `fix`, topics are made and clean-up policies set right first.

    `partitions` is what the sources get if `fix` has to make them.
    """
    try:
        async with started(admin_client(connection), connection) as admin:
            return await _examine(admin, connection, topics, partitions, fix)
    except Unreachable as error:
        return [Check("broker", "fail", str(error), "start Kafka, or name another address")]


async def _examine(admin: AIOKafkaAdminClient, connection: Connection, topics: Topics, partitions: int, fix: bool) -> list[Check]:
    began = time.perf_counter()
    try:
        existing = {row["topic"]: len(row["partitions"]) for row in await admin.describe_topics()}
    except UNREACHABLE:
        found = f"{connection.bootstrap} answers, but not at the address it gives to its clients"
        return [Check("broker", "fail", found, "advertised.listeners of the broker must name an address reachable from here")]
    latency_ms = (time.perf_counter() - began) * 1000
    checks = [Check("broker", "ok" if latency_ms < SLOW_MS else "warn", f"{connection.bootstrap} answers in {latency_ms:.0f} ms")]
    checks += await _topics(admin, topics, partitions, fix)
    sources = {name: existing[name] for name in (topics.exposures, topics.rewards) if name in existing}
    ends, newest = await end_offsets_and_newest(connection, sources, SAMPLE)
    for topic, kind in ((topics.exposures, Exposure), (topics.rewards, Reward)):
        if topic in sources:
            sample = newest[topic]
            checks += [
                check_partitioner(topic, sample, sources[topic]),
                check_schema(topic, sample, kind),
                check_clock(topic, sample),
            ]
    if sources:
        checks.append(check_lag(ends, await _committed(admin, f"{topics.prefix}-worker")))
    dead = {name: existing[name] for name in map(topics.dead_letters, sources) if name in existing}
    _, newest_dead = await end_offsets_and_newest(connection, dead, SAMPLE)
    checks += [check_dead_letters(topic, sample, time.time()) for topic, sample in newest_dead.items()]
    specs: dict[str, Experiment] = {}
    if topics.experiments in existing:
        reader = ExperimentsReader(connection, topics)
        await reader.read_to_end()
        await reader.stop()
        specs = reader.specs
        checks.append(check_experiments(specs, reader.malformed))
    if topics.weights in existing:
        newest_weights = await read_compacted(connection, topics.weights)
        checks += check_weights(specs, [record.value for record in newest_weights.values()], time.time())
    return checks


async def _topics(admin: AIOKafkaAdminClient, topics: Topics, partitions: int, fix: bool) -> list[Check]:
    specs = topics.specs()
    names = [spec.name for spec in specs]
    try:
        found = await read_topics(admin, names)
        count = sources_partitions(topics, found, partitions)
        repaired = await repair_topics(admin, specs, partitions=count) if fix else []
        found = await read_topics(admin, names) if repaired else found
    except IncompatibleBrokerVersion:
        return [
            Check("topics", "warn", "not checked: this broker answers no admin requests", "none if it is the embedded broker")
        ]
    return [Check("topics", "ok", text) for text in repaired] + check_topics(problems(specs, found, count), found, count)


async def _committed(admin: AIOKafkaAdminClient, group: str) -> dict[TopicPartition, int]:
    try:
        offsets = await admin.list_consumer_group_offsets(group)
    except GroupCoordinatorNotAvailableError:  # no group has ever committed on this cluster
        return {}
    return {tp: found.offset for tp, found in offsets.items()}


def check_topics(wrong: Sequence[TopicError], found: Mapping[str, TopicState], partitions: int) -> list[Check]:
    """One line for each problem, or one that all is right."""
    if not wrong:
        return [Check("topics", "ok", f"{len(found)} topics as they must be; exposures and rewards have {partitions} partitions")]
    return [Check("topics", "fail", f"{error.topic} has {error.found}, needs {error.expected}", error.repair) for error in wrong]


def check_partitioner(topic: str, sample: Sequence[Any], partitions: int) -> Check:
    """Records must be where murmur2 of their key, the unit, puts them: else exposures and rewards of a unit do not meet.

    Where workers have forwarded a record to is not where its producer has put it. It is left out, or if there is nothing else
    judged by where it was found.
    """
    name = f"partitioner of {topic}"
    if not sample:
        return Check(name, "ok", "no records yet")
    if keyless := sum(record.key is None for record in sample):
        return Check(name, "fail", f"{keyless} of {len(sample)} records have no key", "make the unit the key of every record")
    if other := sum(record.key != unit for record in sample if (unit := _unit(record.value)) is not None):
        return Check(name, "fail", f"{other} of {len(sample)} records have another key than their unit", "make the unit the key")
    found_on = [(record.key, origin_partition(record.headers)) for record in sample]
    produced = [(record.key, record.partition) for record, (_, at) in zip(sample, found_on, strict=True) if at is None]
    kind, placed = ("records", produced) if produced else ("forwarded records", found_on)
    astray = [(key, at) for key, at in placed if at != partition_of(key, partitions)]
    if not astray:
        return Check(name, "ok", f"{len(placed)} of {len(placed)} records where murmur2 of the unit puts them")
    share = f"{len(astray)} of {len(placed)} {kind} ({len(astray) / len(placed):.0%})"
    crc32 = all(at == zlib.crc32(key) % partitions for key, at in astray)
    cause = ", all of them where librdkafka's default, CRC32, puts them" if crc32 else ""
    found = f"{share} were not where murmur2 of the unit puts them{cause}: each is forwarded, which writes and reads it twice"
    return Check(name, "fail", found, MURMUR2 if crc32 else f"{OTHERS}; {MURMUR2}")


def check_schema(topic: str, sample: Sequence[Any], kind: type[Exposure] | type[Reward]) -> Check:
    """The sample must decode; what does not goes to the dead letters."""
    name = f"schema of {topic}"
    if not sample:
        return Check(name, "ok", "no records yet")
    errors = []
    for record in sample:
        try:
            msgspec.json.decode(record.value or b"", type=kind)
        except (ValueError, RecursionError) as error:  # MsgspecError and UnicodeDecodeError are ValueErrors
            errors.append(f"partition {record.partition}, offset {record.offset}: {error}")
    if not errors:
        return Check(name, "ok", f"{len(sample)} of {len(sample)} records decode")
    found = f"{len(errors)} of {len(sample)} records do not decode; {errors[0]}"
    return Check(name, "fail", found, f"mend the producer; allocator schema {kind.__name__.lower()} prints what is expected")


def check_clock(topic: str, sample: Sequence[Any]) -> Check:
    """The records' own time against the log's, as a median in seconds."""
    name = f"clock of {topic}"
    ahead_s = [ts - record.timestamp / 1000 for record in sample if (ts := _number(record.value, "ts")) is not None]
    if not ahead_s:
        return Check(name, "ok", "no records yet")
    typical = median(ahead_s)
    side = "ahead of" if typical > 0 else "behind"
    found = f"ts is {rough_duration(abs(typical))} {side} the log's time (median of {len(ahead_s)})"
    if abs(typical) <= SKEW_S:
        return Check(name, "ok", found)
    repair = (
        "check the producers' clocks and that ts is in seconds" if typical > 0 else "expected after a backfill; else check clocks"
    )
    return Check(name, "warn", found, repair)


def check_dead_letters(topic: str, sample: Sequence[Any], now: float) -> Check:
    """Whether the newest records of a dead-letter topic hold any that were not sent again."""
    name = f"dead letters on {topic}"
    redriven = {(record.partition, offset) for record in sample for offset in parse_note(record) or ()}
    letters = [
        parse_letter(r, redriven=False) for r in sample if parse_note(r) is None and (r.partition, r.offset) not in redriven
    ]
    if not letters:
        return Check(name, "ok", "none among the newest records")
    newest = max(letters, key=lambda letter: letter.time_s)
    found = f"{len(letters)} or more, the newest {rough_duration(max(0.0, now - newest.time_s))} ago: {newest.reason}"
    return Check(name, "warn", found, "allocator dlt list; mend the cause, then allocator dlt redrive")


def check_lag(ends: Mapping[TopicPartition, int], committed: Mapping[TopicPartition, int]) -> Check:
    """Records not yet counted, over both sources."""
    total = sum(ends.values())
    if not any(committed.get(tp, -1) >= 0 for tp in ends):
        state: Literal["ok", "warn"] = "warn" if total else "ok"
        return Check("lag", state, f"no worker has read yet, {total} records wait", "allocator worker" if total else "")
    lag = {tp: end - max(0, committed.get(tp, 0)) for tp, end in ends.items()}
    worst = max(lag, key=lambda tp: lag[tp])
    return Check(
        "lag", "ok", f"{sum(lag.values())} records, at most {lag[worst]} in one partition ({worst.topic}, {worst.partition})"
    )


def check_experiments(specs: Mapping[str, Experiment], malformed: int) -> Check:
    """Specs on the experiments topic."""
    if malformed:
        return Check(
            "experiments", "fail", f"{malformed} records are not specs: workers ignore them", "allocator apply the spec again"
        )
    if not specs:
        return Check("experiments", "warn", "none", "allocator apply SPEC")
    counts = {status: sum(spec.status == status for spec in specs.values()) for status in get_args(Status)}
    return Check("experiments", "ok", ", ".join(f"{count} {status}" for status, count in counts.items() if count))


def check_weights(specs: Mapping[str, Experiment], values: Iterable[bytes], now: float) -> list[Check]:
    """Weights of every running experiment must be in force: after their lease routers serve the fallback."""
    newest: dict[str, Weights] = {}
    checks = []
    for value in values:
        try:
            weights = msgspec.json.decode(value, type=Weights)
        except (ValueError, RecursionError) as error:  # MsgspecError and UnicodeDecodeError are ValueErrors
            checks.append(
                Check("weights", "fail", f"a record does not decode: {error}", "restart the workers; they publish anew")
            )
            continue
        known = newest.get(weights.experiment)
        if known is None or weights.valid_until > known.valid_until:
            newest[weights.experiment] = weights
    for name, spec in specs.items():
        if spec.status not in ("running", "promoted"):
            continue
        if name not in newest:
            checks.append(Check(f"weights of {name}", "warn", "none published yet", "allocator worker"))
            continue
        left_s = newest[name].valid_until - now
        version = f"version {newest[name].version}"
        if left_s >= 0:
            checks.append(Check(f"weights of {name}", "ok", f"{version}, in force for another {rough_duration(left_s)}"))
        else:
            found = f"{version} ran out {rough_duration(-left_s)} ago: routers serve {newest[name].fallback}"
            checks.append(Check(f"weights of {name}", "fail", found, "start a worker, or see why it does not publish"))
    return checks


def _field(value: bytes | None, name: str) -> Any:
    try:
        decoded = json.loads(value or b"")
    except ValueError:  # reported by check_schema
        return None
    return decoded.get(name) if isinstance(decoded, dict) else None


def _unit(value: bytes | None) -> bytes | None:
    unit = _field(value, "unit")
    return unit.encode() if isinstance(unit, str) else None


def _number(value: bytes | None, name: str) -> float | None:
    number = _field(value, name)
    return float(number) if isinstance(number, (int, float)) and not isinstance(number, bool) else None
