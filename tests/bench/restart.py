"""A worker that has counted the reference job is stopped, killed and robbed of its disk: how soon it is at work again.

idle       CPU of the worker once everything is counted and nothing comes, as a share of one core
stopped    from SIGTERM, on its own disk, until /ready says so again
killed     from kill -9 under traffic, started again at once, until a reader has seen of every partition a committed record that
           is younger than the death. The traffic is steady, and a partition publishes what changed ten times a second
restored   from an empty data directory: records of the join's changelog a second of the longest restore of a partition, all being
           restored at once (transaction markers are counted as records, a few hundred of them); and from the start to /ready

The figures of repeated rounds are all given, and the worst of them is judged. At the end the sums must be exact, those of the
traffic included.
"""

from __future__ import annotations

import argparse
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition
from rich.table import Table

from streams.records import encode
from streams.topics import Topics
from tests.bench.following import following
from tests.bench.protocol import cpu_s
from tests.bench.report import Verdict, at_least, at_most, machine, new_table, progress, publish, seconds
from tests.bench.stage import Stage, stage
from tests.bench.worker import TimedWorker, await_counted, partials, sums_of
from tests.reference import ARMS, EXPERIMENTS, PARTITIONS, START_TS, Answer, fill
from tests.waiting import until

__all__ = ["Found", "add_options", "main", "verdicts"]

UNITS, ROUNDS, IDLE_S = 1_000_000, 3, 20.0
SETTLE_S = 3.0
"""For what still follows the last count: the last weights, a flush."""
TRAFFIC_PER_S, TICK_S = 1000, 0.01
AT_WORK_TIMEOUT_S, METRICS_TIMEOUT_S = 120.0, 30.0
IDLE_SHARE_MAX, STOPPED_S_MAX, KILLED_S_MAX, RESTORED_PER_S_MIN = 0.03, 3.0, 8.0, 400_000


