"""Plays a scenario's people, as a company's services would: ``python -m streams.demo.scenarios.player JSON``, with the router.

Each person comes once, on its day, and meets every experiment of the scenario under a name of its own there. What it does under
the arm that the router has picked is looked up in the world after that, and sent when the world's clock has come so far: events
are in order of the world's time, which runs as fast as people come. All of it lies in the past: no event is ahead of its log.

As the other player it stays little ahead of the worker (`AHEAD_MAX`), reports on standard output, and ends when standard input
does.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from allocator.assignment import Assignment
from allocator.errors import AllocatorError
from allocator.weights import Weights
from streams.connection import Connection
from streams.demo.player import AHEAD_MAX, REPORT_EVERY_S, TICK_S, WEIGHTS_WAIT_S, Order, obey
from streams.demo.scenarios import SCENARIOS
from streams.demo.scenarios.scenario import Scenario, Served
from streams.demo.scenarios.world import DAY_S, Person, World
from streams.demo.traffic import Pace
from streams.producer import EventProducer
from streams.router import Router

__all__ = ["Books", "Played", "PlayerOptions", "ScenarioPlayer"]


class PlayerOptions(Struct, frozen=True, kw_only=True):
    """What to play; `run` makes the units of this run different from those of any other."""

    bootstrap: str
    prefix: str
    scenario: str
    experiments: dict[str, str]
    """Where each of the scenario's experiments is: its name there."""
    run: str
    begins_at: float
    """When the world begins, seconds since the epoch."""
    rate: float
    """People a second."""
    seed: int


class Books(Struct, kw_only=True):
    """What was done in one experiment. Sums are over people whose data train the allocation."""

    arms: dict[str, int]
    held_back: int = 0
    gain: dict[str, float]
    """By metric: what they do beyond what they would under control, in truth, summed."""
    since: dict[int, float] = {}
    """Version of the weights → day of the world on which the router heard of it."""

    def served(self) -> Served:
        """With means in the place of sums."""
        people = max(1, sum(self.arms.values()))
        return Served(self.arms, self.held_back, {metric: total / people for metric, total in self.gain.items()})


class Played(Struct, kw_only=True):
    """One line to the parent; `done` on the last."""

    people: int = 0
    day: float = 0.0
    exposures: int = 0
    rewards: int = 0
    undelivered: int = 0
    seconds: float = 0.0
    books: dict[str, Books] = {}
    """By the scenario's name of the experiment."""
    done: bool = False


class _Router(Protocol):
    def assign(
        self, experiment: str, unit: str, segment: str | None = None, attributes: Mapping[str, Any] | None = None
    ) -> Assignment: ...
    def expose(self, assignment: Assignment, *, ts: float) -> object: ...


class _Events(Protocol):
    def reward(self, unit: str, metric: str, value: float, *, experiment: str, ts: float, reward_id: str) -> object: ...


