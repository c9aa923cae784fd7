"""Pending rewards on real Kafka: of two arms that are equally good, the one that answers late keeps its share."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.kafka.broker import Broker
from streams.producer import EventProducer
from streams.records import COUNTERS
from streams.router import Router
from tests.loops import Loop, spec
from tests.workers import WorkerProcess, partials

pytestmark = pytest.mark.kafka

PREFIX = "pending"
WINDOW_S, PERIOD_S = 8000.0, 500.0
UNITS, RATE = 4000, 0.3
LAG_S = {"a": 2000.0, "b": 100.0}
"""Mean of an exponential one."""


@pytest.fixture
def worker(kafka: Broker, tmp_path: Path) -> Iterator[WorkerProcess]:
    with WorkerProcess(kafka.bootstrap, PREFIX, tmp_path).running() as running:
        yield running
        assert running.stop() == 0


async def test_an_arm_that_answers_late_keeps_its_share(kafka: Broker, worker: WorkerProcess) -> None:
    """Events carry their time: all happened within the last window and a half, most of them lately."""
    wanted = spec(
        metrics={"thumbs_up": {"type": "binary", "window": WINDOW_S}},
        period=PERIOD_S,
        grace="1h",
        constraints={"warmup": 2 * UNITS, "floor": 0.0, "max_shift": 1, "dead_band": 0},
    )
    async with (
        EventProducer(kafka.bootstrap, prefix=PREFIX) as events,
        Router(kafka.bootstrap, prefix=PREFIX, events=events) as router,
    ):
        loop = Loop(kafka.bootstrap, worker, events, router, PREFIX)
        name = await loop.apply(wanted)
        sent = _play(events, name)
        await events.flush()
        await loop.all_counted()
        found = await loop.detail(name, lambda found: {arm["n"] for arm in found["arms"]} == {UNITS})
    rows = {arm["id"]: arm for arm in found["arms"]}
    assert found["counters"]["rewards.applied"] == sum(sent.values())
    assert sent["a"] < 0.8 * sent["b"], "the control: counted as zeros, what is pending would decide"
    assert 0.05 < rows["a"]["p_best"] < 0.95
    assert rows["a"]["pending"] > 1000
    assert 0 < rows["b"]["pending"] < 300
    newest = [partial for partial in partials(kafka.bootstrap, PREFIX) if partial.experiment == name]
    cells = [partial.cell for partial in newest if partial.cell is not None]
    counted = {arm: sum(sum(row.values()) for cell in cells if cell.arm == arm for row in cell.lags) for arm in sent}
    assert counted == sent
    assert all(p.read_until for p in newest if p.period == COUNTERS)


def _play(events: EventProducer, name: str) -> dict[str, int]:
    """Events in order of time, as far as they have happened; how many rewards an arm."""
    rng, now = random.Random(5), time.time()
    happened: list[tuple[float, str, str, bool]] = []
    sent = dict.fromkeys(LAG_S, 0)
    for arm, mean_s in LAG_S.items():
        for i in range(UNITS):
            exposed = now - rng.uniform(0, 1.5 * WINDOW_S if i % 5 == 0 else 0.4 * WINDOW_S)
            unit = f"{name}-{arm}-{i}"
            happened.append((exposed, unit, arm, False))
            rewarded = exposed + rng.expovariate(1 / mean_s)
            if rng.random() < RATE and rewarded <= min(now, exposed + WINDOW_S):
                happened.append((rewarded, unit, arm, True))
                sent[arm] += 1
    for ts, unit, arm, is_reward in sorted(happened):
        if is_reward:
            events.reward(unit, "thumbs_up", 1.0, experiment=name, ts=ts, reward_id=f"r-{unit}")
        else:
            events.exposure(name, unit, arm, 0.5, ts=ts, exposure_id=f"x-{unit}")
    return sent
