"""The bounded job: units that come and go, a few live at a time, and one that is hot; and the exact answer.

Every unit has an exposure and a reward a moment later, and 2 % of the events come twice. Event time goes on at such a pace that
`LIVE_SHARE` of the units are within their horizon. For a while in the middle every second pair of events is of one unit alone,
each an exposure and a reward of its own. Run as a program it fills the topics of a prefix and prints the answer:

    python -m tests.bench.churn BOOTSTRAP PREFIX --units 10000000
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import msgspec
from confluent_kafka import Producer

from streams.join.fold import REWARDS_MAX
from streams.partitioning import partition_of
from streams.records import encode
from streams.topics import Topics
from tests.sources import bulk_producer, make_topics, produce

__all__ = ["HORIZON_S", "LIVE_SHARE", "START_TS", "Churn", "fill", "pass_time"]

PARTITIONS = 4
ARMS = ("a", "b", "c", "d")
EXPERIMENTS = 10
HOT = "hot"
"""The hot unit and its experiment, whose metric is the costliest to keep: the last of many values."""
WINDOW_S, GRACE_S = 1200.0, 300.0
HORIZON_S = WINDOW_S + GRACE_S
LIVE_SHARE = 0.15
HOT_SHARE = 0.1
"""Events of the hot unit for each unit, in all."""
HOT_FROM = 0.4
START_TS = 1_764_000_000.0
ROWS_BETWEEN = 1000
"""Units whose exposures are sent between a unit's exposure and its reward."""
REPEATED_EVERY = 50

EXPOSURE = (
    b'{"experiment":"exp-%d","unit":"u-%09d","arm":"%b","propensity":0.25,"weights_version":311,"ts":%.3f,"exposure_id":"x-%d",'
    b'"segment":"pro","covariates":{"requests_28d":%d}}'
)
REWARD = b'{"unit":"u-%09d","metric":"thumbs_up","value":%d,"ts":%.3f,"reward_id":"r-%d","experiment":"exp-%d"}'
HOT_EXPOSURE = b'{"experiment":"hot","unit":"hot","arm":"a","propensity":0.5,"ts":%.3f,"exposure_id":"x-%d"}'
HOT_REWARD = b'{"unit":"hot","metric":"score","value":%d,"ts":%.3f,"reward_id":"r-%d","experiment":"hot"}'


class Churn(msgspec.Struct):
    """The job's size, and what exact counting of it must give."""

    units: int
    sums: dict[str, dict[str, list[int]]] = {}
    """{experiment: {arm: [n, sum of its metric]}}"""
    counters: dict[str, int] = {}

    @property
    def events(self) -> int:
        return sum(self.counters.values())

    @property
    def end_ts(self) -> float:
        return self.ts(self.units)

    def ts(self, i: int) -> float:
        """When the i-th unit comes."""
        return START_TS + i / self.units * HORIZON_S / LIVE_SHARE

    def count(self, counter: str, experiment: str = "", arm: str = "", value: int = 0) -> None:
        """An event with this outcome, and what it adds to the sums if it adds something."""
        self.counters[counter] = self.counters.get(counter, 0) + 1
        if experiment:
            sums = self.sums.setdefault(experiment, {}).setdefault(arm, [0, 0])
            sums[0] += counter == "exposures.applied"
            sums[1] += value


Event = tuple[str, bytes, bytes]


def events(job: Churn) -> Iterator[Event]:
    """(dataset, key, value) in log order; counts into `job` on the way."""
    hot_from, hots = int(HOT_FROM * job.units), int(HOT_SHARE * job.units / 2)
    for i in range(job.units + ROWS_BETWEEN):
        if i < job.units:
            yield from _exposure(job, i)
        if i >= ROWS_BETWEEN:
            yield from _reward(job, i - ROWS_BETWEEN)
        if 0 <= i - hot_from < hots:
            yield from _hot(job, i, i - hot_from)


def _drawn(i: int) -> tuple[str, int, bool]:
    """A unit's arm, its reward, and whether its events come twice: from its number, so that nothing need be remembered."""
    drawn = i * 2_654_435_761 & 0xFFFFFFFF
    arm = drawn >> 30
    return ARMS[arm], int((drawn >> 8) % 100 < 10 + 2 * arm), (drawn >> 16) % REPEATED_EVERY == 0


