"""A cap at a quantile, from the spec to the fold: without one in the warm-up, then at the number that the warm-up gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from allocator.caps import units_needed
from deploy.kafka.broker import Broker
from streams.experiments import read_experiments
from streams.totals import read_totals
from tests.loops import command, joined
from tests.workers import WorkerProcess

pytestmark = pytest.mark.kafka
SPEC = {
    "experiment": "shop",
    "arms": ["a", "b"],
    "metrics": {"spend": {"type": "value", "resolution": 1, "window": "10m", "cap": {"quantile": 0.9}}},
    "publish_interval": "100ms",
}
UNITS = units_needed(0.9)


async def test_a_quantile_of_the_warm_up_becomes_the_cap(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(yaml.safe_dump(SPEC))
    assert f"none yet: apply again when the quantile 0.9 has {UNITS} units" in await command(
        kafka.bootstrap, prefix, "apply", str(file)
    )
    worker = WorkerProcess(kafka.bootstrap, prefix, tmp_path / "worker")
    with worker.running():
        async with joined(kafka.bootstrap, worker, prefix) as loop:
            events = loop.events
            ts = events.exposure("shop", "young", "a", 0.5).ts  # and without a reward
            for i in range(1, UNITS + 1):
                unit, arm = f"u-{i}", "ab"[i % 2]
                events.exposure("shop", unit, arm, 0.5, ts=ts - 600.0, exposure_id=f"x-{i}")
                events.reward(unit, "spend", float(i), ts=ts - 1.0, experiment="shop", reward_id=f"r-{i}")
            await events.flush()
            await loop.all_counted()
            early = await command(kafka.bootstrap, prefix, "apply", str(file), "--json")
            assert json.loads(early)[0]["change"] == "unchanged", "rewards are read up to a second before the windows' end"

            for partition in range(40):  # every partition gets on
                events.exposure("shop", f"tick-{partition}", "a", 0.5, ts=ts)
                events.reward(f"tick-{partition}", "spend", 0.0, ts=ts, experiment="shop", reward_id=f"t-{partition}")
            await events.flush()
            await loop.all_counted()
            applied = json.loads(await command(kafka.bootstrap, prefix, "apply", str(file), "--yes", "--json"))[0]
            assert applied["phase"] == 2
            assert applied["changes"] == [{"path": "metrics.spend.cap", "before": None, "after": 0.9 * UNITS}]
            again = await command(kafka.bootstrap, prefix, "apply", str(file))
            assert "unchanged" in again
            assert f"cap of spend: {0.9 * UNITS:g}, the quantile 0.9 of a warm-up" in again

            events.exposure("shop", "rich", "b", 0.5, ts=applied["since"])
            events.reward("rich", "spend", 1e6, ts=applied["since"] + 1.0, experiment="shop")
            await events.flush()
            await loop.all_counted()
            await loop.detail("shop", lambda found: [arm["n"] for arm in found["arms"]] == [0, 1])
            assert worker.stop() == 0
        spec = (await read_experiments(loop.connection, loop.topics))["shop"]
        evidence = (await read_totals(loop.connection, loop.topics, ["shop"]))["shop"].training(spec)
        assert evidence.total[1].mean(0) == 0.9 * UNITS
