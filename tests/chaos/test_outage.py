"""The network between workers and broker is gone for half a minute, longer than the session, and comes back."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chaos.checker import differences
from tests.chaos.job import SMALL_CHUNKS, job
from tests.chaos.proxy import proxied
from tests.chaos.schedule import EXIT_STATE_AHEAD, CutOff, Mend, Runner, faulty

pytestmark = [pytest.mark.kafka, pytest.mark.chaos, pytest.mark.slow]

UNITS = 40_000
OUTAGE_S = 30.0


def test_the_broker_is_unreachable_for_half_a_minute(prefix: str, tmp_path: Path) -> None:
    """One worker is refused, the other hears nothing, and what it had sent arrives when all is over."""
    with ExitStack() as stack:
        kafka, proxies = proxied(tmp_path / "kafka", ways=2)
        for one in (kafka, *proxies):
            stack.enter_context(one)
        answer = job(kafka, prefix, UNITS)
        workers = [faulty(proxy.address, prefix, tmp_path / f"worker{n}", *SMALL_CHUNKS) for n, proxy in enumerate(proxies)]
        chaos = Runner(kafka, prefix, workers, proxies)
        stack.enter_context(chaos.running(0, 1))
        chaos.run([CutOff(at=0.1, worker=0, how="refuse"), CutOff(worker=1, how="silence")])
        before = chaos.progress.share()
        chaos.run([Mend(after_s=OUTAGE_S)])
        assert before <= chaos.progress.share() < 1, "something was to be left, and nobody to do it"
        chaos.heal()
        assert differences(kafka.bootstrap, prefix, answer) == []
    assert {code for _, code in chaos.exits} <= {EXIT_STATE_AHEAD}
