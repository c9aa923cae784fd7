"""A metric is changed while its experiment runs, on real Kafka: what it counted before stays apart, and is there to be read."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from allocator.phases import in_phase
from deploy.kafka.broker import Broker
from streams.cli import app
from streams.experiments import read_experiments
from streams.totals import read_totals
from tests.loops import Loop, command, joined
from tests.workers import WorkerProcess

pytestmark = pytest.mark.kafka
UNITS = 100
SPEC = {
    "experiment": "chat",
    "arms": ["a", "b"],
    "metrics": {"spend": {"type": "value", "resolution": 1, "window": "1h"}},
    "objective": "spend",
    "publish_interval": "100ms",
    "constraints": {"warmup": UNITS, "floor": 0.02, "max_shift": 1, "dead_band": 0},
}
CAPPED = SPEC | {
    "metrics": {
        "spend": {"type": "value", "resolution": 1, "window": "1h", "cap": 3},
        "visits": {"type": "count", "window": "1h"},
    }
}


def send(loop: Loop, name: str, ts: float, spend: dict[str, float], units: int = UNITS) -> None:
    """Units of their own on each arm, exposed then and rewarded a second later."""
    for arm, value in spend.items():
        for i in range(units):
            unit = f"{name}-{arm}-{i}"
            loop.events.exposure("chat", unit, arm, 0.5, ts=ts, exposure_id=f"x-{unit}")
            loop.events.reward(unit, "spend", value, ts=ts + 1.0, experiment="chat", reward_id=f"r-{unit}")


async def sums(loop: Loop, phase: int) -> dict[str, tuple[int, int]]:
    """Units, and the sum of their spend, of every arm in a phase."""
    spec = in_phase((await read_experiments(loop.connection, loop.topics))["chat"], phase)
    evidence = (await read_totals(loop.connection, loop.topics, ["chat"]))["chat"].training(spec)
    return {arm: (m.n, round(m.mean(0) * m.n)) for arm, m in zip(spec.arm_ids, evidence.total, strict=True) if m.n}


async def test_a_changed_metric_begins_a_phase_and_the_one_before_stays(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    file = tmp_path / "chat.yaml"
    file.write_text(yaml.safe_dump(SPEC))
    await command(kafka.bootstrap, prefix, "apply", str(file))
    worker = WorkerProcess(kafka.bootstrap, prefix, tmp_path / "worker")
    with worker.running():
        async with joined(kafka.bootstrap, worker, prefix) as loop:
            events = loop.events
            first = events.exposure("chat", "early", "a", 0.5)
            send(loop, "first", first.ts, {"a": 1.0, "b": 9.0})
            await events.flush()
            await loop.weights_where("chat", lambda shares: shares["b"] > 900_000)

            file.write_text(yaml.safe_dump(CAPPED))
            environment = {"ALLOCATOR_BOOTSTRAP": kafka.bootstrap, "ALLOCATOR_PREFIX": prefix, "NO_COLOR": "1"}
            refused = await asyncio.to_thread(CliRunner().invoke, app, ["apply", str(file)], env=environment)
            assert refused.exit_code == 1
            assert "phase 2 begins" in refused.output
            assert "--yes" in refused.output
            applied = await command(kafka.bootstrap, prefix, "apply", str(file), "--yes", "--json")
            since = json.loads(applied)[0]["since"]

            await loop.weights_where("chat", lambda shares: shares["a"] == shares["b"])  # the policy knows nothing yet
            send(loop, "second", since, {"a": 2.0, "b": 1.0})
            send(loop, "late", since - 0.001, {"b": 9.0}, units=5)
            events.reward("first-a-0", "spend", 5.0, ts=since + 2.0, experiment="chat", reward_id="more")
            events.reward("second-a-0", "spend", 9.0, ts=since + 2.0, experiment="chat", reward_id="more")
            await events.flush()
            await loop.all_counted()
            await loop.weights_where("chat", lambda shares: shares["a"] > 900_000)
            worker.kill()
            worker.start()  # it reads what it knew of both phases
            await loop.detail("chat", lambda found: found["arms"][0]["n"] == UNITS and found["spec"]["phase"] == 2)
            assert worker.stop() == 0

        assert await sums(loop, 1) == {"a": (UNITS + 1, UNITS + 5), "b": (UNITS + 5, 9 * (UNITS + 5))}
        assert await sums(loop, 2) == {"a": (UNITS, 2 * UNITS + 1), "b": (UNITS, UNITS)}, "capped at 3"

    report = json.loads(await command(kafka.bootstrap, prefix, "report", "chat", "--phase", "1", "--json"))
    assert any("phase 1 is over" in caution for caution in report["verdict"]["cautions"])
    shown = await command(kafka.bootstrap, prefix, "show", "chat")
    assert "phase 2 since" in shown
    assert "cap: 3.0" in shown
    before = await command(kafka.bootstrap, prefix, "show", "chat", "--phase", "1")
    assert "visits" not in before
    again = await command(kafka.bootstrap, prefix, "apply", str(file), "--yes")
    assert "unchanged" in again

    kept = ("--data-dir", str(tmp_path / "rebuilds"))
    await command(kafka.bootstrap, prefix, "rebuild", "--as", "check", *kept)
    assert "equal" in await command(kafka.bootstrap, prefix, "diff", "check", *kept)
