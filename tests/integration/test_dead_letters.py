"""Dead letters on a real broker with a worker: seen, sent again after a fix, counted once whatever becomes of the redrive."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner

import streams.redrive
from allocator.errors import Fenced
from allocator.spec import load_experiment
from deploy.kafka.broker import Broker
from streams.admin import ensure_topics
from streams.cli import app
from streams.connection import Connection
from streams.dead_letters import DeadLetterLog
from streams.experiments import apply
from streams.partitioning import partition_of
from streams.redrive import redrive
from streams.topics import Topics
from tests.waiting import until
from tests.workers import WorkerProcess, arm_sums, read_topic

pytestmark = pytest.mark.kafka
ROOT = Path(__file__).parents[2]
PREFIX = "letters"
TOPICS = Topics(PREFIX)
UNITS = 30
TIMEOUT_S = 60.0

DIES = """
import os, signal, streams.redrive as redrive
from aiokafka import AIOKafkaProducer
from streams.cli import main

commit, commits, dies_at = AIOKafkaProducer.commit_transaction, 0, {dies_at}
redrive.BATCH_MAX = 20

async def committing(producer):
    global commits
    commits += 1
    if commits == dies_at:
        os.kill(os.getpid(), signal.SIGKILL)
    await commit(producer)

AIOKafkaProducer.commit_transaction = committing
{change}
main()
"""
"""A redrive in transactions of 20 letters that is killed when it is about to commit one."""
UNPROTECTED = """
start = AIOKafkaProducer.__init__

def without_transactions(producer, *, transactional_id, transaction_timeout_ms, **options):
    start(producer, **options)

async def nothing(producer):
    pass

AIOKafkaProducer.__init__, AIOKafkaProducer.begin_transaction = without_transactions, nothing
"""

Run = Callable[..., Any]
_NAMES = count(1)


@pytest.fixture(scope="module")
def worker(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """One worker for the tests of this module, which have an experiment each. It gives specs half a second."""
    directory = tmp_path_factory.mktemp("letters")
    with WorkerProcess(kafka.bootstrap, PREFIX, directory, "--unknown-grace", "0.5").running() as running:
        yield running
        assert running.stop() == 0


@pytest.fixture
def allocator(kafka: Broker) -> Run:
    """Runs a command on the suite's broker."""

    def run(*arguments: str, stdin: str | None = None, code: int = 0, prefix: str = PREFIX) -> Any:
        environment = {"ALLOCATOR_BOOTSTRAP": kafka.bootstrap, "ALLOCATOR_PREFIX": prefix, "NO_COLOR": "1"}
        result = CliRunner().invoke(app, arguments, input=stdin, env=environment)
        assert result.exit_code == code, result.output
        return result

    return run


def spec(name: str) -> str:
    return f"{{experiment: {name}, arms: [a, b], metrics: {{click: binary}}}}"


def too_early(allocator: Run) -> str:
    """An exposure and a reward of each unit of an experiment nobody has applied, all of them dead; returns its name."""
    name = f"early-{next(_NAMES)}"
    lines: dict[str, list[str]] = {"exposures": [], "rewards": []}
    for i in range(UNITS):
        fields = {"experiment": name, "unit": f"{name}-{i}", "ts": time.time()}
        lines["exposures"].append(json.dumps({**fields, "arm": "ab"[i % 2], "propensity": 0.5, "exposure_id": "x"}))
        lines["rewards"].append(json.dumps({**fields, "metric": "click", "value": 1, "reward_id": "r"}))
    for kind, events in lines.items():
        allocator("send", kind, "-", stdin="\n".join(events))
    until(lambda: counts(allocator, name) == (2 * UNITS, 0), TIMEOUT_S, lambda: counts(allocator, name))
    return name


def counts(allocator: Run, name: str) -> tuple[int, int]:
    """Open and redriven letters whose reason is that experiment."""
    groups = [group for group in json.loads(allocator("dlt", "list", "--json").stdout) if f"'{name}'" in group["reason"]]
    return sum(group["open"] for group in groups), sum(group["redriven"] for group in groups)


