"""Times as people write them, and that units are enrolled from the start until the end."""

from __future__ import annotations

from math import inf
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.assignment import assign
from allocator.decide import decide
from allocator.errors import ArgumentError
from allocator.experiment import Experiment
from allocator.instants import format_instant, parse_instant
from allocator.schedule import Schedule, closed, next_turn
from allocator.spec import load_experiment
from streams.allocate.agent import AllocateAgent

START, END = 1_796_083_200.0, 1_798_675_200.0
SCHEDULE = Schedule(start="2026-12-01T00:00Z", end="2026-12-31T00:00Z")


def spec(**changes: Any) -> Experiment:
    fields = {
        "experiment": "reco",
        "arms": ["old", "new"],
        "metrics": {"m": "binary"},
        "schedule": {"start": "2026-12-01", "end": "2026-12-31"},
    }
    return load_experiment(fields | changes)


# ---- times ----


@pytest.mark.parametrize(
    "text,seconds",
    [
        ("1970-01-01", 0.0),
        ("2026-12-01T00:00Z", START),
        ("2026-12-01 00:00z", START),
        (" 2026-12-01T01:00+01:00 ", START),
        ("2026-11-30T18:30:00-0530", START),
        ("2026-12-01T00:00:01.5Z", START + 1.5),
        ("2024-02-29T12:00Z", 1_709_208_000.0),
        ("1969-12-31T23:59:59Z", -1.0),
    ],
)
def test_times_are_read(text: str, seconds: float) -> None:
    assert parse_instant(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "tomorrow", "2026-12-01T00:00", "2026-13-01", "2026-02-30", "2026-12-01T25:00Z", "2026-12-01T00:00+24:00", 7, None, []],
)
def test_what_is_no_time_is_refused(text: Any) -> None:
    with pytest.raises(ArgumentError, match="expected a time with its zone such as"):
        parse_instant(text)


@given(st.integers(-60_000_000_000, 200_000_000_000))
def test_a_time_written_and_read_again_is_the_same(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_instant(format_instant(seconds)) == seconds


# ---- schedule ----


@pytest.mark.parametrize(
    "now,open_,turn",
    [(START - 1, False, START), (START, True, END), (END - 0.001, True, END), (END, False, inf), (END + 9, False, inf)],
)
def test_it_is_open_from_the_start_until_the_end(now: float, open_: bool, turn: float) -> None:
    assert (closed(SCHEDULE, now) is None) is open_
    assert next_turn(SCHEDULE, now) == turn


def test_without_an_edge_it_is_open_on_that_side() -> None:
    assert closed(None, 0.0) is closed(Schedule(end=SCHEDULE.end), 0.0) is closed(Schedule(start=SCHEDULE.start), END) is None
    assert next_turn(None, 0.0) == next_turn(Schedule(start=SCHEDULE.start), START) == inf


def test_decisions_enrol_nobody_outside_of_it_and_say_why() -> None:
    reasons = []
    previous = None
    for now in (START - 1, START, END):
        decision = decide(spec(), {}, previous, now)
        previous = decision.weights
        assert decision.publish
        assert assign(previous, "u-1", now).enrolled is (now == START)
        reasons.append(decision.reason.partition(";")[0])
    assert reasons == [
        "nobody is enrolled before the start, 2026-12-01T00:00Z",
        "warm-up: old has 0 of 100 units, and 1 more short of it",
        "nobody is enrolled since the end, 2026-12-31T00:00Z",
    ]


def test_a_stopped_experiment_says_that_it_is_stopped() -> None:
    assert decide(spec(status="stopped"), {}, None, END).reason.startswith("stopped: ")


@pytest.mark.parametrize("decided,due", [(START - 10, START), (START, START + 20), (END - 10, END), (END, END + 20)])
def test_the_agent_decides_again_when_it_starts_and_when_it_ends(decided: float, due: float) -> None:
    """Else, with nothing new to decide on, when the lease is to be renewed: 20 s after it was."""
    nothing: Any = SimpleNamespace()
    weights = {"reco": decide(spec(), {}, None, decided).weights}
    agent = AllocateAgent(nothing, nothing, SimpleNamespace(changes=0), weights, nothing, nothing, nothing)  # type: ignore[arg-type]
    assert agent._due_at(spec()) == due
