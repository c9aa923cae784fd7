"""Rounds of load and faults, each followed by a check that everything was counted exactly.

A round: load flows and episodes follow one another until the round's time is over; load pauses; everything heals; the story of
the weights, the sums and the counters are compared with the generator's answer. The next round goes on with the same topics and
workers. The first difference ends the soak: what comes after it would only repeat it.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException

from deploy.kafka.broker import Broker, BrokerError
from tests.chaos.proxy import Proxy
from tests.chaos.schedule import EXIT_STATE_AHEAD, Runner, faulty
from tests.chaos.story import Story, Watcher
from tests.chaos.traffic import Traffic
from tests.soak.episodes import Episode, episodes
from tests.soak.report import MIB, Check, Report
from tests.workers import WorkerProcess

__all__ = ["Wanted", "soak"]

SESSION_S = 2.0
OPTIONS = ("--chunk-records-max", "500", "--batch-bytes", "10000", "--session-timeout", f"{SESSION_S:g}")
EXIT_UNREACHABLE = 1
"""A worker that starts while it has no broker says so and ends."""
EXPECTED_EXITS = (EXIT_STATE_AHEAD, EXIT_UNREACHABLE)
HEAL_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A soak as asked for."""

    seconds: float
    round_s: float
    seed: int
    workers: int
    units_per_s: float
    publish_interval: str = "500ms"


def soak(wanted: Wanted, broker: Broker, prefix: str, directory: Path, proxies: Sequence[Proxy] = ()) -> Report:
    """Run it to its end, or to the first thing that is wrong, or to ctrl-C.

    `proxies`: one a worker, in front of `broker`, which may then be killed as well; without them neither happens.
    """
    report = Report(seed=wanted.seed, workers=wanted.workers, units_per_s=wanted.units_per_s)
    bootstrap, partitions, began = broker.bootstrap, 2 * wanted.workers, time.monotonic()
    ways = [f"127.0.0.1:{proxy.port}" for proxy in proxies] or [bootstrap] * wanted.workers
    workers = [faulty(way, prefix, directory / f"worker{n}", *OPTIONS) for n, way in enumerate(ways)]
    befall = episodes(random.Random(wanted.seed), wanted.workers, SESSION_S, outages=bool(proxies))
    made = Traffic(
        bootstrap, prefix, wanted.seed, wanted.units_per_s, partitions=partitions, publish_interval=wanted.publish_interval
    )
    try:
        with (
            (directory / "actions.log").open("a", buffering=1) as actions,
            redirect_stdout(actions),
            made as traffic,
            Story(bootstrap, prefix, traffic.specs) as story,
            Watcher(bootstrap, prefix) as router,
            Runner(broker, prefix, workers, proxies).running(*range(wanted.workers)) as chaos,
        ):
            _Soak(wanted, report, befall, traffic, story, router, chaos).run()
    except KeyboardInterrupt:
        report.interrupted = True
    except (AssertionError, BrokerError, KafkaException, subprocess.TimeoutExpired) as error:
        report.failed = f"{type(error).__name__}: {error}"
    report.minutes = (time.monotonic() - began) / 60
    return report


class _Soak:
    """What is running, and what to write down."""

    def __init__(
        self,
        wanted: Wanted,
        report: Report,
        befall: Iterator[Episode],
        traffic: Traffic,
        story: Story,
        router: Watcher,
        chaos: Runner,
    ) -> None:
        self._wanted, self._report, self._episodes, self._began = wanted, report, befall, time.monotonic()
        self._traffic, self._story, self._router, self._chaos = traffic, story, router, chaos

    def run(self) -> None:
        while self._elapsed_s() < self._wanted.seconds:
            ends_s = min(self._wanted.seconds, self._elapsed_s() + self._wanted.round_s)
            self._traffic.go()
            while self._elapsed_s() < ends_s:
                self._befall(next(self._episodes))
            check = self._check()
            self._report.checks.append(check)
            if check.differences:
                return
            self._story.forget()
            self._router.forget(self._story)
            for worker in self._chaos.workers:  # the next round's old copy is of that round
                shutil.rmtree(worker.data_dir.with_name("old"), ignore_errors=True)

    def _befall(self, episode: Episode) -> None:
        faults = self._report.faults
        faults[episode.kind.value] = faults.get(episode.kind, 0) + 1
        self._chaos.run(episode.actions)
        self._report.kills += episode.kills
        self._count()

    def _count(self) -> None:
        """So that the report is up to date whenever it is asked for."""
        counters = dict(self._traffic.answer.counters)  # traffic may be counting
        self._report.events, self._report.outcomes = sum(counters.values()), dict(sorted(counters.items()))
        self._report.exits = {str(code): n for code, n in Counter(code for _, code in self._chaos.exits).items()}

    def _check(self) -> Check:
        answer = self._traffic.pause()
        began, chaos, story = time.monotonic(), self._chaos, self._story
        chaos.progress.aim()
        chaos.until(chaos.progress.applied, HEAL_TIMEOUT_S)
        found = ["the weights did not come to rest"]

        def healed() -> bool:
            if story.read().settled() and not self._router.behind(story):
                found[:] = story.wrong() + story.differences(answer) + self._router.wrong(story)
            return not found

        with suppress(AssertionError):  # `found` says more than that it took too long
            chaos.until(healed, HEAL_TIMEOUT_S)
        heal_s = time.monotonic() - began
        self._count()
        found += [f"a worker ended with exit code {code}" for _, code in chaos.exits if code not in EXPECTED_EXITS]
        return Check(
            at_s=self._elapsed_s(),
            events=self._report.events,
            versions=story.versions(),
            heal_s=heal_s,
            rss_mib=[rss for worker in chaos.workers if (rss := _rss_mib(worker)) is not None],
            disk_mib=sum(_size(worker.data_dir) for worker in chaos.workers) / MIB,
            differences=found,
        )

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began


def _rss_mib(worker: WorkerProcess) -> float | None:
    """Resident memory; None if it is not up."""
    assert worker.process is not None
    if worker.process.poll() is not None:
        return None
    found = re.search(r"VmRSS:\s*(\d+) kB", Path(f"/proc/{worker.process.pid}/status").read_text())
    return int(found[1]) / 1024 if found is not None else None


def _size(directory: Path) -> int:
    """Bytes of the files in it; some go away while one looks."""
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total
