"""Traffic that goes on for as long as it is wanted, in the background, whose exact answer is known whenever it rests.

Every unit has one exposure and one reward. Some events are sent twice, some rewards come before their exposure or never get one,
some events are so late that they must not count. Event time is the generator's own, in order and the same in every run: whether
an event is late, and when a unit is forgotten, depends on no clock. The best arm changes again and again, so weights never rest.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from itertools import count
from types import TracebackType
from typing import Any, Self

import orjson
from confluent_kafka import Producer

from allocator.experiment import Experiment
from allocator.spec import load_experiment
from streams.admin import ensure_topics
from streams.connection import Connection
from streams.partitioning import partition_of
from streams.records import encode
from streams.topics import Topics
from tests.reference import ARMS, PARTITIONS, START_TS, Answer, Event

__all__ = ["Traffic", "settled_counters"]

STEP_S = 0.005
"""Event time from unit to unit."""
REWARD_DELAY_S = 2.5
WINDOW_S, GRACE_S = 15.0, 10.0
LATE_S = WINDOW_S + GRACE_S + 100.0
"""Beyond any doubt: batches in flight span a second or two of event time."""
LATE_FROM = 10_000
"""Units before the first late one: by then every partition has seen some."""
UNITS_PER_FLIP = 3000
TICK_S = 0.05
FLUSH_TIMEOUT_S = 120.0


class Traffic:
    """A thread that sends `units_per_s` while it is not paused; leave the block to end it.

    Parameters
    ----------
    partitions : of the sources; as many experiments, one decided on by each partition, and units take turns.
    publish_interval : of the experiments.
    batch_bytes : bounds the record batches, of which a worker's chunk takes whole ones.
    """

    def __init__(
        self,
        bootstrap: str,
        prefix: str,
        seed: int,
        units_per_s: float,
        *,
        partitions: int = PARTITIONS,
        publish_interval: str = "100ms",
        batch_bytes: int = 16_384,
    ) -> None:
        self.answer = Answer(counters=Counter())
        """Exact while paused."""
        self.specs = {name: _spec(name, publish_interval) for name in _names(partitions)}
        self._names = tuple(self.specs)
        self._bootstrap, self._topics, self._units_per_s, self._partitions = bootstrap, Topics(prefix), units_per_s, partitions
        self._rng, self._unit = random.Random(seed), 0
        self._pending: deque[Event] = deque()
        self._undelivered: list[str] = []
        self._running, self._rests, self._ended = threading.Event(), threading.Event(), False
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,  # a retry while the broker is away must neither repeat nor reorder
                "linger.ms": 20,
                "batch.size": batch_bytes,
                "queue.buffering.max.messages": 2_000_000,
                "log_level": 0,
            }
        )
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def __enter__(self) -> Self:
        asyncio.run(ensure_topics(Connection(self._bootstrap), self._topics, partitions=self._partitions))
        for name, spec in self.specs.items():
            self._send(self._topics.experiments, name, encode(spec))
        assert self._producer.flush(FLUSH_TIMEOUT_S) == 0, "not every spec was delivered"
        self._rests.set()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended = True
        self._running.set()
        self._thread.join()

    @property
    def units(self) -> int:
        """Units sent so far."""
        return self._unit

    def go(self) -> None:
        """Send, until told to pause."""
        self._rests.clear()
        self._running.set()

    def pause(self) -> Answer:
        """Send no more, wait until the broker has everything, and give the exact answer."""
        self._running.clear()
        self._rests.wait()
        assert self._thread.is_alive(), "traffic ended with an exception"
        assert self._producer.flush(FLUSH_TIMEOUT_S) == 0, "the broker did not take everything in time"
        assert not self._undelivered, f"{len(self._undelivered)} events were not delivered: {self._undelivered[0]}"
        return self.answer

    # -- the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while True:
                if not self._running.is_set():
                    self._rests.set()
                    self._running.wait()
                if self._ended:
                    return
                self._tick()
        finally:
            self._rests.set()

    def _tick(self) -> None:
        began = time.monotonic()
        for _ in range(max(1, round(self._units_per_s * TICK_S))):
            for dataset, unit, record in self._next():
                self._send(self._topics.name(dataset), unit, orjson.dumps(record))
        self._producer.poll(0)
        time.sleep(max(0.0, began + TICK_S - time.monotonic()))

    def _send(self, topic: str, key: str, value: bytes) -> None:
        self._producer.produce(topic, value, key, on_delivery=self._delivered)

    def _delivered(self, error: Any, _: Any) -> None:
        if error is not None:
            self._undelivered.append(str(error))

    # -- what is sent, and what it must give -------------------------------------------------------------------

    def _next(self) -> Iterator[Event]:
        """All events of the next moment: a unit's exposure, perhaps its reward, the rewards due by now, perhaps something odd."""
        i, rng, counters = self._unit, self._rng, self.answer.counters
        self._unit += 1
        name, ts, arm = self._names[i % len(self._names)], START_TS + i * STEP_S, rng.choice(ARMS)
        best = ARMS[i // UNITS_PER_FLIP % len(ARMS)]
        value = int(rng.random() < (0.3 if arm == best else 0.25))
        unit = f"u-{i:09d}"
        exposure, reward = _exposure(name, unit, arm, ts), _reward(name, unit, value, ts + REWARD_DELAY_S)
        early = rng.random() < 0.01
        if early:
            yield from self._rewarded(reward, arm)
        self.answer.sums.setdefault(name, {}).setdefault(arm, [0, 0])[0] += 1
        counters["exposures.applied"] += 1
        yield exposure
        if rng.random() < 0.02:
            counters["exposures.duplicate"] += 1
            yield exposure
        if not early:
            self._pending.append((*reward[:2], reward[2] | {"arm": arm}))  # unknown fields are ignored
        while self._pending and self._pending[0][2]["ts"] <= ts:
            due = self._pending.popleft()
            yield from self._rewarded(due, due[2]["arm"])
        if i >= LATE_FROM and rng.random() < 0.002:
            counters["exposures.late"] += 1
            counters["rewards.late"] += 1
            yield _exposure(name, f"late-{i}", arm, ts - LATE_S)
            yield _reward(name, f"late-{i}", 1, ts - LATE_S)
        if rng.random() < 0.002:
            counters["rewards.waiting"] += 1
            yield _reward(name, f"orphan-{i}", 1, ts)

    def _rewarded(self, reward: Event, arm: str) -> Iterator[Event]:
        record = reward[2]
        self.answer.sums.setdefault(record["experiment"], {}).setdefault(arm, [0, 0])[1] += record["value"]
        self.answer.counters["rewards.applied"] += 1
        yield reward
        if self._rng.random() < 0.02:
            self.answer.counters["rewards.duplicate"] += 1
            yield reward


def settled_counters(counters: Mapping[str, int]) -> dict[str, int]:
    """A reward that waits becomes unmatched when its unit is forgotten, sooner or later: both are counted as waiting here."""
    settled = Counter({name: n for name, n in counters.items() if n})
    settled["rewards.waiting"] += settled.pop("rewards.unmatched", 0)
    return {name: n for name, n in sorted(settled.items()) if n}


def _names(partitions: int) -> list[str]:
    """A name for each partition."""
    found: dict[int, str] = {}
    for name in map("exp-{}".format, count()):
        found.setdefault(partition_of(name, partitions), name)
        if len(found) == partitions:
            break
    return [found[p] for p in range(partitions)]


def _spec(name: str, publish_interval: str) -> Experiment:
    """As restless as it can be, and forgetful."""
    return load_experiment(
        {
            "experiment": name,
            "arms": list(ARMS),
            "metrics": {"thumbs_up": {"type": "binary", "window": f"{WINDOW_S:g}s"}},
            "grace": f"{GRACE_S:g}s",
            "publish_interval": publish_interval,
            "lease": "6s",
            "constraints": {"warmup": 10, "floor": 0.02, "max_shift": 1, "dead_band": 0},
        }
    )


def _exposure(experiment: str, unit: str, arm: str, ts: float) -> Event:
    record = {"experiment": experiment, "unit": unit, "arm": arm, "propensity": 0.25, "ts": ts, "exposure_id": f"x-{unit}"}
    return "exposures", unit, record


def _reward(experiment: str, unit: str, value: int, ts: float) -> Event:
    record = {"experiment": experiment, "unit": unit, "metric": "thumbs_up", "value": value, "ts": ts, "reward_id": f"r-{unit}"}
    return "rewards", unit, record
