"""The stage's own rules: the exit code, when it stops waiting for counts, and what its processes may see."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console

from streams.demo import Options
from streams.demo.live import Screen, plain_line, render
from streams.demo.matrix import OutcomeMatrix
from streams.demo.setting import Setting
from streams.demo.stage import Follower, Stage
from streams.demo.summary import Played, State, Summary, summarise
from streams.records import ArmState

MATRIX = OutcomeMatrix("m", ("a", "b"), ((1, 0),))
PLAYED = Played(requests=2, served=[1, 1], earned=[1, 0], right=[2, 0], exposures=2, rewards=2)
ARMS = [ArmState(id=name, n=1, mean=0.5, interval=None, p_best=0.5, ppm=500_000) for name in MATRIX.models]
STATE = State(version=1, arms=ARMS, counters={"exposures.applied": 2, "rewards.applied": 2})
SHORT = replace(STATE, counters={"exposures.applied": 2, "rewards.applied": 1})


def quiet() -> Console:
    return Console(file=io.StringIO(), quiet=True)


def summary(state: State) -> Summary:
    return summarise("m", MATRIX.models, PLAYED, state)


@pytest.mark.parametrize("state, code", [(STATE, 0), (SHORT, 1)])
def test_the_exit_code_says_whether_the_counts_add_up(state: State, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage(Options(as_json=True), quiet())
    assert stage.exit_code is None
    stage._conclude(summary(state), "http://127.0.0.1:1")
    assert stage.exit_code == code
    said = json.loads(capsys.readouterr().out)
    assert said["events"]["add_up"] is (code == 0)
    assert said["dashboard"] == "http://127.0.0.1:1/"


class FakeApi:
    """Gives one state after the other, then the last one for ever."""

    def __init__(self, *states: State | None) -> None:
        self.states = list(states)

    async def state(self, experiment: str) -> State | None:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


class FakeChild:
    """A process that runs."""

    def check(self) -> None:
        pass


async def settled(monkeypatch: pytest.MonkeyPatch, *states: State | None) -> State:
    monkeypatch.setattr("streams.demo.stage.POLL_S", 0.001)
    monkeypatch.setattr("streams.demo.stage.SETTLE_WAIT_S", 0.2)
    api: Any = FakeApi(*states)
    child: Any = FakeChild()
    follower = Follower(MATRIX, 2, "m", api, child, child)
    follower.played = PLAYED
    with Screen(quiet(), render, plain_line) as screen:
        return await follower.settle(screen)


async def test_it_waits_until_everything_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    # no answer does not forget what was known
    assert await settled(monkeypatch, SHORT, None, SHORT, STATE) == STATE


async def test_it_waits_for_the_arms_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await settled(monkeypatch, replace(STATE, arms=[]), STATE) == STATE


async def test_it_gives_up_when_counting_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await settled(monkeypatch, SHORT) == SHORT


def test_the_embedded_broker_needs_no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOCATOR_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("OTHER", "x")
    embedded = Setting(None, "p", 0, quiet()).environment()
    real = Setting("k:9092", "p", 0, quiet()).environment()
    assert ("ALLOCATOR_SECURITY_PROTOCOL" in embedded, "ALLOCATOR_SECURITY_PROTOCOL" in real) == (False, True)
    assert embedded["OTHER"] == "x"
