"""The reference job: many units with one exposure and one reward each, some doubled, some early, and the exact answer.

2 % of the events are sent twice; 1 % of the rewards come before their exposure. Run as a program it fills the topics of a prefix:

    python -m tests.reference BOOTSTRAP PREFIX --units 1000000
"""

from __future__ import annotations

import argparse
import random
from collections import Counter, deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import orjson

from streams.partitioning import partition_of
from streams.topics import Topics
from tests.sources import bulk_producer, make_topics, produce

__all__ = ["Answer", "fill"]

ARMS = ("a", "b", "c", "d")
EXPERIMENTS = 10
PARTITIONS = 4
START_TS = 1_764_000_000.0
REWARD_DELAY_S = 12.5
ROWS_BETWEEN = 1000
"""Units whose exposures are sent between a unit's exposure and its reward."""


@dataclass
class Answer:
    """What exact counting must give."""

    sums: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    """{experiment: {arm: [n, sum]}}"""
    counters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))

    @property
    def events(self) -> int:
        """Events read, which is more than were sent if some are forwarded."""
        return sum(self.counters.values())


COUNTED = ("exposures.applied", "exposures.duplicate", "rewards.applied", "rewards.duplicate")
Event = tuple[str, str, dict[str, Any]]


def events(units: int, seed: int, answer: Answer) -> Iterator[Event]:
    """(dataset, unit, record) in log order; fills in `answer` on the way."""
    rng = random.Random(seed)
    pending: deque[Event] = deque()
    for i in range(units):
        unit, experiment, arm = f"u-{i:09d}", f"exp-{i % EXPERIMENTS}", rng.choice(ARMS)
        ts = START_TS + i * 1e-3
        value = int(rng.random() < 0.1 + 0.02 * ARMS.index(arm))
        exposure = ("exposures", unit, {
            "experiment": experiment, "unit": unit, "arm": arm, "propensity": 0.25, "weights_version": 311, "ts": ts,
            "exposure_id": f"x-{i}", "segment": "pro", "covariates": {"requests_28d": i % 97},
        })  # fmt: skip
        reward = ("rewards", unit, {
            "unit": unit, "metric": "thumbs_up", "value": value, "ts": ts + REWARD_DELAY_S, "reward_id": f"r-{i}",
            "experiment": experiment,
        })  # fmt: skip
        sums = answer.sums.setdefault(experiment, {}).setdefault(arm, [0, 0])
        sums[0] += 1
        sums[1] += value
        if early := rng.random() < 0.01:
            yield reward
        yield exposure
        answer.counters["exposures.applied"] += 1
        answer.counters["rewards.applied"] += 1
        if rng.random() < 0.02:
            answer.counters["exposures.duplicate"] += 1
            yield exposure
        if not early:
            pending.append(reward)
        if len(pending) > ROWS_BETWEEN:
            yield from _maybe_twice(pending.popleft(), rng, answer)
    for reward in pending:
        yield from _maybe_twice(reward, rng, answer)


def _maybe_twice(reward: Event, rng: random.Random, answer: Answer) -> Iterator[Event]:
    yield reward
    if rng.random() < 0.02:
        answer.counters["rewards.duplicate"] += 1
        yield reward


def fill(
    bootstrap: str,
    prefix: str,
    units: int,
    seed: int = 7,
    partitions: int = PARTITIONS,
    batch_bytes: int = 262_144,
    by_default: Collection[str] = (),
) -> Answer:
    """Make the sources and the experiments of a prefix, and return the exact answer.

    `batch_bytes` bounds the record batches, of which a worker's chunk takes whole ones. Who sends the datasets `by_default` has
    left librdkafka's partitioner as it is.
    """
    topics, answer, forwarded = Topics(prefix), Answer(), Counter[str]()
    common = {"arms": list(ARMS), "metrics": {"thumbs_up": "binary"}, "objective": "thumbs_up"}
    make_topics(bootstrap, topics, partitions, [{"experiment": f"exp-{i}", **common} for i in range(EXPERIMENTS)])
    producer = bulk_producer(bootstrap, batch_bytes=batch_bytes, partitioner="murmur2_random")
    careless = bulk_producer(bootstrap, batch_bytes=batch_bytes)
    for n, (dataset, unit, record) in enumerate(events(units, seed, answer)):
        if dataset in by_default:
            produce(careless, topics.name(dataset), unit, orjson.dumps(record))
            forwarded[f"{dataset}.forwarded"] += partition_of(unit, partitions) != crc32(unit.encode()) % partitions
        else:
            produce(producer, topics.name(dataset), unit, orjson.dumps(record))
        if n % 10_000 == 0:
            producer.poll(0)
            careless.poll(0)
    assert producer.flush(60) == careless.flush(60) == 0, "not every event was delivered"
    answer.counters.update(forwarded)
    return answer


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bootstrap")
    parser.add_argument("prefix")
    parser.add_argument("--units", type=int, default=1_000_000)
    options = parser.parse_args()
    made = fill(options.bootstrap, options.prefix, options.units)
    print(orjson.dumps({"events": made.events, "counters": made.counters, "sums": made.sums}).decode())
