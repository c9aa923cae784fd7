"""Topics of a running deployment that are deleted, made again or given partitions: the worker ends, heals or says what to do.

The blind worker is the control: it knows topics by their names alone, and is silently wrong.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import Producer

from allocator.spec import load_experiment
from deploy.kafka.broker import Broker
from streams.partitioning import partition_of
from streams.records import Exposure, Reward, encode
from streams.topics import Topics
from tests.topic_admin import TopicAdmin
from tests.waiting import until
from tests.workers import WorkerProcess, arm_sums

pytestmark = pytest.mark.kafka

TIMEOUT_S = 60.0
PARTITIONS = 2
OPTIONS = ("--partitions", str(PARTITIONS), "--session-timeout", "2")
CHAT = load_experiment("{experiment: chat, arms: [a, b], metrics: {click: binary}}")
SENT = 300
REFUSED = 1


class Deployment:
    """One experiment, its units numbered; unit i has arm a or b and one reward of 1."""

    def __init__(self, bootstrap: str, prefix: str, directory: Path, *, blind: bool = False) -> None:
        self.bootstrap, self.prefix, self.names = bootstrap, prefix, Topics(prefix)
        self.topics, self._directory = TopicAdmin(bootstrap), directory
        for spec in self.names.specs():
            self.topics.make(spec.name, spec.partitions or PARTITIONS, compacted=spec.compacted)
        self._send([(self.names.experiments, "chat", encode(CHAT))])
        self.worker = self.another(blind=blind)

    def another(self, *options: str, blind: bool = False) -> WorkerProcess:
        """The same worker, started with other options."""
        program = ("-m", "tests.odd_worker", *(["--blind"] if blind else []))
        return WorkerProcess(self.bootstrap, self.prefix, self._directory, *OPTIONS, *options, program=program)

    def send(self, units: range) -> None:
        events = []
        for i in units:
            unit, ts = f"u-{i}", 1_764_000_000.0 + i
            exposure = Exposure(experiment="chat", unit=unit, arm="ab"[i % 2], propensity=0.5, ts=ts, exposure_id=f"x-{i}")
            reward = Reward(experiment="chat", unit=unit, metric="click", value=1.0, ts=ts + 1, reward_id=f"r-{i}")
            events += [(self.names.exposures, unit, encode(exposure)), (self.names.rewards, unit, encode(reward))]
        self._send(events)

    def _send(self, records: list[tuple[str, str, bytes]]) -> None:
        """With a producer of its own: it asks how many partitions there are now."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "partitioner": "murmur2_random"})
        for topic, key, value in records:
            producer.produce(topic, value, key)
        assert producer.flush(30) == 0

    def counted(self) -> int:
        """Units with their reward, as the join has published them."""
        return sum(rewards for _, rewards in arm_sums(self.bootstrap, self.prefix).get("chat", {}).values())

    def shown(self, worker: WorkerProcess | None = None) -> int:
        """Units that the allocate agent has summed, from the API."""
        detail = (worker or self.worker).get("/api/experiments/chat") or {"arms": []}
        return sum(arm["n"] for arm in detail["arms"])

    def counters(self) -> dict[str, int]:
        """Events by outcome, from the API."""
        found: dict[str, int] = (self.worker.get("/api/experiments/chat") or {"counters": {}})["counters"]
        return found

    def await_shown(self, units: int, worker: WorkerProcess | None = None) -> None:
        until(lambda: self.shown(worker) == units, TIMEOUT_S, lambda: f"{self.shown(worker)} units shown, not {units}")
        until(lambda: self.counted() == units, TIMEOUT_S, lambda: f"{self.counted()} units counted, not {units}")

    def refusal(self, worker: WorkerProcess | None = None, *, launch: bool = True) -> str:
        """What the worker says when it ends by itself."""
        worker = worker or self.worker
        before = len(worker.log.read_text()) if launch else 0
        if launch:
            worker.launch()
        assert worker.process is not None
        assert worker.process.wait(TIMEOUT_S) == REFUSED
        return worker.log.read_text()[before:]


@pytest.fixture
def deployment(kafka: Broker, prefix: str, tmp_path: Path) -> Deployment:
    return Deployment(kafka.bootstrap, prefix, tmp_path)


@pytest.fixture
def blind(kafka: Broker, prefix: str, tmp_path: Path) -> Deployment:
    return Deployment(kafka.bootstrap, prefix, tmp_path, blind=True)


# -- partitions added to the sources ---------------------------------------------------------------------------------------------


