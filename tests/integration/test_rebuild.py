"""The audit on a real broker: what a worker has counted is what the sources say, and where it is not, the audit says so."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from confluent_kafka import Producer
from confluent_kafka import TopicPartition as Offset
from confluent_kafka.admin import AdminClient, OffsetSpec
from typer.testing import CliRunner

from deploy.kafka.broker import Broker
from streams.audit.live import newest_checkpoint
from streams.audit.log import opened
from streams.audit.partition import PartitionRebuild
from streams.cli import app
from streams.connection import Connection
from streams.join.cells import CELL_PREFIX
from streams.join.fold import Fold
from streams.partitioning import partition_of
from streams.topics import Topics
from tests.reference import PARTITIONS, START_TS, fill
from tests.sources import make_topics
from tests.waiting import until
from tests.workers import WorkerProcess, read_topic

pytestmark = pytest.mark.kafka
UNITS = 2000
SOURCE_BATCH_BYTES = 4096
SMALL_CHUNKS = ("--chunk-records-max", "200", "--batch-bytes", "10000", "--unknown-grace", "0.5")
TIMEOUT_S = 60.0
BRIEF = {
    "experiment": "brief",
    "arms": ["a", "b"],
    "metrics": {"score": {"type": "value", "aggregate": "last", "window": "20s"}},
    "objective": "score",
    "grace": "10s",
}
ROUNDS, RETURNING_UNITS = 40, 40

TWICE = """
from itertools import count
from allocator.moments import Layout
from streams.cli import main

enter, calls = Layout.enter, count()

def once_too_often(layout, sums, weight, units=1):
    enter(layout, sums, weight, units + (next(calls) == 20))

Layout.enter = once_too_often
main()
"""
"""A worker that counts one unit twice each time it is started."""

Run = Callable[..., Any]


@pytest.fixture
def allocator(kafka: Broker, prefix: str, tmp_path: Path) -> Run:
    """Runs a command on the suite's broker and the test's prefix; rebuilds are kept in the test's directory."""

    def run(*arguments: str, code: int = 0, stdin: str | None = None) -> Any:
        kept = ("--data-dir", str(tmp_path / "rebuilds")) if arguments[0] in ("rebuild", "diff") else ()
        environment = {"ALLOCATOR_BOOTSTRAP": kafka.bootstrap, "ALLOCATOR_PREFIX": prefix, "NO_COLOR": "1"}
        result = CliRunner().invoke(app, [*arguments, *kept], input=stdin, env=environment)
        assert result.exit_code == code, result.output
        return result

    return run


def caught_up(kafka: Broker, prefix: str) -> bool:
    """Whether the live join stands at the ends of its sources."""
    topics = Topics(prefix)

    async def look() -> bool:
        async with opened(Connection(kafka.bootstrap), [topics.join_changelog, topics.exposures, topics.rewards]) as log:
            for p in range(PARTITIONS):
                sources = [TopicPartition(topic, p) for topic in (topics.exposures, topics.rewards)]
                ends = {tp.topic: end for tp, end in (await log.ends(sources)).items() if end}
                if (await newest_checkpoint(log, TopicPartition(topics.join_changelog, p))).applied != ends:
                    return False
        return True

    return asyncio.run(look())


@contextmanager
def working(kafka: Broker, prefix: str, directory: Path, *program: str) -> Iterator[WorkerProcess]:
    """A worker that is killed once in the middle of what there is, and then does it all."""
    worker = WorkerProcess(kafka.bootstrap, prefix, directory, *SMALL_CHUNKS, **({"program": program} if program else {}))
    with worker.running():
        until(worker.events_read, TIMEOUT_S)
        worker.kill()
        worker.start()
        until(lambda: caught_up(kafka, prefix), TIMEOUT_S, lambda: worker.log.read_text()[-3000:])
        yield worker


