"""Covariates on real Kafka: what routers send is in the moments to the last step, over a kill, and saves variance."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from allocator.inference import adjusted_effects
from allocator.moments import layout_of
from deploy.kafka.broker import Broker
from streams.connection import Connection
from streams.producer import EventProducer
from streams.router import Router
from streams.topics import Topics
from streams.totals import read_totals
from tests.loops import Loop, spec
from tests.workers import WorkerProcess

pytestmark = pytest.mark.kafka

PREFIX = "covariates"
UNITS = 3000
WINDOW_S = 3600.0


async def test_covariates_are_counted_exactly_and_save_variance(kafka: Broker, tmp_path: Path) -> None:
    wanted = spec(
        metrics={"spent": {"type": "value", "window": WINDOW_S, "resolution": 0.01}},
        covariates=[{"name": "spent_28d", "resolution": 0.01}],
        constraints={"warmup": 10 * UNITS},
        holdback=0.1,
    )
    name, dice, steps, lacking = wanted.experiment, random.Random(3), 0, 0
    with WorkerProcess(kafka.bootstrap, PREFIX, tmp_path).running() as worker:
        async with (
            EventProducer(kafka.bootstrap, prefix=PREFIX) as events,
            Router(kafka.bootstrap, prefix=PREFIX, events=events) as router,
        ):
            loop = Loop(kafka.bootstrap, worker, events, router, PREFIX)
            await loop.apply(wanted)
            for i in range(UNITS):
                assignment, past = router.assign(name, f"u-{i}"), dice.randrange(10_000)
                known = i % 10 != 0
                router.expose(assignment, covariates={"spent_28d": past / 100} if known else {})
                events.reward(assignment.unit, "spent", past / 100 + dice.randrange(2000) / 100, experiment=name)
                if not assignment.holdback:
                    steps, lacking = steps + past * known, lacking + (not known)
                if i == UNITS // 2:
                    await events.flush()
                    worker.kill()
                    worker.start()
            await events.flush()
            await loop.detail(name, lambda found: found["counters"].get("rewards.applied") == UNITS)
    totals = (await read_totals(Connection(kafka.bootstrap), Topics(PREFIX), [name]))[name]
    evidence = totals.training(wanted)
    moments = sum(evidence.total[1:], evidence.total[0])
    assert [moments.sum(j) for j in wanted.covariate_places] == [steps, lacking]
    assert layout_of(moments.metrics).contradiction(moments.sums) is None
    (effect,) = adjusted_effects(wanted, evidence, "spent", now=max(evidence.periods) * wanted.period_s + 1e6)
    assert effect.units == moments.n
    assert effect.lacking == pytest.approx(0.1, abs=0.02)
    assert effect.saved > 0.5
    assert effect.balanced
