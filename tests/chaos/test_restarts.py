"""Three workers, restarted one after the other while they work, end with exactly the answer of one that was not."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.kafka.broker import Broker
from tests.chaos.checker import differences
from tests.chaos.job import job, runner
from tests.chaos.schedule import EXIT_STATE_AHEAD, Action, Kill, Ready, Start, Stop

pytestmark = [pytest.mark.kafka, pytest.mark.chaos, pytest.mark.slow]

UNITS = 45_000
SOURCE_BATCH_BYTES = 1000
TINY_CHUNKS = ("--chunk-records-max", "10")
"""Five units or so: the job must outlast three starts of a worker, also where other tests run beside."""


def restart(worker: int) -> list[Action]:
    """The next one only when this one works again."""
    return [Stop(worker=worker), Start(worker=worker), Ready(worker=worker)]


def test_a_rolling_restart_of_three(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    answer = job(kafka, prefix, UNITS, batch_bytes=SOURCE_BATCH_BYTES)
    chaos = runner(kafka, prefix, tmp_path, *TINY_CHUNKS, workers=3)
    with chaos.running(0, 1):
        join, crash = [Start(at=0.02, worker=2), Ready(worker=2)], [Kill(worker=1, batches=1), Ready(worker=1)]
        chaos.run([*join, *restart(0), *crash])
        assert not chaos.progress.done(), "all of that was to happen while there was work"
        chaos.run([*restart(2), Stop(worker=0)])
        chaos.heal()
    assert differences(kafka.bootstrap, prefix, answer) == []
    assert {code for _, code in chaos.exits} <= {EXIT_STATE_AHEAD}
