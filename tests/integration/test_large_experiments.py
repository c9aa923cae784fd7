"""Experiments as large as a spec may make them: what they have counted goes out in records and commits that fit."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.kafka.broker import Broker
from streams.join.agent import PARTIALS_MAX
from streams.records import Exposure, Partial, Reward, encode
from streams.topics import Topics
from tests.loops import joined
from tests.sources import bulk_producer, make_topics, produce
from tests.workers import WorkerProcess, arm_sums, read_topic

pytestmark = pytest.mark.kafka
NOW = 1_764_000_000.0


def spec(arms: int, segments: int, metrics: int) -> dict[str, Any]:
    return {
        "experiment": "large",
        "arms": [f"arm-{k}" for k in range(arms)],
        "segments": [f"segment-{s}" for s in range(segments)],
        "metrics": {f"metric-{j}": "binary" for j in range(metrics)},
        "objective": "metric-0",
    }


def play(kafka: Broker, prefix: str, of: dict[str, Any], partitions: int) -> dict[str, list[int]]:
    """A unit in every cell, with every reward; {arm: [units, rewards of the first metric]}."""
    topics = Topics(prefix)
    make_topics(kafka.bootstrap, topics, partitions, [of])
    producer = bulk_producer(kafka.bootstrap, partitioner="murmur2_random")
    for arm in of["arms"]:
        for segment in of["segments"]:
            unit = f"{arm}-{segment}"
            exposed = Exposure(experiment="large", unit=unit, arm=arm, propensity=0.5, ts=NOW, exposure_id="x", segment=segment)
            produce(producer, topics.exposures, unit, encode(exposed))
            for metric in of["metrics"]:
                reward = Reward(unit=unit, metric=metric, value=1.0, ts=NOW + 1, reward_id=metric, experiment="large")
                produce(producer, topics.rewards, unit, encode(reward))
    assert producer.flush(60) == 0
    return {arm: [len(of["segments"])] * 2 for arm in of["arms"]}


@pytest.mark.parametrize("arms, segments, metrics", [(100, 1, 50), (10, 10, 50), (4, 1000, 5)])
async def test_every_limit_is_one_that_a_worker_bears(
    kafka: Broker, prefix: str, tmp_path: Path, arms: int, segments: int, metrics: int
) -> None:
    of = spec(arms, segments, metrics)
    answer = play(kafka, prefix, of, 4)
    worker = WorkerProcess(kafka.bootstrap, prefix, tmp_path)
    with worker.running():
        async with joined(kafka.bootstrap, worker, prefix) as loop:
            await loop.all_counted()
            await loop.until(lambda: arm_sums(kafka.bootstrap, prefix).get("large"), lambda found: found == answer)
            seen = {arm: n for arm, (n, _) in answer.items()}
            await loop.detail("large", lambda found: {arm["id"]: arm["n"] for arm in found["arms"]} == seen)


async def test_a_worker_that_starts_publishes_everything_in_commits_that_fit(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    of = spec(100, 110, 1)
    answer = play(kafka, prefix, of, 1)
    worker = WorkerProcess(kafka.bootstrap, prefix, tmp_path)

    def published() -> list[Partial]:
        found = (msgspec.json.decode(m.value(), type=Partial) for m in read_topic(kafka.bootstrap, Topics(prefix).partials))
        return [partial for partial in found if partial.cell is not None]

    with worker.running():
        async with joined(kafka.bootstrap, worker, prefix) as loop:
            await loop.all_counted()
            await loop.until(lambda: arm_sums(kafka.bootstrap, prefix).get("large"), lambda found: found == answer)
            before = max(partial.seq for partial in published())
            worker.kill()
            worker.start()
            cells = sum(n for n, _ in answer.values())
            again = await loop.until(
                lambda: [partial for partial in published() if partial.seq > before], lambda found: len(found) >= cells
            )
    commits = Counter(partial.seq for partial in again)
    assert max(commits.values()) <= PARTIALS_MAX < cells
    assert len(again) == cells
