"""A prior that borrows, from the spec to the weights' worker: applied, looked up on Kafka, shown as numbers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.kafka.broker import Broker
from streams.cli import app
from streams.producer import EventProducer
from tests.waiting import until
from tests.workers import WorkerProcess, arm_sums

pytestmark = pytest.mark.kafka
TIMEOUT_S = 60.0
FIRST = "{experiment: exp-0, arms: [a, b], metrics: {clicks: binary}}"
SECOND = """
experiment: exp-1
arms: [a, b, c]
metrics:
  thumbs_up: {type: binary, prior: {borrow: exp-0, metric: clicks, discount: 0.25}}
  clicks: {type: binary, prior: {borrow: exp-0, discount: 0.5, arms: true}}
objective: thumbs_up
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
    """40 units on a with 4 clicks, 20 on b with 10."""
    async with EventProducer(kafka.bootstrap, prefix=prefix) as events:
        for arm, units, clicks in (("a", 40, 4), ("b", 20, 10)):
            for i in range(units):
                events.exposure("exp-0", f"{arm}-{i}", arm, 0.5, exposure_id=f"x-{arm}-{i}")
                if i < clicks:
                    events.reward(f"{arm}-{i}", "clicks", 1.0, experiment="exp-0", reward_id=f"r-{arm}-{i}")
        await events.flush()


def test_what_is_borrowed_becomes_numbers(allocator: Callable[..., Any], kafka: Broker, prefix: str, tmp_path: Path) -> None:
    with WorkerProcess(kafka.bootstrap, prefix, tmp_path).running() as worker:
        assert "an experiment that has been applied" in allocator("apply", "-", stdin=SECOND, code=1).stderr
        allocator("apply", "-", stdin=FIRST)
        refused = allocator("apply", "-", "--json", stdin=SECOND, code=1).stderr
        assert [error["expected"] for error in json.loads(refused)["errors"]] == [
            "an experiment with data; none of its units has been counted yet"
        ] * 2
        asyncio.run(send(kafka, prefix))
        until(lambda: arm_sums(kafka.bootstrap, prefix).get("exp-0") == {"a": [40, 4], "b": [20, 10]}, TIMEOUT_S)

        assert allocator("apply", "-", stdin=SECOND).stdout == "exp-1: new, running, 3 arms, revision 1\n"
        metrics = json.loads(allocator("show", "exp-1", "--json").stdout)["spec"]["metrics"]
        assert metrics["thumbs_up"]["prior"] == {
            "units": 2 + 0.25 * 60,
            "mean": pytest.approx((1 + 0.25 * 14) / 17),
            "sd": None,
            "from": "clicks of exp-0 × 0.25",
        }
        assert {arm: (prior["units"], prior["mean"]) for arm, prior in metrics["clicks"]["arm_priors"].items()} == {
            "a": (22.0, pytest.approx(3 / 22)),
            "b": (12.0, pytest.approx(6 / 12)),
        }
        assert "from: exp-0" not in allocator("show", "exp-0").stdout
        assert "exp-0 × 0.25" in allocator("show", "exp-1").stdout
        assert allocator("apply", "-", stdin=SECOND).stdout == "exp-1: unchanged, running, revision 1\n"
        until(lambda: worker.get("/api/experiments/exp-1"), TIMEOUT_S)  # the worker takes the spec as it is on the topic
        assert worker.stop() == 0