def _exposure(job: Churn, i: int) -> Iterator[Event]:
    arm, _, twice = _drawn(i)
    experiment = i % EXPERIMENTS
    event = ("exposures", b"u-%09d" % i, EXPOSURE % (experiment, i, arm.encode(), job.ts(i), i, i % 97))
    yield event
    job.count("exposures.applied", f"exp-{experiment}", arm)
    if twice:
        yield event
        job.count("exposures.duplicate")


def _reward(job: Churn, i: int) -> Iterator[Event]:
    arm, value, twice = _drawn(i)
    experiment = i % EXPERIMENTS
    event = ("rewards", b"u-%09d" % i, REWARD % (i, value, job.ts(i) + 1.0, i, experiment))
    yield event
    job.count("rewards.applied", f"exp-{experiment}", arm, value)
    if twice:
        yield event
        job.count("rewards.duplicate")


def _hot(job: Churn, i: int, n: int) -> Iterator[Event]:
    """The n-th pair of the hot unit. The last reward that it may have is the value that stays."""
    value = n % 7
    yield "exposures", b"hot", HOT_EXPOSURE % (job.ts(i), n)
    job.count("exposures.repeated" if n else "exposures.applied", HOT, "a")
    yield "rewards", b"hot", HOT_REWARD % (value, job.ts(i), n)
    if n < REWARDS_MAX:
        job.count("rewards.applied", HOT, "a")
        job.sums[HOT]["a"][1] = value * 1_000_000
    else:
        job.count("rewards.overflow")


def fill(bootstrap: str, prefix: str, units: int, partitions: int = PARTITIONS) -> Churn:
    """Make the sources and the experiments of a prefix, and return the exact answer."""
    topics, job = Topics(prefix), Churn(units)
    make_topics(bootstrap, topics, partitions, _specs())
    _send(bulk_producer(bootstrap, queued=500_000, partitioner="murmur2_random"), topics, events(job))
    return job


def pass_time(bootstrap: str, prefix: str, job: Churn, ts: float, partitions: int = PARTITIONS) -> None:
    """Have event time reach `ts` on every partition: a unit each, that comes then."""
    units: dict[int, str] = {}
    n = 0
    while len(units) < partitions:
        unit = f"clock-{ts:.0f}-{n}"
        units.setdefault(partition_of(unit, partitions), unit)
        n += 1
    made: list[Event] = []
    for n, unit in enumerate(units.values()):
        exposure = {"experiment": "exp-0", "unit": unit, "arm": "a", "propensity": 0.25, "ts": ts, "exposure_id": f"x-{n}"}
        reward = {"unit": unit, "metric": "thumbs_up", "value": 1, "ts": ts, "reward_id": f"r-{n}", "experiment": "exp-0"}
        made += [("exposures", unit.encode(), encode(exposure)), ("rewards", unit.encode(), encode(reward))]
        job.count("exposures.applied", "exp-0", "a")
        job.count("rewards.applied", "exp-0", "a", 1)
    _send(bulk_producer(bootstrap, queued=500_000, partitioner="murmur2_random"), Topics(prefix), iter(made))


def _specs() -> list[dict[str, Any]]:
    window, grace = f"{WINDOW_S:.0f}s", f"{GRACE_S:.0f}s"
    thumbs_up = {"thumbs_up": {"type": "binary", "window": window}}
    score = {"score": {"type": "value", "window": window, "aggregate": "last"}}
    specs: list[dict[str, Any]] = [
        {"experiment": f"exp-{i}", "arms": list(ARMS), "metrics": thumbs_up, "objective": "thumbs_up", "grace": grace}
        for i in range(EXPERIMENTS)
    ]
    return [*specs, {"experiment": HOT, "arms": ["a", "b"], "metrics": score, "objective": "score", "grace": grace}]


def _send(producer: Producer, topics: Topics, made: Iterator[Event]) -> None:
    names = {dataset: topics.name(dataset) for dataset in ("exposures", "rewards")}
    for n, (dataset, key, value) in enumerate(made):
        produce(producer, names[dataset], key, value)
        if n % 10_000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0, "not every event was delivered"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bootstrap")
    parser.add_argument("prefix")
    parser.add_argument("--units", type=int, default=10_000_000)
    options = parser.parse_args()
    print(msgspec.json.encode(fill(options.bootstrap, options.prefix, options.units)).decode())
