"""What a company has beside the worker: producers of events, a router, somebody who applies specs. For the tests of the loop."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, TypeVar

import httpx
from typer.testing import CliRunner

from allocator.experiment import Experiment
from allocator.spec import load_experiment
from streams.cli import app
from streams.connection import Connection
from streams.experiments import apply
from streams.producer import EventProducer
from streams.router import Router
from streams.topics import Topics
from tests.waiting import until
from tests.workers import WorkerProcess, read_topic

__all__ = ["PREFIX", "UNITS", "Loop", "command", "joined", "spec", "within"]

TIMEOUT_S = 120.0
PREFIX = "loop"
UNITS = 200
"""On each arm, unless a test says otherwise."""
COUNTED = re.compile(r'^allocator_events\{outcome="(\w+)",topic="([^"]+)"\} (\S+)$', re.MULTILINE)
T = TypeVar("T")

_NAMES = count(1)


async def within(awaitable: Awaitable[T]) -> T:
    """It, or TimeoutError."""
    return await asyncio.wait_for(awaitable, TIMEOUT_S)


async def command(bootstrap: str, prefix: str, *arguments: str) -> str:
    """What the command printed, which did not fail."""
    environment = {"ALLOCATOR_BOOTSTRAP": bootstrap, "ALLOCATOR_PREFIX": prefix, "NO_COLOR": "1", "COLUMNS": "200"}
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)
    assert result.exit_code == 0, result.output
    return result.output


def spec(**changes: Any) -> Experiment:
    """An experiment of its own that moves as fast as it can."""
    return load_experiment(
        {
            "experiment": f"loop-{next(_NAMES)}",
            "arms": ["a", "b"],
            "metrics": {"thumbs_up": "binary"},
            "publish_interval": "100ms",
            "constraints": {"warmup": 10, "floor": 0.02, "max_shift": 1, "dead_band": 0},
            **changes,
        }
    )


class Loop:
    """One worker, with a started producer and router, all under one prefix."""

    def __init__(
        self, bootstrap: str, worker: WorkerProcess, events: EventProducer, router: Router, prefix: str = PREFIX
    ) -> None:
        self.bootstrap, self.worker, self.events, self.router = bootstrap, worker, events, router
        self.connection, self.topics = Connection(bootstrap), Topics(prefix)

    async def apply(self, experiment: Experiment) -> str:
        """Put in force and wait for its first weights; returns the name."""
        await apply(self.connection, self.topics, experiment)
        await within(self.router.changed(experiment.experiment))
        return experiment.experiment

    def expose(self, name: str, units: int = UNITS, arms: str = "ab") -> None:
        """`units` units on each arm."""
        for arm in arms:
            for i in range(units):
                self.events.exposure(name, f"{name}-{arm}-{i}", arm, 0.5, exposure_id=f"x-{arm}-{i}")

    def reward(self, name: str, best: str, units: int = UNITS, arms: str = "ab") -> None:
        """Every unit of `best` has had a success and no other one: a correction of whatever it was before."""
        for arm in arms:
            for i in range(units):
                unit = f"{name}-{arm}-{i}"
                self.events.reward(unit, "thumbs_up", float(arm == best), experiment=name, reward_id=f"r-{unit}")

    async def weights_where(self, name: str, condition: Callable[[dict[str, int]], bool]) -> dict[str, int]:
        """The shares in ppm, once they are so."""
        version, shares = 0, {}
        while not (shares and condition(shares)):
            weights = await within(self.router.changed(name, after_version=version))
            version, shares = weights.version, {arm.id: arm.ppm for arm in weights.arms}
        return shares

    async def detail(self, name: str, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """What the API says of the experiment, once it is so."""
        return await self.until(lambda: self.worker.get(f"/api/experiments/{name}"), lambda found: found and condition(found))

    async def until(self, look: Callable[[], T], condition: Callable[[T], object]) -> T:
        """Look again and again; the last look is in the error if the condition never holds."""
        return await asyncio.to_thread(self._until, look, condition)

    def _until(self, look: Callable[[], T], condition: Callable[[T], object]) -> T:
        found: list[T] = []

        def holds() -> bool:
            assert self.worker.process is not None
            assert self.worker.process.poll() is None, f"the worker ended: {self.worker.log.read_text()[-3000:]}"
            found[:] = [look()]
            return bool(condition(found[0]))

        until(holds, TIMEOUT_S, lambda: found)
        return found[0]

    def outcomes(self, *workers: WorkerProcess) -> dict[str, dict[str, int]]:
        """{topic: {outcome: events}} from the metrics of the workers."""
        found: dict[str, Counter[str]] = {self.topics.exposures: Counter(), self.topics.rewards: Counter()}
        for worker in workers or (self.worker,):
            text = httpx.get(f"{worker.url}/metrics", timeout=5).text
            for outcome, topic, value in COUNTED.findall(text):
                found[topic][outcome] += int(float(value))
        return {topic: {outcome: n for outcome, n in counts.items() if n} for topic, counts in found.items()}

    def sent(self) -> dict[str, int]:
        """Records on each source topic."""
        return {topic: len(read_topic(self.bootstrap, topic)) for topic in (self.topics.exposures, self.topics.rewards)}

    async def all_counted(self, *workers: WorkerProcess) -> None:
        """Every record on the sources has ended in exactly one outcome."""
        sent = await asyncio.to_thread(self.sent)
        await self.until(
            lambda: {topic: sum(counts.values()) for topic, counts in self.outcomes(*workers).items()},
            lambda found: found == sent,
        )


@asynccontextmanager
async def joined(bootstrap: str, worker: WorkerProcess, prefix: str = PREFIX) -> AsyncIterator[Loop]:
    """The loop around a running worker, with a producer and a router of its own."""
    async with (
        EventProducer(bootstrap, prefix=prefix) as events,
        Router(bootstrap, prefix=prefix, events=events) as router,
    ):
        yield Loop(bootstrap, worker, events, router, prefix)
