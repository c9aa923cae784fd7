"""The scenario's player: it sends what the world says of the arm that was picked, in order of the world's time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from allocator.assignment import Assignment
from allocator.weights import PPM, Gate, Holdback, WeightedArm, Weights
from streams.demo.player import AHEAD_MAX, Order
from streams.demo.scenarios.player import PlayerOptions, ScenarioPlayer
from streams.demo.scenarios.scenario import Scenario
from streams.demo.scenarios.world import DAY_S, Truth, World

BEGINS_AT = 1_764_000_000.0
WORLD = World(
    metrics={
        "clicked": Truth("binary", {"": 0.3}, lift={"b": {"": 0.5}}),
        "spent": Truth("value", {"": 10.0}, cv=0.5),
    },
    segments={"": 1.0},
    people=2000,
    days=4.0,
)
SPECS = [{"experiment": name, "arms": ["a", {"id": "b"}], "control": "a"} for name in ("one", "two")]
Event = tuple[str, str, float, Any]
"""(experiment, unit, ts, arm or (metric, value))."""


@dataclass
class Fake:
    """Router and producer: arms in turn, every tenth unit held back, every other one of `two` not enrolled."""

    sent: list[Event] = field(default_factory=list)
    leased: bool = True
    asked: int = 0

    def assign(self, experiment: str, unit: str, segment: str | None, attributes: Mapping[str, Any] | None) -> Assignment:
        assert (segment, attributes) == (None, {})
        self.asked += 1
        if not self.leased:
            return Assignment(experiment, unit, "a", 1.0, 1, False, False, None, "lease expired")
        number = int(unit.rpartition("-")[2])
        if experiment == "there-two" and number % 2:
            return Assignment(experiment, unit, "a", 1.0, 1, False, False, None, "not enrolled")
        if number % 10 == 0:
            return Assignment(experiment, unit, "a", 1.0, 1, True, True, None, "held back")
        return Assignment(experiment, unit, "ab"[number // 2 % 2], 0.5, 1, True)

    def expose(self, assignment: Assignment, *, ts: float) -> None:
        self.sent.append((assignment.experiment, assignment.unit, ts, assignment))

    def reward(self, unit: str, metric: str, value: float, *, experiment: str, ts: float, reward_id: str) -> None:
        assert reward_id == f"{unit}/{metric}"
        self.sent.append((experiment, unit, ts, (metric, value)))


def player_of(fake: Fake, people: int = WORLD.people) -> ScenarioPlayer:
    world = World(WORLD.metrics, WORLD.segments, people, WORLD.days)
    scenario = Scenario("s", "t", world, SPECS, 1e6, lambda _world, _found: [])
    options = PlayerOptions(
        bootstrap="-",
        prefix="p",
        scenario="s",
        experiments={"one": "there-one", "two": "there-two"},
        run="r",
        begins_at=BEGINS_AT,
        rate=1e6,
        seed=1,
    )
    return ScenarioPlayer(options, scenario, fake, fake)


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds."""
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 30 s")


async def test_what_is_sent_is_the_world_under_the_arm_that_was_picked() -> None:
    fake = Fake()
    player = player_of(fake)
    await player.play(lambda _: None)
    crowd = list(WORLD.crowd(1))
    exposed = {unit: what for _, unit, _, what in fake.sent if isinstance(what, Assignment)}
    told: dict[str, dict[str, float]] = defaultdict(dict)
    for _, unit, _, what in fake.sent:
        if not isinstance(what, Assignment):
            told[unit][what[0]] = what[1]
    assert len(exposed) == player.played.exposures == 2000 + 1000
    assert sum(map(len, told.values())) == player.played.rewards
    for unit, assignment in exposed.items():
        person = crowd[int(unit.rpartition("-")[2])]
        wanted = {metric: WORLD.outcome(metric, j, assignment.arm, person) for j, metric in enumerate(WORLD.metrics)}
        assert told[unit] == {metric: value for metric, value in wanted.items() if value}


async def test_events_are_in_order_of_the_worlds_time_and_of_each_unit_the_exposure_is_first() -> None:
    fake = Fake()
    await player_of(fake).play(lambda _: None)
    times = [ts for _, _, ts, _ in fake.sent]
    assert times == sorted(times)
    assert (times[0], times[-1] <= BEGINS_AT + 4.2 * DAY_S) == (BEGINS_AT, True)
    seen: set[str] = set()
    for _, unit, _, what in fake.sent:
        assert isinstance(what, Assignment) or unit in seen
        seen.add(unit)


async def test_the_books_say_what_was_served_and_what_it_gained() -> None:
    fake = Fake()
    player = player_of(fake)
    await player.play(lambda _: None)
    for name, there, prefix in (("one", "there-one", "r-0-"), ("two", "there-two", "r-1-")):
        own = [w for experiment, _, _, w in fake.sent if isinstance(w, Assignment) and experiment == there]
        assert all(assignment.unit.startswith(prefix) for assignment in own)
        served = player.played.books[name].served()
        assert served.held_back == sum(assignment.holdback for assignment in own) == 200
        assert served.arms == {arm: sum(a.arm == arm and not a.holdback for a in own) for arm in "ab"}
        share = served.arms["b"] / sum(served.arms.values())
        assert abs(served.gain["clicked"] - 0.15 * share) < 1e-12
        assert served.gain["spent"] == 0.0


async def test_the_books_say_on_which_day_weights_came_into_force() -> None:
    fake = Fake()
    player = player_of(fake)
    player.hear(weights_of("there-one", 1))
    await player.play(lambda _: None)
    player.hear(weights_of("there-one", 2))
    player.hear(weights_of("there-one", 9, segment="a"))
    player.hear(weights_of("elsewhere", 7))
    assert player.played.books["one"].since == {1: 0.0, 2: player.played.day}
    assert player.played.books["two"].since == {}
    assert player.played.day > 3.9


def weights_of(experiment: str, version: int, segment: str | None = None) -> Weights:
    arms = (WeightedArm("a", PPM, 1), WeightedArm("b", 0, 2))
    return Weights(
        experiment=experiment,
        segment=segment,
        version=version,
        arms=arms,
        enrolment=Gate(PPM, 3),
        holdback=Holdback(0, 4, "a"),
        valid_until=1e10,
        fallback="a",
        policy="fixed",
        reason="",
        spec_hash="",
        ts=0.0,
    )


async def test_it_waits_for_the_worker_and_for_weights() -> None:
    fake = Fake(leased=False)
    player = player_of(fake, people=20_000)
    task = asyncio.create_task(player.play(lambda _: None))
    await until(lambda: fake.asked >= 6)
    assert (player.played.people, fake.sent) == (0, [])
    fake.leased = True
    await until(lambda: len(fake.sent) > AHEAD_MAX * 0.9)
    await until(lambda: player.played.exposures + player.played.rewards <= len(fake.sent) < AHEAD_MAX + 10)
    assert player.played.people < 20_000
    player.order = Order(stop=True)
    await task
    assert player.played.people < 20_000
