"""A worker that dies while it forwards has forwarded each event once when all has healed."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.kafka.broker import Broker
from tests.chaos.checker import differences
from tests.chaos.job import runner
from tests.chaos.schedule import Kill
from tests.forwarding import moves
from tests.reference import fill

pytestmark = [pytest.mark.kafka, pytest.mark.chaos, pytest.mark.slow]

UNITS = 12_000
BATCH_BYTES = 8_192


@pytest.mark.parametrize("transactions", [True, False], ids=["protected", "control"])
def test_kills_between_what_is_forwarded_and_its_checkpoint(
    kafka: Broker, prefix: str, tmp_path: Path, transactions: bool
) -> None:
    answer = fill(kafka.bootstrap, prefix, UNITS, batch_bytes=BATCH_BYTES, by_default=("exposures", "rewards"))
    before = moves(kafka.bootstrap, prefix)
    assert len(before.astray) == answer.counters["exposures.forwarded"] + answer.counters["rewards.forwarded"]
    chaos = runner(kafka, prefix, tmp_path, transactions=transactions)
    kills = [Kill(at=0.02, batches=1, dataset="exposures"), Kill(at=0.5, disk="wipe", batches=1, dataset="rewards")]
    with chaos.running(0):
        chaos.run(kills if transactions else kills[:1])
        chaos.heal()
    after, differing = moves(kafka.bootstrap, prefix), differences(kafka.bootstrap, prefix, answer)
    assert (set(after.forwarded), after.changed) == (set(before.astray), [])
    if transactions:
        assert len(after.forwarded) == len(before.astray)
        assert differing == []
        sent = moves(kafka.bootstrap, prefix, "read_uncommitted").forwarded
        assert len(sent) > len(after.forwarded), "nobody died while it forwarded"
    else:
        assert len(after.forwarded) > len(before.astray), "what a killed commit had sent is there, and is sent again"
        assert any("duplicate" in line for line in differing)
