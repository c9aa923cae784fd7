"""Laws of the ramp over random histories of time, units, breaches, words and edits of the list."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator import assign
from allocator.decide import decide
from allocator.experiment import Experiment
from allocator.stages import next_standing, said
from allocator.standing import Breach, Standing
from tests.ramps import breach, ramped

T = 1_000_000.0


@st.composite
def ramps(draw: st.DrawFn) -> Experiment:
    shares = sorted(draw(st.lists(st.integers(1, 100), min_size=1, max_size=6, unique=True)))
    gates = st.fixed_dictionaries(
        {
            "min_time": st.sampled_from([0, 5, 60]),
            "min_units": st.sampled_from([0, 10, 500]),
            "advance": st.sampled_from(["auto", "auto", "manual"]),
        }
    )
    return ramped([{"enrolment": f"{share}%", **draw(gates)} for share in shares])


@st.composite
def events(draw: st.DrawFn) -> list[dict[str, Any]]:
    one = st.fixed_dictionaries(
        {
            "seconds": st.sampled_from([0.1, 1.0, 5.0, 100.0]),
            "units": st.sampled_from([-3, 0, 7, 600]),
            "clean": st.booleans(),
            "breach": st.sampled_from([None, None, None, "alert", "freeze", "evict"]),
            "overrule": st.sampled_from([False, False, True]),
            "word": st.sampled_from([None, None, "advance", "back"]),
            "status": st.sampled_from(["running", "running", "running", "paused"]),
            "spec": st.none() | ramps() if draw(st.booleans()) else st.none(),
        }
    )
    return draw(st.lists(one, max_size=25))


def play(spec: Experiment, history: list[dict[str, Any]], check: Any = None) -> list[Standing]:
    """Standings after each event; `check(spec, before, step, units, now, event)` after each."""
    standing, published, units, now, found = Standing(), None, 0, T, []
    for event in [{}, *history]:
        now, units = now + event.get("seconds", 0.0), max(0, units + event.get("units", 0))
        if event.get("spec") is not None:
            spec = msgspec.structs.replace(event["spec"], word=spec.word)
        spec = msgspec.structs.replace(spec, status=event.get("status", "running"))
        breaches: tuple[Breach, ...] = () if event.get("overrule") else standing.breaches
        if event.get("breach"):
            breaches = (*breaches, breach(now, event["breach"]))
        standing = msgspec.structs.replace(standing, breaches=breaches)
        if event.get("word") and 0 < standing.stage < len(spec.stages) - 1 and standing.stage_since:
            spec = said(spec, standing, event["word"], "")
        step = next_standing(spec, standing, published, units, now, partial(event.get, "clean", True))
        if check is not None:
            check(spec, standing, step, units, now, event)
        standing, published = step.standing, step.enrolled_ppm
        found.append(standing)
    return found


@settings(max_examples=50)
@given(ramps(), events())
def test_the_stage_is_one_of_the_list_and_the_enrolment_is_its(spec: Experiment, history: Any) -> None:
    def check(spec: Experiment, _before: Standing, step: Any, *_: Any) -> None:
        assert 0 <= step.standing.stage < len(spec.stages)
        assert step.enrolled_ppm == spec.stages[step.standing.stage].ppm

    play(spec, history, check)


@settings(max_examples=50)
@given(ramps(), events())
def test_no_stage_is_left_for_the_next_one_past_a_closed_gate(spec: Experiment, history: Any) -> None:
    def check(spec: Experiment, before: Standing, step: Any, units: int, now: float, event: Any) -> None:
        if step.move != "advance":
            return
        stage = spec.stages[before.stage]
        assert step.standing.stage == before.stage + 1
        assert now - before.stage_since >= stage.min_time_s
        assert units - before.stage_units >= stage.min_units
        assert all(found.action == "alert" for found in before.breaches)
        assert event["clean"]
        assert spec.status == "running"
        word = spec.word
        leave = word is not None and (word.go, word.enrolment, word.since) == ("advance", stage.enrolment, before.stage_since)
        assert leave or stage.advance == "auto"
        if word is not None and word.go == "back":
            assert step.standing.stage == 0 or spec.stages[step.standing.stage].enrolment < word.enrolment

    play(spec, history, check)


@settings(max_examples=50)
@given(ramps(), events())
def test_a_breach_that_is_new_takes_back_and_one_that_stands_keeps(spec: Experiment, history: Any) -> None:
    def check(spec: Experiment, before: Standing, step: Any, _units: int, now: float, event: Any) -> None:
        if event.get("breach") in ("freeze", "evict") and step.state not in ("paused", "new", "changed"):
            assert step.move == "roll back"
            assert step.standing.stage == max(0, before.stage - 1)
        if any(found.action != "alert" for found in before.breaches):
            assert step.move != "advance"
        if step.moved and step.standing.stage != before.stage and step.state != "changed":
            assert (step.standing.stage_since, step.standing.breaches) == (now, before.breaches)

    play(spec, history, check)


@settings(max_examples=50)
@given(ramps(), events())
def test_the_same_history_gives_the_same_standings(spec: Experiment, history: Any) -> None:
    assert play(spec, history) == play(spec, history)


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=5, unique=True), st.text(min_size=1, max_size=8))
def test_a_stage_further_up_only_adds_units(permille: list[int], unit: str) -> None:
    spec = ramped([{"enrolment": share / 1000} for share in sorted(permille)])
    weights, before = None, None
    for i in range(len(spec.stages)):
        decision = decide(spec, {}, weights, T + i)
        weights = decision.weights
        assert weights.standing.stage == i
        now = assign(weights, unit, T + i)
        if before is not None and before.enrolled:
            assert (now.enrolled, now.arm) == (True, before.arm)
        before = now