class Found(msgspec.Struct, kw_only=True):
    """What was measured; one figure a round."""

    idle_share: float = 0.0
    stopped_s: list[float] = []
    killed_s: list[float] = []
    restored_records: int = 0
    restored_s: list[float] = []
    restored_ready_s: list[float] = []
    exact: bool = False


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command line of this bench."""
    parser.add_argument("--units", type=int, default=UNITS, help=f"of the job (default {UNITS:,})")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of each restart (default {ROUNDS})")
    parser.add_argument("--idle-s", type=float, default=IDLE_S, help=f"seconds to watch it idle (default {IDLE_S:g})")


def main(options: argparse.Namespace) -> bool:
    """Run everything and print it. Whether the sums were exact."""
    before = machine()
    with stage(options.bootstrap) as on:
        found = measure(on, options.units, options.rounds, options.idle_s)
    title = f"Restarts after {options.units:,} units"
    record = {"bench": "restart", "units": options.units, "found": found, **before}
    publish(record, [_table(found, title)], verdicts(found), as_json=options.json)
    return found.exact


def measure(on: Stage, units: int, rounds: int, idle_s: float) -> Found:
    """One worker through all of it."""
    found = Found()
    progress.print(f"filling topics: {units:,} units …")
    answer = fill(on.bootstrap, on.prefix, units)
    worker = TimedWorker(on.bootstrap, on.prefix, on.directory / "worker")
    with worker.running():
        await_counted(on.bootstrap, on.prefix, answer.events)
        time.sleep(SETTLE_S)
        progress.print("idle …")
        found.idle_share = _idle_share(worker, idle_s)
        for _ in range(rounds):
            progress.print("stopped …")
            found.stopped_s.append(_stopped_s(worker))
        with traffic(on, answer):
            for _ in range(rounds):
                progress.print("killed …")
                found.killed_s.append(_killed_s(on, worker))
        counted = await_counted(on.bootstrap, on.prefix, answer.events)
        found.exact = counted == answer.events and sums_of(partials(on.bootstrap, on.prefix)) == answer.sums
        found.restored_records = _records(on.bootstrap, Topics(on.prefix).join_changelog)
        for _ in range(rounds):
            progress.print("restored …")
            ready_s, restore_s = _restored_s(worker)
            found.restored_ready_s.append(ready_s)
            found.restored_s.append(restore_s)
        worker.stop()
    return found


def _idle_share(worker: TimedWorker, idle_s: float) -> float:
    at, cpu = time.perf_counter(), cpu_s(worker.pid())
    time.sleep(idle_s)
    return (cpu_s(worker.pid()) - cpu) / (time.perf_counter() - at)


def _stopped_s(worker: TimedWorker) -> float:
    at = time.perf_counter()
    code = worker.stop()
    assert code == 0, f"the worker ended with {code} on SIGTERM"
    worker.start()
    return time.perf_counter() - at


def _killed_s(on: Stage, worker: TimedWorker) -> float:
    """Kill the worker while it counts, and follow the partials."""
    with following(on.bootstrap, Topics(on.prefix).partials) as consumer:
        _await_all_at_work(consumer, time.time())
        at = time.perf_counter()
        worker.kill()
        dead_at = time.time()
        worker.launch()
        _await_all_at_work(consumer, dead_at)
        return time.perf_counter() - at


def _await_all_at_work(consumer: Consumer, since: float) -> None:
    """Until a committed record younger than `since`, seconds since the epoch, was seen of every join partition."""
    waiting, deadline = set(range(PARTITIONS)), time.monotonic() + AT_WORK_TIMEOUT_S
    while waiting:
        assert time.monotonic() < deadline, f"partitions {sorted(waiting)} were not at work within {AT_WORK_TIMEOUT_S:g} s"
        message = consumer.poll(1.0)
        if message is not None and message.error() is None and message.timestamp()[1] > since * 1000:
            waiting.discard(int((message.key() or b"").split(b"|")[1]))


def _restored_s(worker: TimedWorker) -> tuple[float, float]:
    """Seconds from the start on no disk until ready, and those of the restore alone."""
    worker.stop()
    shutil.rmtree(worker.data_dir)
    at = time.perf_counter()
    worker.start()
    ready_s = time.perf_counter() - at
    return ready_s, until(lambda: _restore_s(worker), METRICS_TIMEOUT_S, "the worker tells how long it restored")


def _restore_s(worker: TimedWorker) -> float:
    """What /metrics says of the last restore; 0 before it says anything."""
    lines = httpx.get(f"{worker.url}/metrics", timeout=5).text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith("allocator_restore_seconds "))


def _records(bootstrap: str, topic: str) -> int:
    """What its partitions hold."""
    with following(bootstrap, topic) as consumer:
        marks = [consumer.get_watermark_offsets(TopicPartition(topic, tp.partition), timeout=10) for tp in consumer.assignment()]
    return sum(high - low for low, high in marks)


@contextmanager
def traffic(on: Stage, answer: Answer) -> Iterator[None]:
    """Exposures of new units, evenly over time; `answer` gains them when it ends."""
    over = threading.Event()
    sender = threading.Thread(target=_send, args=(on, answer, over), name="traffic")
    sender.start()
    try:
        yield
    finally:
        over.set()
        sender.join()


def _send(on: Stage, answer: Answer, over: threading.Event) -> None:
    producer = Producer({"bootstrap.servers": on.bootstrap, "partitioner": "murmur2_random", "linger.ms": 5})
    topic, sent, began = Topics(on.prefix).exposures, 0, time.monotonic()
    while not over.wait(TICK_S):
        for i in range(sent, int((time.monotonic() - began) * TRAFFIC_PER_S)):
            experiment, arm = f"exp-{i % EXPERIMENTS}", ARMS[i % len(ARMS)]
            ts = answer.events * 1e-3 + START_TS
            exposure = {"experiment": experiment, "unit": f"t-{i}", "arm": arm, "propensity": 0.25, "ts": ts}
            producer.produce(topic, encode({**exposure, "exposure_id": f"t-{i}"}), f"t-{i}")
            answer.sums[experiment].setdefault(arm, [0, 0])[0] += 1
            sent += 1
        producer.poll(0)
    assert producer.flush(60) == 0, "not every event was delivered"
    answer.counters["exposures.applied"] += sent


def verdicts(found: Found) -> list[Verdict]:
    """The worst of every figure against what the project has promised."""
    slowest = found.restored_records / max(found.restored_s)
    return [
        at_least("restored:", slowest, RESTORED_PER_S_MIN, "records/s"),
        at_most("SIGTERM to ready again:", max(found.stopped_s), STOPPED_S_MAX, "s"),
        at_most("kill -9 to every partition at work again:", max(found.killed_s), KILLED_S_MAX, "s"),
        at_most("idle:", 100 * found.idle_share, 100 * IDLE_SHARE_MAX, "% of a core"),
    ]


def _table(found: Found, title: str) -> Table:
    table = new_table(title, ["what", "each round"], ())
    rate = ", ".join(f"{found.restored_records / s:,.0f}" for s in found.restored_s)
    for what, figures in (
        ("idle, % of a core", f"{100 * found.idle_share:.1f}"),
        ("SIGTERM to ready, s", ", ".join(map(seconds, found.stopped_s))),
        ("kill -9 to at work, s", ", ".join(map(seconds, found.killed_s))),
        ("restore from nothing, s", f"{', '.join(map(seconds, found.restored_s))} of {found.restored_records:,} records"),
        ("restored records/s", rate),
        ("start on nothing to ready, s", ", ".join(map(seconds, found.restored_ready_s))),
        ("sums", "exact" if found.exact else "[bold red]WRONG[/]"),
    ):
        table.add_row(what, figures)
    return table