class ScenarioPlayer:
    """Serves people, and keeps what they will do later."""

    def __init__(self, options: PlayerOptions, scenario: Scenario, router: _Router, events: _Events) -> None:
        self.played, self.order = Played(), Order()
        self._options, self._scenario, self._world = options, scenario, scenario.world
        self._router, self._events = router, events
        self._crowd = scenario.world.crowd(options.seed)
        self._next = next(self._crowd, None)
        self._later: list[tuple[float, int, str, str, list[tuple[str, float]]]] = []
        """(day, ticket, experiment, unit, values by metric)."""
        self._roles = [_Role.of(scenario.world, spec, options) for spec in scenario.specs]
        self.played.books = {role.name: role.books for role in self._roles}

    def hear(self, weights: Weights) -> None:
        """New weights are in force."""
        for role in self._roles:
            if role.experiment == weights.experiment and weights.segment is None:
                role.books.since[weights.version] = self.played.day

    async def play(self, tell: Callable[[Played], None]) -> None:
        """Serve everybody and send all that follows from it, telling now and then how it goes."""
        started = told = time.monotonic()
        pace = Pace(self._options.rate, started)
        while self._next is not None or self._later:
            now = time.monotonic()
            due = pace.take(now)
            if self.order.stop:
                self._next = None
            self._serve(due)
            if self._next is None:
                self._send_until(float("inf"))
            self.played.seconds = now - started
            if now - told >= REPORT_EVERY_S:
                told = now
                tell(self.played)
            await asyncio.sleep(TICK_S)

    def _serve(self, due: int) -> None:
        """At most `due` people; fewer if the worker is behind, none while there are no valid weights."""
        played, metrics = self.played, len(self._world.metrics)
        room = AHEAD_MAX - (played.exposures + played.rewards + metrics * len(self._later) - self.order.handled)
        a_person_s = len(self._roles) * (1 + metrics)
        for _ in range(due):
            if self._next is None or room < a_person_s:
                break
            sent = self._meet(self._next)
            if sent is None:
                break
            room -= sent
            self._next = next(self._crowd, None)

    def _meet(self, person: Person) -> int | None:
        """Everything a person sees; how many events that makes at most, None if a router would not say now."""
        segment = None if person.traits else person.segment or None  # what the traits say, the router is to find
        assigned = [
            self._router.assign(role.experiment, f"{role.prefix}{person.number}", segment, person.traits) for role in self._roles
        ]
        if any(a.reason == "lease expired" for a in assigned):
            return None
        self._send_until(person.day)
        self.played.people += 1
        self.played.day = person.day
        sent = 0
        for role, assignment in zip(self._roles, assigned, strict=True):
            if assignment.enrolled:
                sent += self._play_out(role, person, assignment)
        return sent

    def _play_out(self, role: _Role, person: Person, assignment: Assignment) -> int:
        """The arm is chosen: log it, look up what comes of it, and schedule that."""
        world, arm = self._world, assignment.arm
        self._router.expose(assignment, ts=self._options.begins_at + person.day * DAY_S)
        self.played.exposures += 1
        role.enter(world, person, assignment)
        values = [(metric, world.outcome(metric, j, arm, person)) for j, metric in enumerate(world.metrics)]
        told = [(metric, value) for metric, value in values if value]  # nobody reports what did not happen
        if told:
            at = person.day + person.delay_days
            heapq.heappush(self._later, (at, self.played.exposures, role.experiment, assignment.unit, told))
        return 1 + len(told)

    def _send_until(self, day: float) -> None:
        """What has happened by then."""
        while self._later and self._later[0][0] <= day:
            at, _, experiment, unit, told = heapq.heappop(self._later)
            ts = self._options.begins_at + at * DAY_S
            for metric, value in told:
                self._events.reward(unit, metric, value, experiment=experiment, ts=ts, reward_id=f"{unit}/{metric}")
            self.played.rewards += len(told)


class _Role:
    """One experiment of the scenario, as it is played."""

    def __init__(self, name: str, experiment: str, control: str, prefix: str, books: Books) -> None:
        self.name, self.experiment, self.control, self.prefix, self.books = name, experiment, control, prefix, books

    @classmethod
    def of(cls, world: World, spec: Any, options: PlayerOptions) -> _Role:
        name = spec["experiment"]
        arms = [arm if isinstance(arm, str) else arm["id"] for arm in spec["arms"]]
        books = Books(arms=dict.fromkeys(arms, 0), gain=dict.fromkeys(world.metrics, 0.0))
        place = list(options.experiments).index(name)
        return cls(name, options.experiments[name], spec["control"], f"{options.run}-{place}-", books)

    def enter(self, world: World, person: Person, assignment: Assignment) -> None:
        """A person is served."""
        if assignment.holdback:
            self.books.held_back += 1
            return
        self.books.arms[assignment.arm] += 1
        if assignment.arm != self.control:
            for metric in world.metrics:
                there = world.mean(metric, assignment.arm, person.segment, person.day)
                self.books.gain[metric] += there - world.mean(metric, self.control, person.segment, person.day)


def report(played: Played) -> None:
    """One line to the parent."""
    sys.stdout.write(msgspec.json.encode(played).decode() + "\n")
    sys.stdout.flush()


async def main(options: PlayerOptions) -> None:
    """Play it all.

    Raises
    ------
    AllocatorError : the broker or its topics are not as they must be.
    TimeoutError : no weights were published in `WEIGHTS_WAIT_S`.
    """
    connection = Connection.from_environment(options.bootstrap)
    async with (
        EventProducer(prefix=options.prefix, connection=connection) as events,
        Router(prefix=options.prefix, connection=connection, events=events) as router,
    ):
        player = ScenarioPlayer(options, SCENARIOS[options.scenario], router, events)
        router.on_update.append(player.hear)
        parent = asyncio.create_task(obey(player))
        async with asyncio.timeout(WEIGHTS_WAIT_S):
            for experiment in options.experiments.values():
                await router.changed(experiment)
        await player.play(report)
        await events.flush()
        player.played.undelivered = events.counters.failed + events.counters.dropped
    parent.cancel()
    player.played.done = True
    report(player.played)


if __name__ == "__main__":
    try:
        asyncio.run(main(msgspec.json.decode(sys.argv[1], type=PlayerOptions)))
    except AllocatorError as problem:
        sys.exit(str(problem))
    except TimeoutError:
        sys.exit(f"no weights were published within {WEIGHTS_WAIT_S:.0f} s")
