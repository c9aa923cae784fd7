"""A gate that waits for time alone: the allocate agent decides when the time has come, though nothing was read, and only then."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from allocator.experiment import Experiment
from allocator.weights import Weights
from streams.allocate.agent import AllocateAgent, AllocateSettings
from streams.metrics import Metrics
from streams.queues import SourceQueue
from streams.specs import Specs
from streams.topics import Topics
from tests.ramps import ramped

TOPICS = Topics("timing")
START = 1_000_000.0


class Clock:
    """An agent with nothing to read, and its time."""

    def __init__(self, spec: Experiment) -> None:
        self.now, self.commits = START, 0
        specs = Specs()
        specs.take(spec.experiment, spec)
        partitions = dict.fromkeys((TOPICS.partials, TOPICS.weights, TOPICS.decisions), 1)
        self.agent = AllocateAgent(
            SimpleNamespace(partition=0, commit=self._commit),  # type: ignore[arg-type]
            AllocateSettings(TOPICS, partitions),
            specs,
            {},
            self._settle,
            lambda *_: True,
            Metrics(),
            clock=lambda: self.now,
        )
        self.name = spec.experiment

    async def run(self, seconds: float) -> list[float]:
        """Sleep as long as the agent says, again and again; when it decided, in seconds since the start."""
        decided, until = [], self.now + seconds
        while self.now < until:
            before = self.agent.decided.get(self.name)
            pause_s = await self.agent.step({TOPICS.partials: SourceQueue(0)})
            if self.agent.decided.get(self.name) is not before:
                decided.append(round(self.now - START, 3))
            assert pause_s is not None
            self.now += pause_s
        return decided

    @property
    def weights(self) -> Weights:
        return self.agent.weights[self.name]

    async def _commit(self, *_: Any) -> None:
        self.commits += 1

    async def _settle(self) -> None:
        return


async def test_a_gate_that_waits_for_time_opens_when_it_has_passed() -> None:
    ramp = [{"enrolment": "1%", "min_time": "100s"}, {"enrolment": "5%", "min_time": "7s"}, {"enrolment": "9%"}, {"enrolment": 1}]
    clock = Clock(ramped(ramp, lease="10m"))
    assert await clock.run(190) == [0, 100, 107, 108]
    assert (clock.weights.standing.stage, clock.weights.standing.stage_since) == (3, START + 108)


async def test_a_gate_that_is_closed_for_another_reason_is_not_asked_again_and_again() -> None:
    clock = Clock(ramped([{"enrolment": "1%", "min_time": "100s", "min_units": 5}, {"enrolment": 1}], lease="10m"))
    assert await clock.run(190) == [0, 100]
    assert clock.weights.standing.stage == 0


async def test_without_stages_it_is_the_lease_alone() -> None:
    assert await Clock(ramped(None, lease="10m")).run(190) == [0]
