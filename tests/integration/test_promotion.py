"""An experiment's whole life with a worker on real Kafka: a draft, a run with a holdback, a promotion, an archive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from allocator.errors import UnknownExperiment
from allocator.lifecycle import promote
from deploy.kafka.broker import Broker
from streams.changes import Author
from streams.cli import app
from streams.experiments import amend, apply, set_status
from streams.producer import EventProducer
from streams.router import Router
from tests.loops import Loop, spec, within
from tests.workers import WorkerProcess

pytestmark = pytest.mark.kafka

PREFIX = "promotion"
UNITS, AGO_S = 3000, 1000.0
RATES = {"a": 0.2, "b": 0.6}


@pytest.fixture
def worker(kafka: Broker, tmp_path: Path) -> Iterator[WorkerProcess]:
    with WorkerProcess(kafka.bootstrap, PREFIX, tmp_path).running() as running:
        yield running
        assert running.stop() == 0


async def test_from_a_draft_over_a_promotion_to_the_archive(kafka: Broker, worker: WorkerProcess) -> None:
    wanted = spec(
        arms=["a", "b"],
        holdback=0.3,
        enrolment=0.8,
        status="draft",
        metrics={"thumbs_up": {"type": "binary", "window": "10s"}},
        period="100s",
        grace="2m",
        constraints={"warmup": 10, "floor": 0.02, "max_shift": 0.2, "dead_band": 0},
    )
    name, ann = wanted.experiment, Author("ann", "trying")
    async with (
        EventProducer(kafka.bootstrap, prefix=PREFIX) as events,
        Router(kafka.bootstrap, prefix=PREFIX, events=events) as router,
    ):
        loop = Loop(kafka.bootstrap, worker, events, router, PREFIX)
        await apply(loop.connection, loop.topics, wanted, ann)
        await within(router.changed(name))
        served = router.assign(name, "u-0")
        assert (served.arm, served.enrolled, served.reason) == ("a", False, "not enrolled")
        events.exposure(name, "eager", "b", 0.5, ts=time.time() - AGO_S)
        await events.flush()
        await loop.until(loop.outcomes, lambda found: found[loop.topics.exposures] == {"dead": 1})

        await set_status(loop.connection, loop.topics, name, "running", ann)
        while router.weights(name).enrolment.ppm != 800_000:
            await within(router.changed(name, after_version=router.weights(name).version))
        enrolled = await serve(loop, name, range(UNITS), time.time() - AGO_S)
        detail = await loop.detail(name, lambda found: sum(units_of(found)) == enrolled)
        held_back = detail["holdback"]["held_back"]
        assert 0.2 * UNITS < held_back < 0.28 * UNITS  # 0.3 of 0.8
        found = detail["holdback"]["metrics"]["thumbs_up"]
        low, high = found["interval"]
        assert 0.0 < low < found["effect"] < high
        assert found["gain"] == pytest.approx(found["effect"] * found["allocated"])
        assert sum(arm["n"] for arm in detail["arms"]) == detail["holdback"]["allocated"]  # held-back units train nothing

        await amend(loop.connection, loop.topics, name, lambda current: promote(current, "b"), Author("bob", "b is better"))
        assert await loop.weights_where(name, lambda shares: shares["b"] == 1_000_000) == {"a": 0, "b": 1_000_000}
        while router.weights(name).enrolment.ppm != 1_000_000:
            await within(router.changed(name, after_version=router.weights(name).version))
        assert router.weights(name).status == "running"
        everybody = [router.assign(name, f"v-{i}") for i in range(500)]
        assert {(each.arm, each.holdback, each.enrolled) for each in everybody} == {("b", False, True), ("a", True, True)}
        await serve(loop, name, range(UNITS, UNITS + 500), time.time() - AGO_S)
        await loop.detail(name, lambda found: units_of(found)[1] > held_back + 100)

        environment = {"ALLOCATOR_BOOTSTRAP": kafka.bootstrap, "ALLOCATOR_PREFIX": PREFIX}
        shown = (await run_command(["show", name], environment)).splitlines()
        assert any(line.startswith("#   thumbs_up: +0.") for line in shown)
        assert "status: promoted" in shown

        await set_status(loop.connection, loop.topics, name, "archived", ann)
        with pytest.raises(UnknownExperiment):
            await until_removed(router, name)
        assert await loop.until(lambda: worker.get(f"/api/experiments/{name}"), lambda found: found is None) is None
        told = worker.get(f"/api/experiments/{name}/changes")
        assert [(each["status"], each["by"], each["why"]) for each in told] == [
            ("archived", "ann", "trying"),
            ("promoted", "bob", "b is better"),
            ("running", "ann", "trying"),
            ("draft", "ann", "trying"),
        ]
        assert worker.get("/api/experiments") == []


def units_of(detail: dict[str, Any]) -> tuple[int, int]:
    """Allocated, held back: those whose rewards are all in."""
    found = detail["holdback"]["metrics"]["thumbs_up"]
    return found["allocated"], found["held_back"]


async def until_removed(router: Router, name: str) -> None:
    while True:
        await within(router.changed(name, after_version=router.weights(name).version))


async def serve(loop: Loop, name: str, units: range, at: float) -> int:
    """Each unit asks the router, and does as often as its arm deserves; all of it some time ago, so that rewards are all in.

    Returns how many were enrolled.
    """
    enrolled = 0
    for i in units:
        served = loop.router.assign(name, f"u-{i}")
        if loop.router.expose(served, ts=at, exposure_id=f"x-{i}") is None:
            continue
        enrolled += 1
        value = float((i * 7919) % 1000 < 1000 * RATES[served.arm])
        loop.events.reward(f"u-{i}", "thumbs_up", value, experiment=name, ts=at + 1, reward_id=f"r-{i}")
    await loop.events.flush()
    await loop.all_counted()
    return enrolled


async def run_command(arguments: list[str], environment: dict[str, str]) -> str:
    """In a thread: it has an event loop of its own."""
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)
    assert result.exit_code == 0, result.output
    return result.stdout