def on_sources(bootstrap: str, name: str) -> int:
    """Records of the experiment that a reader of the sources sees."""
    topics = (TOPICS.exposures, TOPICS.rewards)
    return sum(message.key().startswith(f"{name}-".encode()) for topic in topics for message in read_topic(bootstrap, topic))


def mend(allocator: Run, worker: WorkerProcess, name: str) -> None:
    """Apply the missing spec, and wait until the worker has it."""
    allocator("apply", "-", stdin=spec(name))
    until(lambda: worker.get(f"/api/experiments/{name}"), TIMEOUT_S)


def counted_once(kafka: Broker, worker: WorkerProcess, name: str) -> None:
    """Every unit is in its arm with its reward, and no event was met twice."""
    wanted = {"exposures.applied": UNITS, "rewards.applied": UNITS}

    def found() -> Any:
        detail = worker.get(f"/api/experiments/{name}") or {"counters": {}, "arms": []}
        return detail["counters"], [arm["n"] for arm in detail["arms"]]

    until(lambda: found() == (wanted, [UNITS // 2] * 2), TIMEOUT_S, found)
    assert arm_sums(kafka.bootstrap, PREFIX)[name] == {arm: [UNITS // 2] * 2 for arm in "ab"}


def killed(kafka: Broker, name: str, dies_at: int, change: str = "") -> None:
    """A redrive of the experiment's letters in a process of its own, killed just before a commit."""
    arguments = ["dlt", "redrive", "--yes", "--reason", f"'{name}'", "--bootstrap", kafka.bootstrap, "--prefix", PREFIX]
    code = DIES.format(dies_at=dies_at, change=change)
    ended = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert ended.returncode == -9, ended.stderr.decode()


# -- what a person does ----------------------------------------------------------------------------------------------------------


def test_events_ahead_of_their_spec_count_once_after_it_is_applied(allocator: Run, kafka: Broker, worker: WorkerProcess) -> None:
    name = too_early(allocator)
    shown = allocator("dlt", "list").stdout
    assert f"experiment: '{name}': expected the name of an applied experiment" in shown

    report = allocator("dlt", "redrive", "--yes", "--reason", f"'{name}'").stdout
    assert report.startswith("nothing sent\n")
    assert f"{TOPICS.rewards}: {UNITS} left, would be dead again: experiment: '{name}'" in report
    assert counts(allocator, name) == (2 * UNITS, 0)

    mend(allocator, worker, name)
    dry = json.loads(allocator("dlt", "redrive", "--dry-run", "--json", "--reason", f"'{name}'").stdout)
    assert dry == {
        "sent": {TOPICS.exposures: UNITS, TOPICS.rewards: UNITS},
        "late": 0,
        "left": [],
        "cut": [],
        "dry_run": True,
    }
    assert on_sources(kafka.bootstrap, name) == 2 * UNITS
    assert "Aborted" in allocator("dlt", "redrive", "--reason", f"'{name}'", stdin="n\n", code=1).output
    assert on_sources(kafka.bootstrap, name) == 2 * UNITS

    asked = allocator("dlt", "redrive", "--reason", f"'{name}'", stdin="y\n").stdout
    assert f"{TOPICS.exposures}: {UNITS} sent" in asked
    counted_once(kafka, worker, name)
    assert json.loads(allocator("dlt", "redrive", "--yes", "--json", "--reason", f"'{name}'").stdout)["sent"] == {}
    assert counts(allocator, name) == (0, 2 * UNITS)
    assert on_sources(kafka.bootstrap, name) == 4 * UNITS
    counted_once(kafka, worker, name)


def test_sent_again_means_key_and_value_unchanged_where_the_key_belongs(
    allocator: Run, kafka: Broker, worker: WorkerProcess
) -> None:
    name = too_early(allocator)
    mend(allocator, worker, name)
    allocator("dlt", "redrive", "--yes", "--topic", "rewards", "--reason", f"'{name}'")
    assert counts(allocator, name) == (UNITS, UNITS)
    found: dict[bytes, list[Any]] = {}
    for message in read_topic(kafka.bootstrap, TOPICS.rewards):
        if message.key().startswith(f"{name}-".encode()):
            found.setdefault(message.key(), []).append(message)
    assert len(found) == UNITS
    for key, (first, second) in found.items():
        assert first.value() == second.value()
        assert first.partition() == second.partition() == partition_of(key, 4)
        assert dict(second.headers())["redriven-from"].startswith(TOPICS.dead_letters(TOPICS.rewards).encode() + b"/")
    allocator("dlt", "redrive", "--yes", "--reason", f"'{name}'")
    counted_once(kafka, worker, name)


def test_what_cannot_be_used_is_shown_with_its_origin_and_stays(allocator: Run, kafka: Broker, worker: WorkerProcess) -> None:
    del worker  # runs

    async def send() -> Any:
        async with AIOKafkaProducer(
            bootstrap_servers=kafka.bootstrap, compression_type="gzip", max_request_size=1 << 24
        ) as producer:
            ack = await producer.send_and_wait(TOPICS.rewards, b"\xff\xfe", b"nobody")
            return ack, await producer.send_and_wait(TOPICS.rewards, b"x" * 3_000_000, b"nobody")

    small, large = asyncio.run(send())
    show = ("dlt", "show", "--topic", "rewards", "--reason", "malformed", "--json")
    until(lambda: len(json.loads(allocator(*show).stdout)) == 2, TIMEOUT_S)
    letter, cut = json.loads(allocator(*show).stdout)
    assert letter["origin"] == {"topic": TOPICS.rewards, "partition": small.partition, "offset": small.offset}
    assert (letter["key"], base64.b64decode(letter["value_base64"]), letter["cut_from"]) == ("nobody", b"\xff\xfe", None)
    assert letter["reason_class"] == "malformed"
    assert cut["cut_from"] == 3_000_006
    assert json.loads(allocator(*show, "--limit", "1").stdout) == [cut]
    text = allocator("dlt", "show", "--reason", "malformed").stdout
    assert f"{TOPICS.rewards}/{small.partition}/{small.offset}\n" in text
    assert "value:  \\xff\\xfe\n" in text

    origin = f"{TOPICS.rewards}/{large.partition}/{large.offset}"
    report = json.loads(allocator("dlt", "redrive", "--yes", "--json", "--reason", "malformed").stdout)
    assert (report["sent"], report["cut"]) == ({}, [origin])
    assert [(left["topic"], left["count"]) for left in report["left"]] == [(TOPICS.rewards, 1)]
    assert f"  {origin}\n" in allocator("dlt", "redrive", "--dry-run", "--reason", "malformed").stdout
    checks = json.loads(allocator("doctor", "--json", code=1).stdout)["checks"]  # 1: the two records fail the schema
    assert {check["name"]: check["state"] for check in checks}[f"dead letters on {TOPICS.rewards}.dlt"] == "warn"


def test_no_topics_and_no_letters_are_said(allocator: Run, prefix: str) -> None:
    assert f"there is no topic {prefix}.exposures.v1.dlt" in allocator("dlt", "list", code=1, prefix=prefix).stderr
    allocator("doctor", "--fix", prefix=prefix)
    assert allocator("dlt", "list", prefix=prefix).stdout == "no dead letters\n"
    assert allocator("dlt", "show", prefix=prefix).stdout == "no open dead letters\n"
    assert allocator("dlt", "redrive", "--yes", prefix=prefix).stdout == "nothing sent\n"


# -- faults ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dies_at", [1, 2])
def test_a_redrive_killed_before_its_commit_leaves_nothing_and_the_next_does_it_all(
    allocator: Run, kafka: Broker, worker: WorkerProcess, dies_at: int
) -> None:
    name = too_early(allocator)
    mend(allocator, worker, name)
    killed(kafka, name, dies_at)
    committed = 20 * (dies_at - 1)
    assert on_sources(kafka.bootstrap, name) == 2 * UNITS + committed
    report = json.loads(allocator("dlt", "redrive", "--yes", "--json", "--reason", f"'{name}'").stdout)
    assert sum(report["sent"].values()) == 2 * UNITS - committed
    assert on_sources(kafka.bootstrap, name) == 4 * UNITS
    assert counts(allocator, name) == (0, 2 * UNITS)
    counted_once(kafka, worker, name)


def test_without_a_transaction_a_killed_redrive_would_leave_records(allocator: Run, kafka: Broker, worker: WorkerProcess) -> None:
    name = too_early(allocator)
    mend(allocator, worker, name)
    killed(kafka, name, 1, UNPROTECTED)
    assert on_sources(kafka.bootstrap, name) == 2 * UNITS + 20


def test_without_notes_everything_would_be_sent_twice(
    allocator: Run, kafka: Broker, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = too_early(allocator)
    mend(allocator, worker, name)
    note_of = streams.redrive.note_of
    monkeypatch.setattr("streams.redrive.note_of", lambda offsets: note_of([]))
    for _ in range(2):
        allocator("dlt", "redrive", "--yes", "--reason", f"'{name}'")
    assert on_sources(kafka.bootstrap, name) == 6 * UNITS


# -- two at a time ---------------------------------------------------------------------------------------------------------------


async def dead_letters(kafka: Broker, prefix: str, units: int) -> tuple[Connection, Topics]:
    """Topics and letters that can be used now, without a worker."""
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    await ensure_topics(connection, topics, partitions=1)
    await apply(connection, topics, load_experiment(spec("chat")))
    async with AIOKafkaProducer(**connection.aiokafka()) as producer:
        for i in range(units):
            await write_letter(producer, topics, f"u-{i}")
    return connection, topics


async def write_letter(producer: AIOKafkaProducer, topics: Topics, unit: str) -> None:
    fields = {"experiment": "chat", "unit": unit, "metric": "click", "value": 1, "ts": time.time(), "reward_id": "r"}
    headers = [("reason", b"experiment: 'chat': expected the name of an applied experiment")]
    to = topics.dead_letters(topics.rewards)
    await (await producer.send(to, json.dumps(fields).encode(), unit.encode(), partition=0, headers=headers))


async def test_a_second_redrive_fences_the_first(kafka: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connection, topics = await dead_letters(kafka, prefix, units=5)
    commit, about_to, go_on = AIOKafkaProducer.commit_transaction, asyncio.Event(), asyncio.Event()

    async def held(producer: AIOKafkaProducer) -> None:
        if not about_to.is_set():
            about_to.set()
            await go_on.wait()
        await commit(producer)

    monkeypatch.setattr(AIOKafkaProducer, "commit_transaction", held)
    first = asyncio.create_task(redrive(connection, topics, [topics.rewards]))
    await asyncio.wait_for(about_to.wait(), TIMEOUT_S)
    second = await redrive(connection, topics, [topics.rewards])
    go_on.set()
    with pytest.raises(Fenced, match="another redrive was started"):
        await first
    assert second.sent == {topics.rewards: 5}
    assert len(await asyncio.to_thread(read_topic, kafka.bootstrap, topics.rewards)) == 5


async def test_a_workers_open_transaction_hides_no_note(kafka: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers of committed records stop where it began. A redrive that stopped there would not see the notes beyond."""
    connection, topics = await dead_letters(kafka, prefix, units=5)
    read_notes, reading = DeadLetterLog.read_notes, asyncio.Event()

    async def announced(log: DeadLetterLog) -> None:
        reading.set()
        await read_notes(log)

    async with AIOKafkaProducer(**connection.aiokafka(), transactional_id=f"{prefix}-worker") as other:
        await other.begin_transaction()
        await write_letter(other, topics, "open")
        monkeypatch.setattr(DeadLetterLog, "read_notes", announced)
        waiting = asyncio.create_task(redrive(connection, topics, [topics.rewards]))
        await asyncio.wait_for(reading.wait(), TIMEOUT_S)
        await other.commit_transaction()
        assert (await asyncio.wait_for(waiting, TIMEOUT_S)).sent == {topics.rewards: 6}
    assert (await redrive(connection, topics, [topics.rewards])).sent == {}
