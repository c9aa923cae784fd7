"""The player: it routes first, logs what it said it would, and stays close to the worker."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from allocator.assignment import Assignment
from streams.demo.matrix import OutcomeMatrix
from streams.demo.player import AHEAD_MAX, Order, Player, PlayerOptions
from streams.records import Exposure, Reward

MATRIX = OutcomeMatrix("m", ("a", "b"), ((1, 0), (0, 1), (1, 1), (0, 1)), ((1.0, 2.0),) * 4)


@dataclass
class FakeEvents:
    """Keeps what was sent, in order."""

    sent: list[Exposure | Reward] = field(default_factory=list)

    def send(self, record: Exposure | Reward) -> None:
        self.sent.append(record)

    def reward(self, unit: str, metric: str, value: float, *, experiment: str) -> Reward:
        record = Reward(unit=unit, metric=metric, value=value, ts=0.0, reward_id=f"{unit}/{metric}", experiment=experiment)
        self.send(record)
        return record


@dataclass
class FakeRouter:
    """Sends units to the arms in turn; without a lease it enrols nobody."""

    events: FakeEvents
    leased: bool = True
    asked: int = 0

    def assign(self, experiment: str, unit: str) -> Assignment:
        self.asked += 1
        if not self.leased:
            return Assignment(experiment, unit, "a", 1.0, 1, False, False, None, "lease expired")
        return Assignment(experiment, unit, "ab"[self.asked % 2], 0.5, 1, True, False, None)

    def expose(self, assignment: Assignment, *, ts: float) -> Exposure:
        record = Exposure(
            experiment=assignment.experiment,
            unit=assignment.unit,
            arm=assignment.arm,
            propensity=assignment.propensity,
            ts=ts,
            exposure_id=assignment.unit,
        )
        self.events.send(record)
        return record


def player_of(requests: int, rate: float = 1e6, **router: Any) -> tuple[Player, FakeRouter, FakeEvents]:
    events = FakeEvents()
    fake = FakeRouter(events, **router)
    options = PlayerOptions(bootstrap="-", prefix="p", experiment="m", run="r", data="-", requests=requests, rate=rate, seed=0)
    made: Any = Player
    return made(options, MATRIX, fake, events), fake, events


async def until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds."""
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 30 s")


async def test_what_is_reported_is_what_was_sent() -> None:
    player, _, events = player_of(2000)
    told: list[int] = []
    await player.play(lambda played: told.append(played.requests))
    played = player.played
    exposures = [record for record in events.sent if isinstance(record, Exposure)]
    rewards = [record for record in events.sent if isinstance(record, Reward)]
    assert played.requests == sum(played.served) == len({record.unit for record in exposures}) == 2000
    assert (played.exposures, played.rewards) == (len(exposures), len(rewards))
    assert played.doubled == len(exposures) - 2000 + len(rewards) - 4000 > 0
    assert len({record.reward_id for record in rewards}) == 4000
    # four rows, played equally often
    assert played.right == [1000, 1500]
    # the rewards are those of the model that was served
    arm_of = {record.unit: record.arm for record in exposures}
    right = Counter({record.unit: record.value for record in rewards if record.metric == "correct"})
    for i, model in enumerate(MATRIX.models):
        assert played.served[i] == sum(arm == model for arm in arm_of.values())
        assert played.earned[i] == sum(right[unit] for unit, arm in arm_of.items() if arm == model)
    assert {record.value for record in rewards if record.metric == "latency_ms"} == {1.0, 2.0}


async def test_only_the_rewards_of_early_requests_come_before_their_exposure() -> None:
    player, _, events = player_of(2000)
    await player.play(lambda _: None)
    exposed: set[str] = set()
    overtaken: set[str] = set()
    for record in events.sent:
        if isinstance(record, Exposure):
            exposed.add(record.unit)
        elif record.unit not in exposed:
            overtaken.add(record.unit)
    assert len(overtaken) == player.played.early > 0


async def test_it_waits_for_the_worker() -> None:
    player, _, events = player_of(20_000)
    told: list[int] = []
    task = asyncio.create_task(player.play(lambda played: told.append(played.requests)))
    await until(lambda: not player._room() and not player._later)
    assert AHEAD_MAX - 10 < len(events.sent) < AHEAD_MAX * 1.05  # what is sent twice comes on top
    stood = player.played.requests
    await until(lambda: told[-2:] == [stood, stood])
    player.order = Order(handled=10**9)
    await task
    assert player.played.requests == 20_000


async def test_without_valid_weights_nobody_is_served() -> None:
    player, router, events = player_of(10, leased=False)
    task = asyncio.create_task(player.play(lambda _: None))
    await until(lambda: router.asked >= 3)
    assert (player.played.requests, events.sent) == (0, [])
    router.leased = True
    await task
    assert player.played.requests == 10


async def test_told_to_stop_it_finishes_what_it_served() -> None:
    player, _, events = player_of(10**6, rate=1000.0)
    task = asyncio.create_task(player.play(lambda _: None))
    await until(lambda: player.played.requests >= 10)
    player.order = Order(stop=True)
    await task
    rewarded = {record.unit for record in events.sent if isinstance(record, Reward)}
    assert 10 <= player.played.requests == len(rewarded) < 10**6


@pytest.mark.parametrize("latency", [True, False])
async def test_latency_is_sent_where_it_was_measured(latency: bool) -> None:
    player, _, events = player_of(20)
    if not latency:
        player._matrix = OutcomeMatrix("m", ("a", "b"), MATRIX.correct)
    await player.play(lambda _: None)
    metrics = {record.metric for record in events.sent if isinstance(record, Reward)}
    assert metrics == ({"correct", "latency_ms"} if latency else {"correct"})
