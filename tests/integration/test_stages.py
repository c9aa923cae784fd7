"""The ramp on real Kafka: up by units and by a person's word, and back at a breach, by a worker that was killed in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from allocator.standing import Breach
from allocator.weights import Weights, slice_key
from deploy.kafka.broker import Broker
from streams.producer import EventProducer
from streams.records import encode
from streams.router import Router
from tests.loops import Loop, command, spec, within
from tests.workers import WorkerProcess

pytestmark = pytest.mark.kafka

PREFIX = "stages"
RAMP = [{"enrolment": "1%", "min_units": 40}, {"enrolment": "20%", "advance": "manual"}, {"enrolment": "60%"}]


@pytest.fixture
def worker(kafka: Broker, tmp_path: Path) -> Iterator[WorkerProcess]:
    with WorkerProcess(kafka.bootstrap, PREFIX, tmp_path).running() as running:
        yield running


async def weights_where(router: Router, name: str, condition: Callable[[Weights], object]) -> Weights:
    version = 0
    while True:
        weights = await within(router.changed(name, after_version=version))
        if condition(weights):
            return weights
        version = weights.version


async def break_a_guardrail(loop: Loop, weights: Weights) -> Breach:
    """As if the decision after `weights` had found it."""
    breach = Breach(
        metric="thumbs_up",
        arm="b",
        action="evict",
        version=weights.version + 1,
        ts=time.time(),
        units=40,
        estimate=-0.3,
        bound=-0.1,
    )
    standing = msgspec.structs.replace(weights.standing, breaches=(breach,))
    broken = msgspec.structs.replace(weights, version=weights.version + 1, standing=standing, ts=breach.ts)
    async with AIOKafkaProducer(**loop.connection.aiokafka()) as producer:
        await producer.send_and_wait(loop.topics.weights, encode(broken), slice_key(weights.experiment, None).encode())
    return breach


async def test_up_by_units_and_by_a_word_and_back_at_a_breach(kafka: Broker, worker: WorkerProcess) -> None:
    async with (
        EventProducer(kafka.bootstrap, prefix=PREFIX) as events,
        Router(kafka.bootstrap, prefix=PREFIX, events=events) as router,
    ):
        loop = Loop(kafka.bootstrap, worker, events, router, PREFIX)
        name = await loop.apply(
            spec(stages=RAMP, constraints={"warmup": 10**6}, guardrails={"thumbs_up": {"tolerance": 0.5, "action": "evict"}})
        )
        first = await weights_where(router, name, lambda found: found.standing.stage_since)
        assert (first.standing.stage, first.enrolment.ppm) == (0, 10_000)

        loop.expose(name, units=15)
        await events.flush()
        detail = await loop.detail(name, lambda found: sum(arm["n"] for arm in found["arms"]) == 30)
        assert detail["stage"]["waits_for"] == "30 of 40 units"
        loop.expose(name, units=25)
        await events.flush()
        second = await weights_where(router, name, lambda found: found.standing.stage == 1)
        assert second.enrolment.ppm == 200_000
        assert second.reason.startswith("stage 2 of 3: 20 % enrolled after ")
        assert second.standing.stage_units >= 40
        waiting = await loop.detail(name, lambda found: found["stage"]["state"] == "unspoken")
        assert waiting["stage"]["waits_for"] == f"waits for a person: allocator advance {name}"
        assert "2 of 3, 20.0 %" in await command(kafka.bootstrap, PREFIX, "list")

        said = await command(kafka.bootstrap, PREFIX, "advance", name, "--why", "all is well")
        assert said == f"{name}: stage 2 of 3 may be left once its gate holds, revision 2\n"
        third = await weights_where(router, name, lambda found: found.standing.stage == 2)
        assert third.enrolment.ppm == 600_000
        assert "a person's word: all is well" in third.reason
        assert "# stage 3 of 3: 60.0 % enrolled, for" in await command(kafka.bootstrap, PREFIX, "show", name)

        worker.kill()
        broken = await break_a_guardrail(loop, third)
        worker.start()
        back = await weights_where(router, name, lambda found: found.standing.stage == 1)
        assert back.version > third.version + 1
        assert (back.enrolment.ppm, back.standing.breaches) == (200_000, (broken,))
        assert back.reason.startswith("stage 2 of 3: 20 % enrolled, rolled back: b broke thumbs_up (evict)")

        await command(kafka.bootstrap, PREFIX, "advance", name, "--why", "again")
        kept: Any = await loop.detail(
            name, lambda found: found["spec"]["revision"] == 3 and found["stage"]["state"] == "breached"
        )
        assert kept["stage"]["number"] == 2
        assert await command(kafka.bootstrap, PREFIX, "rollback", name, "--why", "to be safe")
        await weights_where(router, name, lambda found: found.standing.stage == 0 and "to be safe" in found.reason)
