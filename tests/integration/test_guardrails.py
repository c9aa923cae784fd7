"""Guardrails on real Kafka: an arm that breaks one is evicted at the next decision, stays out, and is let back by a person."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from deploy.kafka.broker import Broker
from streams.cli import app
from streams.producer import EventProducer
from streams.records import Weights
from streams.router import Router
from tests.loops import Loop, spec
from tests.workers import WorkerProcess, read_topic

pytestmark = pytest.mark.kafka

PREFIX = "guardrails"
UNITS = 300
PUBLISH_INTERVAL_S = 4.0


@pytest.fixture
def worker(kafka: Broker, tmp_path: Path) -> Iterator[WorkerProcess]:
    with WorkerProcess(kafka.bootstrap, PREFIX, tmp_path).running() as running:
        yield running
        assert running.stop() == 0


async def test_an_arm_that_breaks_a_guardrail_is_out_until_a_person_brings_it_back(kafka: Broker, worker: WorkerProcess) -> None:
    wanted = spec(
        metrics={"thumbs_up": "binary", "buys": "binary"},
        objective="thumbs_up",
        guardrails={"buys": {"tolerance": "2%", "action": "evict"}},
        publish_interval=PUBLISH_INTERVAL_S,
    )
    async with (
        EventProducer(kafka.bootstrap, prefix=PREFIX) as events,
        Router(kafka.bootstrap, prefix=PREFIX, events=events) as router,
    ):
        loop = Loop(kafka.bootstrap, worker, events, router, PREFIX)
        name = await loop.apply(wanted)
        loop.expose(name, UNITS)
        loop.reward(name, best="b", units=UNITS)
        await loop.weights_where(name, lambda shares: shares["b"] > 900_000)
        assert (await loop.detail(name, lambda found: found["version"]))["breaches"] == []

        for i in range(UNITS):
            events.reward(f"{name}-a-{i}", "buys", float(i % 2), experiment=name, reward_id=f"buys-{i}")
        await events.flush()
        assert await loop.weights_where(name, lambda shares: shares["b"] == 0) == {"a": 1_000_000, "b": 0}
        assert router.assign(name, "anybody").arm == "a"

        detail = await loop.detail(name, lambda found: found["breaches"])
        (breach,) = detail["breaches"]
        assert (breach["metric"], breach["arm"], breach["action"]) == ("buys", "b", "evict")
        assert breach["estimate"] < breach["bound"] < -0.01 * 0.5
        assert detail["reason"].startswith("guardrail buys: b is ")
        bought = [at / 1000 for kind, at in _times(kafka, loop.topics.rewards) if kind == "buys"]
        assert breach["ts"] - max(bought) < 2 * PUBLISH_INTERVAL_S

        worker.kill()
        worker.start()
        loop.reward(name, best="a", units=UNITS)
        await loop.detail(name, lambda found: found["arms"][0]["mean"] and found["arms"][0]["mean"] > 0.9)
        published = [weights for weights in _published(kafka, loop.topics.weights) if weights.experiment == name]
        obeying = [weights for weights in published if weights.version >= breach["version"]]
        assert all(weights.arms[1].ppm == 0 for weights in obeying)
        assert all(weights.standing.breaches == obeying[0].standing.breaches for weights in obeying)

        shown = await _allocator(kafka, "show", name)
        assert f"# guardrail buys broken by b: evict since version {breach['version']}; " in shown.replace("#   ", "# ")
        said = await _allocator(kafka, "overrule", name, "buys", "b", "--why", "the metric was miscounted", "--by", "ann")
        assert said == f"{name}: guardrail buys only alerts for b, revision 2: the metric was miscounted\n"
        await loop.weights_where(name, lambda shares: shares["b"] > 0)
        (alert,) = (await loop.detail(name, lambda found: found["breaches"] != [breach]))["breaches"]
        assert (alert["arm"], alert["action"]) == ("b", "alert")

        again = json.loads(await _allocator(kafka, "overrule", name, "buys", "b", "--undo", "--why", "it was not", "--json"))
        assert again == {"experiment": name, "revision": 3, "overruled": {}, "changed": True, "why": "it was not"}
        await loop.weights_where(name, lambda shares: shares["b"] == 0)
        _, overruled, undone = json.loads(await _allocator(kafka, "changes", name, "--json"))
        assert (overruled["by"], overruled["why"]) == ("ann", "the metric was miscounted")
        assert overruled["changes"] == [{"path": "overruled.buys", "before": None, "after": ["b"]}]
        assert (undone["revision"], undone["why"]) == (3, "it was not")
        assert "expected a guardrail: one of buys" in await _allocator(kafka, "overrule", name, "bys", "b", "--why", "?", code=1)


async def _allocator(kafka: Broker, *arguments: str, code: int = 0) -> str:
    """What a command prints."""
    environment = {"ALLOCATOR_BOOTSTRAP": kafka.bootstrap, "ALLOCATOR_PREFIX": PREFIX, "NO_COLOR": "1"}
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments, None, environment)
    assert result.exit_code == code, result.output
    return result.stderr if code else result.stdout


def _times(kafka: Broker, topic: str) -> list[tuple[str, int]]:
    """Metric of each reward, and when the broker got it in milliseconds since the epoch."""
    found: list[Any] = read_topic(kafka.bootstrap, topic)
    return [(msgspec.json.decode(record.value())["metric"], record.timestamp()[1]) for record in found]


def _published(kafka: Broker, topic: str) -> list[Weights]:
    records = [record for record in read_topic(kafka.bootstrap, topic) if record.value() is not None]
    return [msgspec.json.decode(record.value(), type=Weights) for record in records]