def add_partitions(deployment: Deployment) -> None:
    for topic in (deployment.names.exposures, deployment.names.rewards):
        deployment.topics.add_partitions(topic, PARTITIONS + 2)


def test_partitions_added_to_the_sources_end_the_worker_and_are_refused(deployment: Deployment) -> None:
    deployment.send(range(SENT))
    with deployment.worker.running():
        deployment.await_shown(SENT)
        add_partitions(deployment)
        said = deployment.refusal(launch=False)
        assert f"{deployment.names.exposures} has 4 partitions, needs 2, as when the worker started" in said
    said = deployment.refusal()
    assert f"{deployment.names.rewards} has 4 partitions, needs 2 partitions as when the state was begun" in said
    assert "choose a new --prefix" in said
    assert deployment.counted() == SENT


def test_unseen_they_would_take_units_away_from_the_join(blind: Deployment) -> None:
    """The control of the test above."""
    blind.send(range(SENT))
    with blind.worker.running():
        blind.await_shown(SENT)
        add_partitions(blind)
        blind.send(range(SENT, 2 * SENT))
        read = sum(partition_of(f"u-{i}", PARTITIONS + 2) < PARTITIONS for i in range(SENT, 2 * SENT))
        assert 0 < read < SENT
        blind.await_shown(SENT + read)
        assert blind.worker.ready(), "and nobody is told"


# -- a source made again ---------------------------------------------------------------------------------------------------------


def remake_exposures_while_away(deployment: Deployment) -> None:
    deployment.send(range(SENT))
    with deployment.worker.running():
        deployment.await_shown(SENT)
        assert deployment.worker.stop() == 0
    deployment.topics.remake(deployment.names.exposures, PARTITIONS)


def test_a_source_made_again_is_refused_until_the_loss_is_accepted(deployment: Deployment) -> None:
    remake_exposures_while_away(deployment)
    said = deployment.refusal()
    assert f"found {deployment.names.exposures} deleted and made again" in said
    assert "start the workers once with --accept-loss" in said
    deployment.send(range(SENT + 50))  # what was counted is sent once more
    accepting = deployment.another("--accept-loss")
    with accepting.running():
        deployment.await_shown(SENT + 50, accepting)


def test_unseen_its_events_would_be_taken_for_counted_ones(blind: Deployment) -> None:
    """The control of the test above."""
    remake_exposures_while_away(blind)
    blind.send(range(SENT, SENT + 50))
    with blind.worker.running():
        until(lambda: blind.counters().get("rewards.waiting") == 50, TIMEOUT_S, blind.counters)
        assert (blind.shown(), blind.counters()["exposures.applied"]) == (SENT, SENT)


# -- a changelog and the partials made again -------------------------------------------------------------------------------------


def test_a_changelog_made_again_ends_the_worker_and_is_counted_anew(deployment: Deployment) -> None:
    deployment.send(range(SENT))
    with deployment.worker.running():
        deployment.await_shown(SENT)
        deployment.topics.remake(deployment.names.join_changelog, PARTITIONS, compacted=True)
        assert f"{deployment.names.join_changelog} has been deleted and made again" in deployment.refusal(launch=False)
        deployment.worker.start()
        deployment.await_shown(SENT)
        deployment.send(range(SENT, SENT + 10))  # under numbers that the state before had used
        deployment.await_shown(SENT + 10)
    assert "the store is of a changelog" in deployment.worker.log.read_text()


def remake_partials_while_away(deployment: Deployment) -> None:
    with deployment.worker.running():
        for n in range(0, SENT, SENT // 5):  # each is a commit: the allocate agent has read far
            deployment.send(range(n, n + SENT // 5))
            deployment.await_shown(n + SENT // 5)
        assert deployment.worker.stop() == 0
    deployment.topics.remake(deployment.names.partials, PARTITIONS, compacted=True)


def test_partials_made_again_are_published_and_summed_again(deployment: Deployment) -> None:
    remake_partials_while_away(deployment)
    with deployment.worker.running():
        deployment.send(range(SENT, SENT + 10))
        deployment.await_shown(SENT + 10)


def test_unseen_the_new_partials_would_be_taken_for_summed_ones(blind: Deployment) -> None:
    """The control of the test above."""
    remake_partials_while_away(blind)
    with blind.worker.running():
        blind.send(range(SENT, SENT + 10))
        until(lambda: blind.counted() == SENT + 10, TIMEOUT_S)
        assert (blind.shown(), blind.worker.get("/api/experiments/chat")["lag_records"]) == (SENT, 0)
