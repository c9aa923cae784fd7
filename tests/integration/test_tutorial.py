"""docs/tutorial.md as it is written: its spec, its customers, its guardrail, its report."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.kafka.broker import Broker
from streams.router import Router
from tests.loops import command
from tests.workers import WorkerProcess

PREFIX = "tutorial"
ROOT = Path(__file__).parents[2]
SPEC = ROOT / "deploy" / "examples" / "checkout.yaml"
RATE, TIMEOUT_S = 600, 150.0


@pytest.fixture
def worker(kafka: Broker, tmp_path: Path) -> Iterator[WorkerProcess]:
    with WorkerProcess(kafka.bootstrap, PREFIX, tmp_path).running() as running:
        yield running


def test_the_page_shows_the_spec_as_it_is_in_the_examples() -> None:
    shown = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(), re.DOTALL)
    assert shown is not None
    assert SPEC.read_text().endswith(shown[1])


async def test_pushy_is_evicted_and_short_is_to_be_promoted(kafka: Broker, worker: WorkerProcess) -> None:
    await command(kafka.bootstrap, PREFIX, "apply", str(SPEC))
    shop = ["-m", "streams.shop_example", "--bootstrap", kafka.bootstrap, "--prefix", PREFIX, "--rate", str(RATE)]
    customers = await asyncio.create_subprocess_exec(sys.executable, *shop, stdout=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(TIMEOUT_S), Router(kafka.bootstrap, prefix=PREFIX) as router:
            weights = await router.changed("checkout")
            while not weights.standing.breaches:
                weights = await router.changed("checkout", after_version=weights.version)
            assert {arm.id: arm.ppm for arm in weights.arms}["pushy"] == 0
            assert "guardrail returned: pushy is" in weights.reason
            while not (report := await command(kafka.bootstrap, PREFIX, "report", "checkout")).startswith("promote short: "):
                assert report.startswith(("keep going: ", "promote short: ")), report
    finally:
        customers.terminate()
        await customers.wait()
