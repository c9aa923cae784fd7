"""A metric tree on real Kafka: it moves traffic, is shown with what moves it, and is changed while its experiment runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from allocator.experiment import Experiment
from deploy.kafka.broker import Broker
from streams.cli import app
from tests.loops import PREFIX, Loop, joined, spec
from tests.workers import WorkerProcess

pytestmark = pytest.mark.kafka
UNITS = 400


@pytest.fixture(scope="module")
def worker(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    with WorkerProcess(kafka.bootstrap, PREFIX, tmp_path_factory.mktemp("tree")).running() as running:
        yield running
        assert running.stop() == 0


@pytest.fixture
async def loop(kafka: Broker, worker: WorkerProcess) -> AsyncIterator[Loop]:
    async with joined(kafka.bootstrap, worker, PREFIX) as loop:
        yield loop


def tree(name: str | None, objective: Any, revenue: float, **changes: Any) -> Experiment:
    """b has more carts and less revenue; the weight of revenue decides."""
    metrics = {
        "cart": "binary",
        "revenue": {"type": "value", "cap": 50, "resolution": 0.01},
        "latency": {"type": "value", "direction": "down", "missing": "excluded"},
        "per_cart": {"ratio": ["revenue", "cart"]},
        "oec": {"sum": {"cart": 1, "revenue": revenue}},
    }
    named = {} if name is None else {"experiment": name}
    return spec(metrics=metrics, objective=objective, **named, **changes)


async def send(loop: Loop, name: str) -> None:
    rng = np.random.default_rng(1)
    for arm, cart, revenue in (("a", 0.3, 12.0), ("b", 0.6, 8.0)):
        for i in range(UNITS):
            unit = f"{name}-{arm}-{i}"
            loop.events.exposure(name, unit, arm, 0.5, exposure_id=f"x-{unit}")
            figures = {"cart": float(rng.random() < cart), "revenue": 1000.0 if i == 0 else float(rng.normal(revenue, 2))}
            if i % 4 == 0:
                figures["latency"] = float(rng.gamma(4, 0.05))
            for metric, value in figures.items():
                loop.events.reward(unit, metric, value, experiment=name, reward_id=f"{metric}-{unit}")
    await loop.events.flush()


async def test_a_derived_objective_moves_traffic_and_its_weights_may_change_mid_run(loop: Loop) -> None:
    name = await loop.apply(tree(None, "oec", revenue=0))
    await send(loop, name)
    await loop.weights_where(name, lambda shares: shares["b"] == 980_000)
    everything = 2 * UNITS * 3 + 2 * UNITS // 4
    detail = await loop.detail(
        name, lambda found: found["events_read"] == everything and {arm["n"] for arm in found["arms"]} == {UNITS}
    )
    assert set(detail["metrics"]) == {"cart", "revenue", "latency", "per_cart", "oec"}
    means = {row["id"]: row["mean"] for row in detail["metrics"]["latency"]}
    assert all(0.17 < mean < 0.23 for mean in means.values()), "of the units that report it"
    assert detail["metrics"]["revenue"][0]["mean"] < 12.5, "one unit of 1000 is capped"

    await loop.apply(tree(name, "oec", revenue=1))
    await loop.weights_where(name, lambda shares: shares["a"] == 980_000)
    after = await loop.detail(name, lambda found: "a leads" in found["reason"])
    assert {arm["n"] for arm in after["arms"]} == {UNITS}, "nothing was lost"

    shown = await asyncio.to_thread(show, loop, name)
    assert "├─ 1 × cart" in shown
    assert "└─ 1 × revenue" in shown
    assert "per_cart = ratio" in shown
    [oec, per_cart] = json.loads(await asyncio.to_thread(show, loop, name, "--json"))["trees"]
    assert (oec["metric"], per_cart["metric"]) == ("oec", "per_cart")
    cart, revenue = oec["parts"]
    assert cart["moved"]["b"] > 0.2
    assert revenue["moved"]["b"] < -3
    assert oec["moved"]["b"] == pytest.approx(cart["moved"]["b"] + revenue["moved"]["b"])
    [effect] = oec["effects"]
    assert effect["low"] < effect["estimate"] < effect["high"] < 0


async def test_an_objective_subject_to_control_holds_back_what_costs_too_much(loop: Loop) -> None:
    name = await loop.apply(tree(None, {"maximise": "cart", "subject_to": {"revenue": {"tolerance": "10%"}}}, revenue=0))
    await send(loop, name)
    # b has two thirds of control's revenue: a tenth less is kept by about a third of b
    shares = await loop.weights_where(name, lambda found: 200_000 < found["b"] < 400_000)
    detail = await loop.detail(name, lambda found: "held back by revenue ≥ control - 10%" in found["reason"])
    assert detail["spec"]["policy"] == {"name": "constrained", "params": {"tolerances": {"revenue": "10%"}}}
    assert sum(shares.values()) == 1_000_000


def show(loop: Loop, name: str, *more: str) -> str:
    environment = {"ALLOCATOR_BOOTSTRAP": loop.bootstrap, "ALLOCATOR_PREFIX": PREFIX, "NO_COLOR": "1"}
    result = CliRunner().invoke(app, ["show", name, "--tree", *more], env=environment)
    assert result.exit_code == 0, result.output
    return result.stdout
