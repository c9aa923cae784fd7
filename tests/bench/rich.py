"""The reference job made richer, with its exact answer: more metrics, segments, propensities, periods, experiments, partitions.

A unit has one exposure and a reward of every metric; otherwise as in `tests.reference`: 2 % of the events are sent twice, 1 %
of the units' rewards come before their exposure, the others when a thousand more units have been exposed. The first metric is
binary, the others are values in thousandths. `rich` is what the bench sets against Kafka Streams, which keeps one metric and
nothing else.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from streams.topics import Topics
from tests.reference import ARMS, COUNTED, REWARD_DELAY_S, ROWS_BETWEEN, START_TS, Answer
from tests.sources import bulk_producer, make_topics, produce

__all__ = ["Shape", "events", "fill", "rich"]

EARLY, TWICE = 0.01, 0.02
UNIT_S = 1e-3
"""Event time from one unit's exposure to the next's."""
STEPS, STEPS_MAX = 1000, 10_000
"""Of a value metric: a unit's value is up to STEPS_MAX steps of 1 / STEPS."""
PROPENSITY_STEP = 0.05


@dataclass(frozen=True, slots=True)
class Shape:
    """What a job is made of."""

    units: int
    experiments: int = 10
    metrics: int = 1
    segments: int = 0
    propensities: int = 1
    """Distinct ones, at most 20."""
    periods: int = 1
    partitions: int = 4

    @property
    def period_s(self) -> float:
        """So long that the job's exposures lie in that many periods, or one more."""
        return self.units * UNIT_S / self.periods

    def spec(self, name: str) -> dict[str, Any]:
        """What the owner of an experiment would write."""
        metrics: dict[str, Any] = {"thumbs_up": "binary"}
        metrics |= {f"value-{j}": {"type": "value", "resolution": 1 / STEPS} for j in range(1, self.metrics)}
        return {
            "experiment": name,
            "arms": list(ARMS),
            "metrics": metrics,
            "objective": "thumbs_up",
            "segments": [f"segment-{s}" for s in range(self.segments)],
            "period": self.period_s if self.periods > 1 else 86400.0,
        }


def rich(units: int) -> Shape:
    """Three metrics, ten segments, five periods, twenty propensities."""
    return Shape(units, metrics=3, segments=10, propensities=20, periods=5)


_Event = tuple[str, str, dict[str, Any]]


def events(shape: Shape, seed: int, answer: Answer) -> Iterator[_Event]:
    """(dataset, unit, record) in log order; fills in `answer` on the way: [n, a metric's sum in steps, …] of every arm."""
    rng = random.Random(seed)
    pending: deque[list[_Event]] = deque()
    answer.counters = dict.fromkeys(COUNTED, 0)
    for i in range(shape.units):
        exposure, rewards = _unit(shape, rng, i, answer)
        early = rng.random() < EARLY
        if early:
            yield from _sent("rewards", rewards, rng, answer)
        yield from _sent("exposures", [exposure], rng, answer)
        if not early:
            pending.append(rewards)
        if len(pending) > ROWS_BETWEEN:
            yield from _sent("rewards", pending.popleft(), rng, answer)
    for rewards in pending:
        yield from _sent("rewards", rewards, rng, answer)


def _unit(shape: Shape, rng: random.Random, i: int, answer: Answer) -> tuple[_Event, list[_Event]]:
    """A unit's exposure and rewards, summed into the answer."""
    unit, experiment, arm = f"u-{i:09d}", f"exp-{i % shape.experiments}", rng.choice(ARMS)
    ts = START_TS + i * UNIT_S
    exposure = {
        "experiment": experiment, "unit": unit, "arm": arm, "ts": ts, "exposure_id": f"x-{i}", "weights_version": 311,
        "propensity": round(PROPENSITY_STEP * (1 + rng.randrange(shape.propensities)), 2),
        "segment": f"segment-{rng.randrange(shape.segments)}" if shape.segments else "pro",
        "covariates": {"requests_28d": i % 97},
    }  # fmt: skip
    sums = answer.sums.setdefault(experiment, {}).setdefault(arm, [0] * (1 + shape.metrics))
    sums[0] += 1
    rewards: list[_Event] = []
    for j in range(shape.metrics):
        steps = rng.randrange(STEPS_MAX) if j else int(rng.random() < 0.1 + 0.02 * ARMS.index(arm))
        sums[1 + j] += steps
        reward = {
            "unit": unit, "metric": f"value-{j}" if j else "thumbs_up", "value": steps / STEPS if j else steps,
            "ts": ts + REWARD_DELAY_S, "reward_id": f"r-{i}-{j}", "experiment": experiment,
        }  # fmt: skip
        rewards.append(("rewards", unit, reward))
    return ("exposures", unit, exposure), rewards


def _sent(dataset: str, group: list[_Event], rng: random.Random, answer: Answer) -> Iterator[_Event]:
    for event in group:
        yield event
        answer.counters[f"{dataset}.applied"] += 1
        if rng.random() < TWICE:
            answer.counters[f"{dataset}.duplicate"] += 1
            yield event


def fill(bootstrap: str, prefix: str, shape: Shape, seed: int = 7) -> Answer:
    """Make the sources and the experiments of a prefix, and return the exact answer."""
    topics, answer = Topics(prefix), Answer()
    specs = [shape.spec(f"exp-{e}") for e in range(shape.experiments)]
    make_topics(bootstrap, topics, shape.partitions, specs)
    producer = bulk_producer(bootstrap, partitioner="murmur2_random")
    for n, (dataset, unit, record) in enumerate(events(shape, seed, answer)):
        produce(producer, topics.name(dataset), unit, orjson.dumps(record))
        if n % 10_000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0, "not every event was delivered"
    return answer
