"""From a reward sent to the weights in a router that contain it, at a steady rate.

The load is exposures and rewards in equal parts, spread evenly over time and over ten experiments whose arms are equally good, so
that P(best) never settles. Without warm-up, floor, dead-band and limited shift, every decision changes some share by a millionth
and is published. `publish_interval` is 100 ms.

Which weights contain a reward is read from what everybody can read:

1. Rewards of one experiment in one partition are counted in the order in which they were sent. A partial's cumulative counter
   `rewards.applied` of k therefore contains the first k of them, and its `seq` is the commit that counted them.
2. Weights list under `inputs` the newest `seq` of every partition they were decided on.
3. So the reward is in the first weights of its experiment with inputs[partition] ≥ the `seq` of the first partial with it.

The clock starts when the reward was due to be sent, not when a late sender got to it, and stops when the router's `on_update` is
called with these weights, which `assign` uses from then on. Where no decision followed because nothing changed, waiting for the
next one is in it. A unit's reward is sent a second after its exposure. Rewards of the first seconds are left out; one that no
weights contain at the end makes the run WRONG. The load and the router share a process beside the worker's and the broker's: on
two cores the three of them wait for each other, and that is in the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import threading
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any

import msgspec
import numpy as np
import orjson
from confluent_kafka import Producer
from rich.table import Table

from allocator.weights import Weights
from streams.partitioning import partitions_of
from streams.records import COUNTERS
from streams.router import Router
from streams.topics import Topics
from tests.bench.following import following
from tests.bench.protocol import cpu_s
from tests.bench.report import Verdict, at_most, machine, new_table, progress, publish
from tests.bench.stage import Stage, stage
from tests.bench.worker import TimedWorker
from tests.reference import ARMS, PARTITIONS
from tests.sources import make_topics

__all__ = [
    "Found",
    "Load",
    "Seen",
    "add_options",
    "latencies",
    "main",
    "measure",
    "metric_name",
    "missing",
    "newest_ages",
    "table",
    "until_counted",
]

RATE, SECONDS, WARM_UP_S, EXPERIMENTS = 10_000, 30.0, 5.0, 10
TICK_S = 0.005
REWARD_AFTER_S = 1.0
ALL_SEEN_TIMEOUT_S = 30.0
STEPS = 1000
"""Values that a reward of a value metric may have."""
P99_MS_MAX = 250.0

Slot = tuple[str, int]
"""(experiment, partition)"""


@dataclass
class Seen:
    """What was sent and what was seen, in order. Times are of one monotonic clock."""

    sent: dict[Slot, list[float]] = field(default_factory=lambda: defaultdict(list))
    """When each reward was due."""
    counted: dict[Slot, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """(rewards applied, seq) of each partial."""
    heard: dict[Slot, list[float]] = field(default_factory=lambda: defaultdict(list))
    """When each of these partials reached its reader."""
    weights: dict[str, list[tuple[float, Mapping[str, int]]]] = field(default_factory=lambda: defaultdict(list))
    """(when, inputs) of each publication."""
    sender_late_s: float = 0.0
    """The most the sender was behind."""


class Counted(msgspec.Struct):
    """The part of a partial that is looked at."""

    experiment: str
    partition: int
    seq: int
    counters: dict[str, int] = {}


class Found(msgspec.Struct, kw_only=True):
    """What was measured, milliseconds."""

    rewards: int
    partial_p50_ms: float
    partial_p99_ms: float
    """Until the committed partial that counts it has reached a reader: the join's share of it."""
    missing: int
    """Rewards that no weights contain."""
    events_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    newest_p50_ms: float
    newest_p99_ms: float
    """Of the newest reward in each weights."""
    worker_cpu_share: float
    """Of one core."""
    publications_per_s: float
    sender_late_ms_max: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command line of this bench."""
    parser.add_argument("--rate", type=int, default=RATE, help=f"events a second (default {RATE:,})")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"how long, after the warm-up (default {SECONDS:g})")
    parser.add_argument("--warm-up", type=float, default=WARM_UP_S, help=f"seconds left out (default {WARM_UP_S:g})")
    parser.add_argument("--experiments", type=int, default=EXPERIMENTS, help=f"default {EXPERIMENTS}")
    parser.add_argument("--publish-interval", default="100ms", help="of every experiment (default 100ms)")


def main(options: argparse.Namespace) -> bool:
    """Run the load and print the percentiles. Whether every reward was seen in weights."""
    before = machine()
    load = Load.of(options.rate, options.warm_up + options.seconds + REWARD_AFTER_S, options.experiments)
    with stage(options.bootstrap) as on:
        make_topics(on.bootstrap, Topics(on.prefix), PARTITIONS, _specs(options.experiments, options.publish_interval))
        worker = TimedWorker(on.bootstrap, on.prefix, on.directory / "worker")
        with worker.running():
            found = asyncio.run(measure(on, worker, load, options.warm_up))
            worker.stop()
    title = f"Reward sent → weights in a router, {options.rate:,} events/s, publish_interval {options.publish_interval}"
    publish({"bench": "latency", "found": found, **before}, [table(found, title)], [_verdict(found)], as_json=options.json)
    return found.missing == 0


def _specs(experiments: int, publish_interval: str) -> list[dict[str, Any]]:
    constraints = {"floor": 0, "warmup": 0, "max_shift": 1, "dead_band": 0}
    spec = {"arms": list(ARMS), "metrics": {"thumbs_up": "binary"}, "publish_interval": publish_interval}
    return [{"experiment": f"exp-{e}", **spec, "constraints": constraints} for e in range(experiments)]


async def measure(on: Stage, worker: TimedWorker, load: Load, warm_up_s: float) -> Found:
    """Send, watch, and wait until everything was seen. Of the weights those of whole experiments are looked at."""
    seen, over, news = Seen(), threading.Event(), asyncio.Event()

    def take(weights: Weights) -> None:
        if weights.segment is not None:
            return
        seen.weights[weights.experiment].append((time.monotonic(), weights.inputs))
        news.set()

    watcher = threading.Thread(target=_watch_partials, args=(on, seen, over), name="partials")
    async with Router(on.bootstrap, prefix=on.prefix) as router:
        router.on_update.append(take)
        watcher.start()
        try:
            progress.print(f"{load.per_s * (1 + load.metrics):,} events/s for {len(load.units) / load.per_s:g} s …")
            began, cpu = time.monotonic(), cpu_s(worker.pid())
            await _send(on, seen, load, began)
            ended, cpu = time.monotonic(), cpu_s(worker.pid()) - cpu
            await _until_all_seen(seen, news)
        finally:
            over.set()
            watcher.join()
    since = began + warm_up_s + REWARD_AFTER_S
    waited = latencies(seen, since)
    partials, newest = _percentiles(until_counted(seen, since)), _percentiles(newest_ages(seen, since))
    publications = sum(began <= at <= ended for of_one in seen.weights.values() for at, _ in of_one)
    percentiles = _percentiles(waited)
    return Found(
        rewards=len(waited),
        partial_p50_ms=partials[49],
        partial_p99_ms=partials[98],
        missing=missing(seen),
        events_per_s=len(waited) * (1 + load.metrics) / load.metrics / (ended - since),
        p50_ms=percentiles[49],
        p95_ms=percentiles[94],
        p99_ms=percentiles[98],
        newest_p50_ms=newest[49],
        newest_p99_ms=newest[98],
        max_ms=1000 * max(waited, default=float("inf")),
        worker_cpu_share=cpu / (ended - began),
        publications_per_s=publications / (ended - began),
        sender_late_ms_max=1000 * seen.sender_late_s,
    )


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: one unit after another, with its experiment, its arm and its partition; `per_s` units a second.

    A unit has one exposure and a reward of every metric. Without segments its exposure names none.
    """

    units: list[str]
    experiments: list[str]
    arms: list[str]
    partitions: list[int]
    draws: list[int]
    """A unit's luck, of which its segment and values are made."""
    per_s: int
    metrics: int = 1
    segments: int = 0

    @classmethod
    def of(cls, rate: int, seconds: float, experiments: int, metrics: int = 1, segments: int = 0) -> Load:
        """Units for so many seconds, all their events together at that rate."""
        per_s = rate // (1 + metrics)
        units = [f"u-{i:09d}" for i in range(int(seconds * per_s))]
        placed = partitions_of([unit.encode() for unit in units], PARTITIONS).tolist()
        names = [f"exp-{i % experiments}" for i in range(len(units))]
        arms = [ARMS[i // experiments % len(ARMS)] for i in range(len(units))]
        draws = np.random.default_rng(7).integers(0, 1 << 30, size=len(units)).tolist()
        return cls(units, names, arms, placed, draws, per_s, metrics, segments)

    def exposure(self, i: int, ts: float) -> bytes:
        """The record of unit i."""
        record = {"experiment": self.experiments[i], "unit": self.units[i], "arm": self.arms[i], "propensity": 0.25, "ts": ts}
        if self.segments:
            record["segment"] = f"segment-{(self.draws[i] >> 20) % self.segments}"
        return orjson.dumps({**record, "exposure_id": f"x-{i}"})

    def rewards(self, i: int, ts: float) -> list[bytes]:
        """0 or 1, or of the further metrics a value, without regard to the arm."""
        record = {"experiment": self.experiments[i], "unit": self.units[i], "ts": ts}
        return [
            orjson.dumps(
                {
                    **record,
                    "metric": metric_name(j),
                    "value": (self.draws[i] >> j) % (STEPS if j else 2),
                    "reward_id": f"r-{i}-{j}",
                }
            )
            for j in range(self.metrics)
        ]


def metric_name(j: int) -> str:
    """Of the metric in that place."""
    return f"value-{j}" if j else "thumbs_up"


async def _send(on: Stage, seen: Seen, load: Load, began: float) -> None:
    """A unit's exposure with the reward of the unit exposed a while before."""
    topics, behind = Topics(on.prefix), int(REWARD_AFTER_S * load.per_s)
    producer = Producer({"bootstrap.servers": on.bootstrap, "linger.ms": 5, "compression.type": "lz4"})
    epoch, tick = time.time() - time.monotonic(), max(1, int(TICK_S * load.per_s))
    for i, unit in enumerate(load.units):
        due = began + i / load.per_s
        if i % tick == 0:
            producer.poll(0)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            seen.sender_late_s = max(seen.sender_late_s, time.monotonic() - due)
        producer.produce(topics.exposures, load.exposure(i, epoch + due), unit, partition=load.partitions[i])
        if (of := i - behind) >= 0:
            at = seen.sent[load.experiments[of], load.partitions[of]]
            for reward in load.rewards(of, epoch + due):
                at.append(due)
                producer.produce(topics.rewards, reward, load.units[of], partition=load.partitions[of])
    assert await asyncio.to_thread(producer.flush, 60) == 0, "not every event was delivered"


def _watch_partials(on: Stage, seen: Seen, over: threading.Event) -> None:
    """Note how many rewards each partial has counted."""
    decode = msgspec.json.Decoder(Counted).decode
    with following(on.bootstrap, Topics(on.prefix).partials) as consumer:
        while not over.is_set():
            message = consumer.poll(0.2)
            if message is None or message.error() is not None or not (message.key() or b"").endswith(b"|%d" % COUNTERS):
                continue
            partial = decode(message.value() or b"")
            applied = partial.counters.get("rewards.applied", 0)
            slot = partial.experiment, partial.partition
            seen.heard[slot].append(time.monotonic())
            seen.counted[slot].append((applied, partial.seq))


async def _until_all_seen(seen: Seen, news: asyncio.Event) -> None:
    """Return when some weights contain the last reward, or when they should have."""
    with suppress(TimeoutError):
        async with asyncio.timeout(ALL_SEEN_TIMEOUT_S):
            while missing(seen):
                news.clear()
                await news.wait()


def latencies(seen: Seen, since: float) -> list[float]:
    """Seconds that each reward due at `since` or later took; those in no weights left out."""
    waited: list[float] = []
    for (experiment, partition), due in seen.sent.items():
        taken = 0
        for at, inputs in seen.weights.get(experiment, []):
            contained = _contained(seen.counted.get((experiment, partition), []), inputs.get(str(partition), 0))
            waited.extend(at - sent for sent in due[taken:contained] if sent >= since)
            taken = max(taken, contained)
    return waited


def missing(seen: Seen) -> int:
    """Rewards that no weights contain."""
    found = 0
    for (experiment, partition), due in seen.sent.items():
        inputs = [inputs.get(str(partition), 0) for _, inputs in seen.weights.get(experiment, [])]
        found += len(due) - _contained(seen.counted.get((experiment, partition), []), max(inputs, default=0))
    return found


def newest_ages(seen: Seen, since: float) -> list[float]:
    """Of all weights, seconds since the newest of the rewards that they are the first to contain was due, `since` or later."""
    ages: list[float] = []
    for experiment, published in seen.weights.items():
        partitions = {partition: due for (of, partition), due in seen.sent.items() if of == experiment}
        taken = dict.fromkeys(partitions, 0)
        for at, inputs in published:
            newest = float("-inf")
            for partition, due in partitions.items():
                contained = _contained(seen.counted.get((experiment, partition), []), inputs.get(str(partition), 0))
                if contained > taken[partition]:
                    taken[partition], newest = contained, max(newest, due[contained - 1])
            if newest >= since:
                ages.append(at - newest)
    return ages


def until_counted(seen: Seen, since: float) -> list[float]:
    """Seconds that each reward due at `since` or later took until a reader had the partial that counts it."""
    waited: list[float] = []
    for slot, due in seen.sent.items():
        taken = 0
        for (applied, _), at in zip(seen.counted.get(slot, []), seen.heard.get(slot, []), strict=False):
            waited.extend(at - sent for sent in due[taken:applied] if sent >= since)
            taken = max(taken, applied)
    return waited


def _percentiles(waited: Sequence[float]) -> list[float]:
    """The 99 percentiles in milliseconds; infinite without rewards."""
    return [1000 * q for q in quantiles(waited, n=100)] if len(waited) > 1 else [float("inf")] * 99


def _contained(counted: Sequence[tuple[int, int]], seq: int) -> int:
    """Rewards that the partials up to commit `seq` have counted."""
    known = bisect_right(counted, seq, key=lambda partial: partial[1])
    return counted[known - 1][0] if known else 0


def _verdict(found: Found) -> Verdict:
    return at_most("p99:", found.p99_ms, P99_MS_MAX, "ms")


def table(found: Found, title: str) -> Table:
    table = new_table(title, ["what"], ["figure"])
    for what, figure in (
        ("rewards", f"{found.rewards:,}"),
        ("in no weights", "0" if not found.missing else f"[bold red]{found.missing:,}: WRONG[/]"),
        ("events/s", f"{found.events_per_s:,.0f}"),
        ("p50, ms", f"{found.p50_ms:.0f}"),
        ("p95, ms", f"{found.p95_ms:.0f}"),
        ("p99, ms", f"{found.p99_ms:.0f}"),
        ("of it until the partial: p50, ms", f"{found.partial_p50_ms:.0f}"),
        ("of it until the partial: p99, ms", f"{found.partial_p99_ms:.0f}"),
        ("of the newest reward in weights: p50, ms", f"{found.newest_p50_ms:.0f}"),
        ("of the newest reward in weights: p99, ms", f"{found.newest_p99_ms:.0f}"),
        ("slowest, ms", f"{found.max_ms:.0f}"),
        ("worker, % of a core", f"{100 * found.worker_cpu_share:.0f}"),
        ("weights published/s", f"{found.publications_per_s:.0f}"),
        ("sender at most late, ms", f"{found.sender_late_ms_max:.0f}"),
    ):
        table.add_row(what, figure)
    return table
