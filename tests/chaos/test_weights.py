"""Weights tell one story, gapless and never going back, whoever owns their experiment and whatever becomes of the owner."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.kafka.broker import Broker
from streams.topics import Topics
from tests.chaos.schedule import EXIT_STATE_AHEAD, Kill, Pause, Ready, Resume, Runner, Start, Stop, faulty
from tests.chaos.story import Story, Watcher
from tests.chaos.traffic import Traffic
from tests.topic_admin import TopicAdmin

pytestmark = [pytest.mark.kafka, pytest.mark.chaos, pytest.mark.slow]

UNITS_PER_S = 400
SEED = 3
OPTIONS = ("--chunk-records-max", "200", "--batch-bytes", "10000", "--session-timeout", "2")


class Stage:
    """Two workers under traffic, and who watches them."""

    def __init__(self, chaos: Runner, traffic: Traffic, story: Story, router: Watcher) -> None:
        self.chaos, self.traffic, self.story, self.router = chaos, traffic, story, router

    def await_versions(self, count: int) -> None:
        """So many more than there are now."""
        wanted = self.story.read().versions() + count
        self.chaos.until(lambda: self.story.read().versions() > wanted)

    def heal(self) -> list[str]:
        """Traffic ends and everything comes to rest; what is wrong then."""
        answer = self.traffic.pause()
        self.chaos.progress.aim()
        self.chaos.until(self.chaos.progress.applied)
        self.chaos.until(lambda: self.story.read().settled() and not self.router.behind(self.story))
        return self.story.wrong() + self.story.differences(answer) + self.router.wrong(self.story)


@contextmanager
def stage(kafka: Broker, prefix: str, directory: Path, without: Sequence[str] = ()) -> Iterator[Stage]:
    """The first worker is up, traffic flows and weights change."""
    print(f"seed {SEED}")
    workers = [faulty(kafka.bootstrap, prefix, directory / f"worker{n}", *OPTIONS, without=without) for n in range(2)]
    with (
        Traffic(kafka.bootstrap, prefix, SEED, UNITS_PER_S) as traffic,
        Story(kafka.bootstrap, prefix, traffic.specs) as story,
        Watcher(kafka.bootstrap, prefix) as router,
        Runner(kafka, prefix, workers).running(0) as chaos,
    ):
        traffic.go()
        on = Stage(chaos, traffic, story, router)
        on.await_versions(20)
        yield on


def test_kills_in_the_middle_of_a_publication(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    with stage(kafka, prefix, tmp_path) as on:
        on.chaos.run([Kill(worker=0, batches=1, dataset="weights", disk="wipe"), Kill(worker=0, batches=1, dataset="decisions")])
        on.await_versions(20)
        assert on.heal() == []
        assert on.chaos.exits == [], "only what was killed may end"


@pytest.mark.parametrize("without", [(), ("transactions",)], ids=["protected", "control"])
def test_a_frozen_owner_does_not_fork_the_versions(kafka: Broker, prefix: str, tmp_path: Path, without: Sequence[str]) -> None:
    with stage(kafka, prefix, tmp_path, without) as on:
        # Its next weights are decided and about to be sent when it freezes: the next owner publishes the same version.
        on.chaos.run([Pause(worker=0, batches=0, dataset="weights"), Start(worker=1), Ready(worker=1)])
        on.await_versions(20)
        on.chaos.run([Resume(worker=0)])
        if without:
            on.chaos.until(lambda: any("weights versions" in line for line in on.story.read().wrong()))
        else:
            assert on.chaos.await_exit(0) == EXIT_STATE_AHEAD
            on.chaos.run([Ready(worker=0), Stop(worker=1)])
            assert on.heal() == []
            assert on.chaos.exits == [(0, EXIT_STATE_AHEAD)]


@pytest.mark.parametrize("without", [(), ("published",), ("waiting",)], ids=str)
def test_versions_go_on_when_the_ledger_is_lost(kafka: Broker, prefix: str, tmp_path: Path, without: Sequence[str]) -> None:
    with stage(kafka, prefix, tmp_path, without) as on:
        on.chaos.run([Stop(worker=0)])
        TopicAdmin(kafka.bootstrap).delete(Topics(prefix).allocate_changelog)
        shutil.rmtree(on.chaos.workers[0].data_dir)
        on.chaos.run([Start(worker=0), Ready(worker=0)])
        wrong = on.heal()
    expected = {(): "", ("published",): "version 1: expected", ("waiting",): "inputs {} after"}[tuple(without)]
    assert bool(wrong) is bool(without), wrong
    assert expected in "\n".join(wrong), wrong
