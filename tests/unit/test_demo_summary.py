"""The summary's arithmetic, and that it sees every way in which counts can fail to add up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from streams.demo.report import events_line, outcomes_by_name, regret_line
from streams.demo.summary import Played, State, accuracy_of, events_of, summarise
from streams.records import ArmState

MODELS = ("a", "b")
PLAYED = Played(
    requests=10, served=[4, 6], earned=[2, 6], right=[5, 9], exposures=11, rewards=22, doubled=3, early=1, seconds=2.0
)


def arm(name: str, n: int, ppm: int = 500_000) -> ArmState:
    return ArmState(id=name, n=n, mean=0.5, interval=(0.4, 0.6), p_best=0.5, ppm=ppm)


STATE = State(
    version=7,
    reason="b leads",
    arms=[arm("a", 4, 200_000), arm("b", 6, 800_000)],
    counters={"exposures.applied": 10, "exposures.duplicate": 1, "rewards.applied": 20, "rewards.duplicate": 2},
)


def test_accuracy_on_the_rows_that_were_played() -> None:
    accuracy = accuracy_of(MODELS, PLAYED)
    assert (accuracy.earned, accuracy.uniform, accuracy.alone) == (0.8, 0.7, {"a": 0.5, "b": 0.9})
    assert (accuracy.best, accuracy.hindsight) == ("b", 0.9)
    assert accuracy.captured == pytest.approx(0.5)
    assert regret_line(accuracy).replace("\xa0", " ") == (
        "Regret against b alone: 10.00 points; even traffic would have had 20.00, so 50.0 % of it was saved while finding out "
        "which model is best."
    )


def test_with_equal_models_there_is_nothing_to_capture() -> None:
    accuracy = accuracy_of(MODELS, replace(PLAYED, right=[5, 5], earned=[2, 3]))
    assert accuracy.captured is None
    assert regret_line(accuracy) == "Regret against a alone: 0.00 points; even traffic would have had 0.00."


def test_counts_that_add_up() -> None:
    events = events_of(MODELS, PLAYED, STATE)
    assert events.add_up
    assert events_line(events) == "The counts add up: 33 events sent = 30 applied + 3 duplicate."


@pytest.mark.parametrize(
    "played, state, difference",
    [
        (PLAYED, replace(STATE, counters={**STATE.counters, "exposures.applied": 9}), "exposures: 11 sent, 10 counted"),
        (PLAYED, replace(STATE, counters={**STATE.counters, "rewards.late": 1}), "rewards: 22 sent, 23 counted"),
        (PLAYED, replace(STATE, arms=[arm("a", 4), arm("b", 7)]), "b: 6 requests served, 7 units in its arm"),
        (PLAYED, replace(STATE, arms=[arm("a", 4)]), "b: 6 requests served, 0 units in its arm"),
        (replace(PLAYED, undelivered=2), STATE, "2 records never reached the broker"),
    ],
)
def test_every_difference_is_named(played: Played, state: State, difference: str) -> None:
    events = events_of(MODELS, played, state)
    assert events.differences == [difference]
    assert not events.add_up
    assert events_line(events).startswith("THE COUNTS DO NOT ADD UP: 33 events sent, counted: ")
    assert difference in events_line(events)


def test_what_is_too_much_of_one_kind_does_not_make_up_for_too_little_of_another() -> None:
    counters = {**STATE.counters, "exposures.applied": 9, "rewards.applied": 21}
    assert len(events_of(MODELS, PLAYED, replace(STATE, counters=counters)).differences) == 2


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=6))
def test_accuracies_are_shares_and_the_best_bounds_them(rows: list[tuple[int, int]]) -> None:
    requests = 50 * len(rows)
    played = Played(requests=requests, served=[0] * len(rows), earned=[e for e, _ in rows], right=[r for _, r in rows])
    accuracy = accuracy_of([str(i) for i in range(len(rows))], played)
    shares = [accuracy.uniform, accuracy.earned, *accuracy.alone.values()]
    assert all(0 <= share <= 1 for share in shares)
    assert accuracy.hindsight == max(accuracy.alone.values()) >= accuracy.uniform - 1e-12


def test_outcomes_are_summed_over_kinds_applied_first() -> None:
    counters = {"exposures.repeated": 5, "exposures.applied": 1, "rewards.applied": 2, "rewards.late": 0, "rewards.waiting": 9}
    assert list(outcomes_by_name(counters).items()) == [("applied", 3), ("waiting", 9), ("repeated", 5)]


def test_the_summary_for_programs() -> None:
    found = summarise("m", MODELS, PLAYED, STATE).builtins()
    assert found["accuracy"]["hindsight_best"] == {"model": "b", "accuracy": 0.9}
    assert found["events"]["add_up"] is True
    assert found["events"]["sent"] == {"exposures": 11, "rewards": 22}
    assert found["weights"] == {"version": 7, "ppm": {"a": 200_000, "b": 800_000}}
    assert [row["n"] for row in found["arms"]] == [4, 6]
