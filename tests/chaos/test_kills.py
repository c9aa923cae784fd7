"""Whatever dies, freezes, joins or leaves while the reference job is done, the answer afterwards is exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.kafka.broker import Broker
from tests.chaos.checker import differences
from tests.chaos.job import job, runner
from tests.chaos.schedule import (
    EXIT_STATE_AHEAD,
    Kill,
    KillBroker,
    Pause,
    Resume,
    Start,
    StartBroker,
    kills,
    rolling,
)

pytestmark = [pytest.mark.kafka, pytest.mark.chaos, pytest.mark.slow]


@pytest.mark.parametrize("seed", [11])
def test_twelve_kills(kafka: Broker, prefix: str, tmp_path: Path, seed: int) -> None:
    answer, chaos = job(kafka, prefix), runner(kafka, prefix, tmp_path)
    print(f"seed {seed}")
    with chaos.running(0):
        chaos.run(kills(seed, 12))
        chaos.heal()
    assert differences(kafka.bootstrap, prefix, answer) == []
    assert chaos.exits == [], "only what was killed may end"


@pytest.mark.parametrize("transactions", [True, False], ids=["protected", "control"])
def test_a_kill_between_two_batches_of_a_commit(kafka: Broker, prefix: str, tmp_path: Path, transactions: bool) -> None:
    answer, chaos = job(kafka, prefix), runner(kafka, prefix, tmp_path, transactions=transactions)
    with chaos.running(0):
        chaos.run([Kill(at=0.1, batches=1), Kill(at=0.5, disk="wipe", batches=2)])
        chaos.heal()
    wrong = differences(kafka.bootstrap, prefix, answer)
    assert bool(wrong) is not transactions, wrong
    if not transactions:
        assert any("duplicate" in line for line in wrong), "what a killed commit had left was taken for counted"


@pytest.mark.parametrize("seed", [5])
def test_joins_leaves_and_kills(kafka: Broker, prefix: str, tmp_path: Path, seed: int) -> None:
    answer, chaos = job(kafka, prefix), runner(kafka, prefix, tmp_path, workers=2)
    print(f"seed {seed}")
    with chaos.running(0):
        chaos.run(rolling(seed, 8, workers=2))
        chaos.heal()
    assert differences(kafka.bootstrap, prefix, answer) == []
    assert {code for _, code in chaos.exits} <= {EXIT_STATE_AHEAD}


@pytest.mark.parametrize("transactions", [True, False], ids=["protected", "control"])
def test_a_worker_frozen_in_a_commit_is_fenced(kafka: Broker, prefix: str, tmp_path: Path, transactions: bool) -> None:
    answer, chaos = job(kafka, prefix), runner(kafka, prefix, tmp_path, workers=2, transactions=transactions)
    with chaos.running(0):
        # Everything is the frozen one's: nine tenths are only reached when the other has taken its partitions over.
        chaos.run([Pause(at=0.1, worker=0, batches=1), Start(worker=1), Resume(at=0.9, worker=0)])
        if transactions:
            assert chaos.await_exit(0) == EXIT_STATE_AHEAD
        chaos.heal()
    fenced = "another owner: this worker was away for too long" in chaos.workers[0].log.read_text()
    wrong = differences(kafka.bootstrap, prefix, answer)
    assert (fenced, wrong == []) == (transactions, transactions), wrong
    assert chaos.exits == ([(0, EXIT_STATE_AHEAD)] if transactions else [])


def test_the_broker_is_killed_in_the_middle_of_a_commit(own_kafka: Callable[..., Broker], prefix: str, tmp_path: Path) -> None:
    kafka = own_kafka()
    answer, chaos = job(kafka, prefix), runner(kafka, prefix, tmp_path)
    with chaos.running(0):
        within = [Pause(at=0.1, worker=0, batches=1), KillBroker(), Resume(worker=0), StartBroker()]
        chaos.run([*within, KillBroker(at=0.6), StartBroker(after_s=2.0)])
        chaos.heal()
    assert differences(kafka.bootstrap, prefix, answer) == []
