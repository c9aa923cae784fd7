"""`allocator report` of an experiment that a worker has counted: as text, as JSON and as a page, from the topics alone."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from deploy.kafka.broker import Broker
from streams.cli import app
from streams.producer import EventProducer
from streams.report import Report
from tests.page_parser import parsed
from tests.waiting import until
from tests.workers import WorkerProcess, arm_sums

pytestmark = pytest.mark.kafka
TIMEOUT_S = 60.0
MINUTE_S = 60.0
UNITS = 150
"""An arm, segment and minute."""
MINUTES = 4
SPEC = """
experiment: shop
owner: team-shop
hypothesis: the new ranker sells more
arms: [old, new]
control: old
metrics: {clicks: {type: binary, window: 1m}, cost: {type: value, direction: down, window: 1m}}
objective: clicks
segments: [free, pro]
period: 1m
grace: 1m
publish_interval: 100ms
constraints: {warmup: 10, max_shift: 1, dead_band: 0}
"""


@pytest.fixture
def allocator(kafka: Broker, prefix: str) -> Callable[..., Any]:
    def run(*arguments: str, stdin: str | None = None, code: int = 0) -> Any:
        environment = {"ALLOCATOR_BOOTSTRAP": kafka.bootstrap, "ALLOCATOR_PREFIX": prefix, "NO_COLOR": "1"}
        result = CliRunner().invoke(app, arguments, input=stdin, env=environment)
        assert result.exit_code == code, result.output
        return result

    return run


async def send(kafka: Broker, prefix: str) -> None:
    """Units of a while ago, whose rewards are all in: in each segment and minute a tenth clicks on `old`, half on `new`."""
    start = (time.time() // MINUTE_S - 12) * MINUTE_S
    async with EventProducer(kafka.bootstrap, prefix=prefix) as events:
        for minute in range(MINUTES):
            ts = start + minute * MINUTE_S + 1
            for segment in ("free", "pro"):
                for arm, every in (("old", 10), ("new", 2)):
                    for i in range(UNITS):
                        unit = f"{segment}-{arm}-{minute}-{i}"
                        events.exposure("shop", unit, arm, 0.5, segment=segment, ts=ts, exposure_id=f"x-{unit}")
                        if i % every == 0:
                            events.reward(unit, "clicks", 1.0, ts=ts + 5, experiment="shop", reward_id=f"r-{unit}")
                        events.reward(unit, "cost", 1 + i % 3, ts=ts + 5, experiment="shop", reward_id=f"c-{unit}")
        await events.flush()


def test_a_report_in_all_forms(allocator: Callable[..., Any], kafka: Broker, prefix: str, tmp_path: Path) -> None:
    each = 2 * MINUTES * UNITS
    with WorkerProcess(kafka.bootstrap, prefix, tmp_path).running() as worker:
        allocator("apply", "-", stdin=SPEC)
        until(lambda: worker.get("/api/experiments/shop"), TIMEOUT_S)
        assert allocator("report", "shop").stdout.startswith("keep going: no unit has been counted yet\n")
        assert "did you mean 'shop'?" in allocator("report", "shap", code=1).stderr

        asyncio.run(send(kafka, prefix))
        until(lambda: {arm: sums[0] for arm, sums in arm_sums(kafka.bootstrap, prefix).get("shop", {}).items()}
              == {"old": each, "new": each}, TIMEOUT_S)  # fmt: skip
        until(lambda: (worker.get("/api/experiments/shop") or {}).get("version", 0) > 1, TIMEOUT_S)

        text = allocator("report", "shop").stdout
        assert text.startswith("promote new: new is better than old on clicks: +0.4 (")
        assert "a lift of +400.0 %" in text.splitlines()[0]

        report = msgspec.json.decode(allocator("report", "shop", "--json").stdout, type=Report)
        assert (report.verdict.headline, report.verdict.rule) == ("promote new", "winner")
        assert [(arm.id, arm.n) for arm in report.arms] == [("old", each), ("new", each)]
        assert not any(row.preliminary for row in report.effects)
        assert {(row.metric, row.known) for row in report.effects} == {("clicks", "better"), ("cost", "unclear")}
        assert [(row.segment, row.n) for row in report.segments] == [("free", each), ("pro", each)]
        assert report.interaction_reason == "no effect is proven to differ by segment"
        assert report.simpson_reason == "pooled and standardised means agree"
        assert report.counters["exposures.applied"] == 2 * each
        assert report.history[0].ppm == {"old": 500_000, "new": 500_000}
        assert report.history[-1].version == report.version
        assert [len(row.ts) for row in report.novelty] == [MINUTES]

        file = tmp_path / "report.html"
        said = allocator("report", "shop", "--html", str(file)).stdout.splitlines()
        assert said == [f"promote new: {report.verdict.reason}", str(file)]
        words = [word.strip().replace("\xa0", " ") for word in parsed(file.read_text(encoding="utf-8")).text if word.strip()]
        assert words[:3] == ["shop", "promote new", report.verdict.reason]

        allocator("report", "shop", "--html", str(file), "--json", code=2)
        assert "was not written" in allocator("report", "shop", "--html", str(tmp_path / "no" / "file"), code=1).stderr
        allocator("stop", "shop")
        assert allocator("report", "shop").stdout.startswith("stop: the experiment is stopped: all traffic goes to old\n")
        assert worker.stop() == 0
    assert json.loads(allocator("report", "shop", "--json").stdout)["verdict"]["rule"] == "over"  # no worker has to run