async def odd_events(bootstrap: str, prefix: str) -> None:
    """What is not simply an exposure and its reward: most of them are of units that the reference job has."""
    topics, now = Topics(prefix), START_TS + 1.0
    exposure = {
        "experiment": "exp-1",
        "unit": "odd",
        "arm": "a",
        "propensity": 0.5,
        "ts": now,
        "exposure_id": "x",
        "segment": "pro",
    }
    reward = {"experiment": "exp-1", "unit": "odd", "metric": "thumbs_up", "value": 1, "ts": now + 1, "reward_id": "r"}
    crossover = {**exposure, "exposure_id": "y", "arm": "b"}
    events = [
        *((topics.exposures, {**exposure, "unit": f"odd-{i}"}) for i in range(3)),
        *((topics.exposures, {**crossover, "unit": "odd-0"}), (topics.exposures, {**exposure, "unit": "odd-1", "ts": now - 1})),
        *((topics.rewards, {**reward, "unit": f"odd-{i}"}) for i in range(5)),  # two of them wait
        (topics.rewards, {**reward, "unit": "odd-1", "value": 0, "ts": now + 2}),
        (topics.rewards, {**reward, "unit": "odd-2", "reward_id": "no number", "value": 7}),
        (topics.rewards, {**reward, "unit": "odd-2", "reward_id": "any", "experiment": None}),
        *((topics.exposures, {**exposure, "unit": f"early-{i}", "experiment": "late-spec"}) for i in range(5)),
        *((topics.rewards, {**reward, "unit": f"early-{i}", "experiment": "late-spec"}) for i in range(5)),
    ]
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"{prefix}-odd") as producer:
        for commit in (False, True, False):
            await producer.begin_transaction()
            for topic, event in events:
                await producer.send_and_wait(topic, json.dumps(event).encode(), event["unit"].encode())
            await (producer.commit_transaction() if commit else producer.abort_transaction())
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for topic, event in ((topics.exposures, exposure), (topics.rewards, reward)):
            wrong = (partition_of("odd", PARTITIONS) + 1) % PARTITIONS
            await producer.send_and_wait(topic, json.dumps(event).encode(), b"odd", partition=wrong)
        await producer.send_and_wait(topics.rewards, b"{", b"odd")


def outside(kafka: Broker, prefix: str) -> Any:
    """What an audit must leave as it is: every topic's ends, and who takes part in the deployment."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    groups = sorted(group.group_id for group in admin.list_consumer_groups().result().valid)
    topics = admin.list_topics(timeout=10).topics
    ours = [Offset(name, p) for name in sorted(topics) if name.startswith(f"{prefix}.") for p in topics[name].partitions]
    found = admin.list_offsets({tp: OffsetSpec.latest() for tp in ours})
    return groups, {(tp.topic, tp.partition): done.result().offset for tp, done in found.items()}


def newest(kafka: Broker, prefix: str, wanted: Callable[[bytes], bool]) -> tuple[bytes, bytes, int]:
    """Key, value and partition of the live state's first record whose key is wanted."""
    messages = {m.key(): m for m in read_topic(kafka.bootstrap, Topics(prefix).join_changelog)}
    found = messages[min(key for key in messages if wanted(key))]
    return found.key(), found.value(), found.partition()


