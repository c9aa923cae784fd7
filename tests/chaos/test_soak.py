"""The soak itself, cut short: it finds nothing where nothing is wrong, and says so when something is."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.kafka.broker import Broker
from tests.soak.soak import Wanted, soak

WANTED = Wanted(seconds=6.0, round_s=6.0, seed=2, workers=2, units_per_s=300, publish_interval="100ms")


@pytest.mark.kafka
@pytest.mark.chaos
@pytest.mark.slow
def test_a_few_seconds_of_soak(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    print(f"seed {WANTED.seed}")
    report = soak(WANTED, kafka, prefix, tmp_path)
    assert (report.failed, report.differences, len(report.checks)) == (None, [], 1)
    assert report.exit_code == 0
    assert sum(report.faults.values()) >= 1
    assert report.events == sum(report.outcomes.values()) > 0
    assert report.checks[0].versions > 0
