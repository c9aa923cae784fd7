"""Health on real Kafka: fine for what a router serves, and broken by one that logs what it does not do."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.kafka.broker import Broker
from streams.producer import EventProducer
from streams.router import Router
from tests.loops import Loop, spec, within
from tests.workers import WorkerProcess

pytestmark = pytest.mark.kafka

PREFIX = "health"
UNITS = 1500


@pytest.fixture
def worker(kafka: Broker, tmp_path: Path) -> Iterator[WorkerProcess]:
    with WorkerProcess(kafka.bootstrap, PREFIX, tmp_path).running() as running:
        yield running
        assert running.stop() == 0


async def test_a_router_that_logs_what_it_does_not_do_is_found(kafka: Broker, worker: WorkerProcess) -> None:
    async with (
        EventProducer(kafka.bootstrap, prefix=PREFIX) as events,
        Router(kafka.bootstrap, prefix=PREFIX, events=events) as router,
    ):
        loop = Loop(kafka.bootstrap, worker, events, router, PREFIX)
        name = await loop.apply(spec(constraints={"warmup": 10 * UNITS}, publish_interval="1s"))
        for i in range(UNITS):
            assignment = router.assign(name, f"u-{i}")
            router.expose(assignment)
            events.reward(assignment.unit, "thumbs_up", 1, experiment=name)
        await events.flush()
        fine = await loop.until(lambda: _health(worker, name), lambda found: _figures(found, "propensities") is not None)
        assert {check["name"]: check["state"] for check in fine["checks"] if check["state"] not in ("ok", "unknown")} == {}
        version = router.weights(name).version
        for i in range(UNITS):
            events.exposure(name, f"wrong-{i}", "b", 0.25, weights_version=version)
        await events.flush()
        bad = await loop.until(lambda: _health(worker, name), lambda found: found["state"] == "broken")
        broken = {check["name"] for check in bad["checks"] if check["state"] == "broken"}
        assert broken == {"sample ratio", "shares by version", "propensities"}
        await loop.until(
            lambda: _metrics(worker), lambda text: f'allocator_health{{check="propensities",experiment="{name}"}} 2.0' in text
        )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streams.cli", "health", name, "--json", "--bootstrap", kafka.bootstrap, "--prefix", PREFIX),
        stdout=asyncio.subprocess.PIPE,
    )
    answer, _ = await within(process.communicate())
    assert process.returncode == 1
    assert {check["name"] for check in json.loads(answer)["checks"] if check["state"] == "broken"} == broken


def _health(worker: WorkerProcess, name: str) -> dict[str, Any]:
    return worker.get(f"/api/experiments/{name}/health") or {"state": "", "checks": []}


def _figures(found: dict[str, Any], name: str) -> float | None:
    return next((check["figure"] for check in found["checks"] if check["name"] == name), None)


def _metrics(worker: WorkerProcess) -> str:
    return httpx.get(f"{worker.url}/metrics", timeout=5).text