def write(kafka: Broker, prefix: str, key: bytes, value: bytes, partition: int) -> None:
    """As a disk, a broker or a program does it that has gone wrong."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(Topics(prefix).join_changelog, value, key, partition)
    assert producer.flush(10) == 0


def test_what_a_worker_has_counted_through_a_kill_is_what_the_sources_say(
    kafka: Broker, prefix: str, tmp_path: Path, allocator: Run
) -> None:
    answer = fill(kafka.bootstrap, prefix, UNITS, batch_bytes=SOURCE_BATCH_BYTES)
    with working(kafka, prefix, tmp_path) as worker:
        asyncio.run(odd_events(kafka.bootstrap, prefix))
        until(lambda: caught_up(kafka, prefix), TIMEOUT_S)
        allocator("apply", "-", stdin="{experiment: late-spec, arms: [a, b], metrics: {thumbs_up: binary}}")
        until(lambda: worker.get("/api/experiments/late-spec"), TIMEOUT_S)
        allocator("dlt", "redrive", "--yes", "--topic", "exposures")
        until(lambda: caught_up(kafka, prefix), TIMEOUT_S)
        made = json.loads(allocator("rebuild", "--as", "audit", "--json").stdout)
        assert worker.stop() == 0
    before = outside(kafka, prefix)
    found = json.loads(allocator("diff", "audit", "--json").stdout)
    assert allocator("rebuild", "--as", "audit").stdout.startswith("audit: 0 records folded")
    assert outside(kafka, prefix) == before
    assert found["equal"], found["differences"]
    assert found["offsets"] == made["offsets"]
    assert made["records"] > answer.events
    # the arms are those of the generator, with the odd ones
    sums = {(arm["experiment"], arm["arm"]): arm["live"][:2] for arm in found["arms"] if arm["experiment"] == "exp-2"}
    assert sums == {("exp-2", arm): counted for arm, counted in answer.sums["exp-2"].items()}
    assert sum(arm["live"][0] for arm in found["arms"] if arm["experiment"] == "late-spec") == 5
    assert found["dead_letters"] == 12
    assert found["compared"]["unit"] == UNITS + 3 + 2 + 1 + 5

    # one byte of a unit's record
    key, value, partition = newest(kafka, prefix, lambda key: key > b"u-")
    at = len(value) - 1
    write(kafka, prefix, key, value[:at] + bytes([value[at] ^ 1]), partition)
    text = allocator("diff", "audit", code=1).stdout
    assert "DIFFERENT at the same offsets: 1 of" in text
    assert f"{key.decode()!r}" in text
    assert "value" in text
    write(kafka, prefix, key, value, partition)
    assert "equal, bit for bit" in allocator("diff", "audit").stdout

    # one unit more in a cell
    key, value, partition = newest(kafka, prefix, lambda key: key.startswith(CELL_PREFIX))
    *name, sums = msgspec.json.decode(value)
    write(kafka, prefix, key, msgspec.json.encode([*name, [sums[0] + 1, *sums[1:]]]), partition)
    found = json.loads(allocator("diff", "audit", "--json", code=1).stdout)
    [difference] = found["differences"]
    assert (difference["kind"], difference["field"], difference["partition"]) == ("cell", "units", partition)
    assert (difference["live"], difference["rebuilt"]) == (sums[0] + 1, sums[0])
    [arm] = [arm for arm in found["arms"] if not arm["equal"]]
    assert [arm["experiment"], arm["segment"], arm["arm"]] == name[:3]
    assert f"units {arm['live'][0]} live, {arm['rebuilt'][0]} rebuilt" in allocator("diff", "audit", "--segments", code=1).stdout

    # a source that has lost its beginning: what is there is still good
    topic = Topics(prefix).rewards
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.delete_records([Offset(topic, 2, 100)])[Offset(topic, 2)].result()
    error = allocator("rebuild", "--as", "other", code=1).stderr
    assert f"{topic}, partition 2, begins at offset 100 and the rebuild needs it from 0" in error
    assert allocator("diff", "audit", code=1).stdout


def test_a_worker_that_counts_twice_is_found(kafka: Broker, prefix: str, tmp_path: Path, allocator: Run) -> None:
    """The control: were it called equal, equal would mean nothing."""
    fill(kafka.bootstrap, prefix, UNITS, batch_bytes=SOURCE_BATCH_BYTES)
    with working(kafka, prefix, tmp_path, "-c", TWICE):
        pass
    allocator("rebuild", "--as", "audit")
    found = json.loads(allocator("diff", "audit", "--json", code=1).stdout)
    units = [(d["live"], d["rebuilt"]) for d in found["differences"] if d["field"] == "units"]
    assert 1 <= len(units) <= 2
    assert all(live == rebuilt + 1 for live, rebuilt in units)
    assert found["differing"] == {"cell": len(units)}


def returning(kafka: Broker, prefix: str, rng: random.Random) -> None:
    """Units that come back around their horizon, some with events that are behind; log time is event time, as usual."""
    topics, start = Topics(prefix), int(time.time()) - 3600
    make_topics(kafka.bootstrap, topics, PARTITIONS, [BRIEF])
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "partitioner": "murmur2_random", "linger.ms": 1000})
    for round_ in range(ROUNDS):
        now = start + 10.0 * round_
        for unit in range(RETURNING_UNITS):
            common = {"experiment": "brief", "unit": f"u-{unit}", "ts": now - rng.choice([0, 0, 0, 3, 15, 35])}
            event = {"arm": rng.choice("aaaab"), "propensity": 0.5, "exposure_id": f"x-{rng.randrange(3)}"}
            topic = topics.exposures
            if rng.random() < 0.5:
                event = {"metric": "score", "value": rng.randrange(5), "reward_id": f"r-{rng.randrange(4)}"}
                topic = topics.rewards
            if rng.random() < 0.5:
                producer.produce(topic, json.dumps({**common, **event}).encode(), common["unit"], timestamp=int(now * 1000))
        assert producer.flush(10) == 0  # a batch a round and partition


def test_units_that_come_back_around_their_horizon_are_the_same_in_chunks_of_any_size(
    kafka: Broker, prefix: str, tmp_path: Path, allocator: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    returning(kafka, prefix, random.Random(5))
    with working(kafka, prefix, tmp_path):
        pass
    for records in (1, 100, 1_000_000):
        monkeypatch.setattr("streams.audit.partition.CHUNK_RECORDS_MAX", records)
        allocator("rebuild", "--as", f"by-{records}")
        found = json.loads(allocator("diff", f"by-{records}", "--json").stdout)
        assert found["equal"], found["differences"]
    lives = sum(arm["live"][0] for arm in found["arms"])
    assert lives > 3 * RETURNING_UNITS
    assert 0 < found["compared"]["unit"] <= RETURNING_UNITS

    # control: as if what one topic is past were of no use to the other
    ahead = property(lambda fold: max(fold.exposures_mark, fold.rewards_mark))
    monkeypatch.setattr(Fold, "watermark", ahead)
    allocator("rebuild", "--as", "hasty")
    assert not json.loads(allocator("diff", "hasty", "--json", code=1).stdout)["equal"]


def test_the_demos_topics_are_equal_and_an_interrupted_rebuild_goes_on(
    kafka: Broker, prefix: str, allocator: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-m", "streams.cli", "demo", "--json", "--rows", "2000", "--bootstrap", kafka.bootstrap]
    done = subprocess.run([*command, "--prefix", prefix], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr

    take, taken = PartitionRebuild._take, []

    def interrupted(partition: PartitionRebuild, chunk: Any) -> None:
        if len(taken) == 3:
            raise KeyboardInterrupt
        take(partition, chunk)
        taken.append(sum(batch.count for batches in chunk for batch in batches))

    with monkeypatch.context() as patched:
        patched.setattr("streams.audit.partition.CHUNK_RECORDS_MAX", 100)
        patched.setattr(PartitionRebuild, "_take", interrupted)
        allocator("rebuild", "--as", "audit", code=130)
    rest = json.loads(allocator("rebuild", "--as", "audit", "--json").stdout)["records"]
    found = json.loads(allocator("diff", "audit", "--json").stdout)
    assert found["equal"], found["differences"]
    assert sum(arm["live"][0] for arm in found["arms"]) == found["compared"]["unit"] == 2000
    summary = json.loads(done.stdout)["events"]["sent"]
    assert sum(taken) + rest == sum(summary.values())
    assert "equal, bit for bit" in allocator("diff", "audit").stdout
    fresh = json.loads(allocator("rebuild", "--as", "audit", "--fresh", "--json").stdout)
    assert fresh["records"] == sum(taken) + rest


def test_there_must_be_a_rebuild_and_a_live_state(allocator: Run) -> None:
    assert "has not been made" in allocator("rebuild", "--as", "audit", code=1).stderr
    allocator("doctor", "--fix")
    assert "Make it with: allocator rebuild --as audit" in allocator("diff", "audit", code=1).stderr
    assert "equal, bit for bit" in [allocator("rebuild", "--as", "audit"), allocator("diff", "audit")][1].stdout
