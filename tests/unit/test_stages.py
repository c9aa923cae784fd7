"""The ramp, transition by transition, and what a decision makes of it. Laws over random histories are in tests/property."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import msgspec
import pytest

from allocator import Evidence, decide, decide_all
from allocator.errors import SpecErrors
from allocator.experiment import Experiment
from allocator.stages import _MOVES, TABLE, State, Step, next_standing, opens_at, said
from allocator.standing import Standing
from allocator.weights import Weights
from tests.ramps import RAMP, breach, counted, ramped, with_word

HOUR = 3600.0
T = 1_000_000.0
"""When the stage was entered."""
BEGAN, TENTH, HALF, TOP = (
    Standing(stage=place, stage_since=T, stage_units=200, stage_ppm=ppm)
    for place, ppm in enumerate((10_000, 100_000, 500_000, 900_000))
)


def never() -> bool:
    raise AssertionError("the sample ratio is not to be asked for here")


def step(
    standing: Standing,
    experiment: Experiment | None = None,
    *,
    published_ppm: int | None = 0,
    units: int = 10_000,
    now: float = T + HOUR,
    clean: bool | None = True,
) -> Step:
    """One hour and 9800 units into the stage, everything clean; `clean` None: it must not be asked for."""
    experiment = ramped() if experiment is None else experiment
    ratio = never if clean is None else lambda: bool(clean)
    return next_standing(experiment, standing, published_ppm, units, now, ratio)


def broken(standing: Standing, *breaches: Any) -> Standing:
    return msgspec.structs.replace(standing, breaches=breaches)


# -- the table -------------------------------------------------------------------------------------------------------------------


def test_the_table_has_every_state_once_and_the_last_one_always_holds() -> None:
    assert [rule.state for rule in TABLE] == list(get_args(State))
    assert len({rule.when for rule in TABLE}) == len(TABLE)
    assert TABLE[-1].state == "open"


def test_every_move_to_a_stage_says_where_to() -> None:
    assert {rule.state for rule in TABLE if rule.move not in ("stay", "wait for a person")} == set(_MOVES)


EARLY = broken(BEGAN, breach(T - 1))
CASES: Mapping[State, tuple[Step, int]] = {
    "unstaged": (step(Standing(), ramped(None), published_ppm=1_000_000, clean=None), 0),
    "over": (step(HALF, ramped(status="stopped"), clean=None), 2),
    "shut": (step(HALF, ramped(schedule={"end": "1970-01-02T00:00Z"}), clean=None), 2),
    "new": (step(Standing(), published_ppm=None, clean=None), 0),
    "changed": (step(HALF, ramped([*RAMP[:2], RAMP[3]]), clean=None), 1),
    "paused": (step(BEGAN, ramped(status="paused"), clean=None), 0),
    "broken": (step(broken(HALF, breach(T + 1)), clean=None), 1),
    "recalled": (step(HALF, with_word(ramped(), "back", 2, T), clean=None), 1),
    "last": (step(TOP, clean=None), 3),
    "young": (step(BEGAN, now=T + HOUR - 0.001, clean=None), 0),
    "short": (step(BEGAN, units=1199, clean=None), 0),
    "breached": (step(EARLY, clean=None), 0),
    "unspoken": (step(TENTH, clean=None), 1),
    "skewed": (step(BEGAN, clean=False), 0),
    "open": (step(BEGAN, units=1200), 1),
}


def test_there_is_a_case_for_every_state() -> None:
    assert set(CASES) == set(get_args(State))


@pytest.mark.parametrize("state", get_args(State))
def test_every_state_makes_its_move_and_none_asks_for_the_sample_ratio_too_soon(state: State) -> None:
    found, place = CASES[state]
    rule = next(rule for rule in TABLE if rule.state == state)
    assert (found.state, found.move, found.standing.stage) == (state, rule.move, place)
    assert found.moved == (state in _MOVES)


# -- entering --------------------------------------------------------------------------------------------------------------------


def test_the_first_stage_is_entered_with_the_first_weights() -> None:
    found = step(Standing(), published_ppm=None, units=7)
    assert found.standing == Standing(stage=0, stage_since=T + HOUR, stage_units=7, stage_ppm=10_000)
    assert (found.enrolled_ppm, found.reason) == (10_000, "stage 1 of 4: 1 % enrolled")


def test_a_gate_that_holds_is_passed_and_time_and_units_count_anew() -> None:
    found = step(BEGAN, units=1500)
    assert found.standing == Standing(stage=1, stage_since=T + HOUR, stage_units=1500, stage_ppm=100_000)
    assert found.enrolled_ppm == 100_000
    assert found.reason == ("stage 2 of 4, a tenth: 10 % enrolled after 1h, 1 300 units, guardrails clean, sample ratio clean")


def test_one_stage_is_passed_at_a_time() -> None:
    spec = ramped([{"enrolment": share} for share in ("1%", "2%", "3%")])
    assert step(Standing(stage_since=T, stage_ppm=10_000), spec).standing.stage == 1


def test_an_enrolment_without_stages_is_the_specs() -> None:
    found = step(broken(HALF, breach(T)), ramped(None, enrolment=0.25), published_ppm=1)
    assert (found.enrolled_ppm, found.standing) == (250_000, Standing(breaches=(breach(T),)))


# -- the gate --------------------------------------------------------------------------------------------------------------------


def test_units_that_are_taken_back_open_nothing() -> None:
    assert step(msgspec.structs.replace(BEGAN, stage_units=9_500)).state == "short"
    assert step(msgspec.structs.replace(BEGAN, stage_units=20_000)).state == "short"


def test_an_alert_closes_no_gate_and_takes_nothing_back() -> None:
    assert step(broken(BEGAN, breach(T - 1, "alert"), breach(T + 1, "alert"))).state == "open"


@pytest.mark.parametrize("action", ["freeze", "cap", "evict", "stop"])
def test_any_other_breach_does_both(action: Any) -> None:
    assert step(broken(BEGAN, breach(T - 1, action))).state == "breached"
    assert step(broken(HALF, breach(T + 1, action))).state == "broken"


def test_a_word_opens_the_gate_of_the_stay_it_was_said_of_and_of_no_other() -> None:
    found = step(TENTH, with_word(ramped(), "advance", 1, T, "looks good"))
    assert found.standing.stage == 2
    assert found.reason.endswith("sample ratio clean, a person's word: looks good")
    for spec in (with_word(ramped(), "advance", 1, T - 1), with_word(ramped(), "advance", 2, T)):
        assert step(TENTH, spec).state == "unspoken"
    assert step(BEGAN, with_word(ramped(), "advance", 0, T), units=300).state == "short", "a word is no gate's whole"


# -- back ------------------------------------------------------------------------------------------------------------------------


def test_a_breach_takes_one_stage_back_and_the_gate_holds_anew() -> None:
    found = step(broken(HALF, breach(T + 1)))
    assert found.standing == Standing(
        stage=1, stage_since=T + HOUR, stage_units=10_000, stage_ppm=100_000, breaches=(breach(T + 1),)
    )
    assert (found.enrolled_ppm, found.reason) == (
        100_000, "stage 2 of 4, a tenth: 10 % enrolled, rolled back: b broke good (evict)"
    )  # fmt: skip
    again = step(found.standing, with_word(ramped(), "advance", 1, T + HOUR), now=T + 9 * HOUR)
    assert (again.state, again.reason) == ("breached", "b broke good (evict), and nobody has overruled it")
    overruled = msgspec.structs.replace(found.standing, breaches=(breach(T + 1, "alert"),))
    assert step(overruled, now=T + 9 * HOUR).state == "unspoken"


def test_a_word_before_the_way_back_is_not_one_after_it() -> None:
    spec = with_word(ramped(), "advance", 1, T)
    half = step(TENTH, spec).standing
    back = step(broken(half, breach(T + HOUR + 1)), spec, now=T + HOUR + 1).standing
    cleared = msgspec.structs.replace(back, breaches=())
    assert (cleared.stage, step(cleared, spec, now=T + 9 * HOUR).state) == (1, "unspoken")


def test_every_new_breach_takes_one_stage_back_down_to_the_first_which_begins_anew() -> None:
    standing, places = TOP, []
    for i in range(1, 6):
        standing = broken(standing, *standing.breaches, breach(T + 10 * i))
        found = step(standing, now=T + 10 * i)
        standing = found.standing
        places.append(standing.stage)
    assert places == [2, 1, 0, 0, 0]
    assert found.reason == "stage 1 of 4: 1 % enrolled, begins anew: b broke good (evict)"
    assert standing.stage_since == T + 50


def test_back_by_a_person_stays_until_a_person_says_advance() -> None:
    spec = with_word(ramped(), "back", 3, T, "odd logs")
    found = step(TOP, spec)
    assert (found.standing.stage, found.reason) == (2, "stage 3 of 4: 50 % enrolled, rolled back by a person: odd logs")
    later = T + 99 * HOUR
    assert step(found.standing, spec, now=later, units=10**6).state == "unspoken", "though the stage is automatic"
    assert step(BEGAN, spec).state == "open", "below that, it goes on"
    advance = with_word(spec, "advance", 2, found.standing.stage_since)
    assert step(found.standing, advance, now=later, units=10**6).standing.stage == 3


# -- another list ----------------------------------------------------------------------------------------------------------------


def test_stages_to_come_change_freely() -> None:
    found = step(BEGAN, ramped([RAMP[0], {"enrolment": "20%"}, {"enrolment": 1}]), units=300)
    assert (found.state, found.standing) == ("short", BEGAN)


def test_a_stage_at_another_place_is_the_same_stay() -> None:
    found = step(TENTH, ramped([{"enrolment": "0.1%"}, *RAMP]))
    assert found.standing == msgspec.structs.replace(TENTH, stage=2)
    assert found.reason == "stage 3 of 5, a tenth: 10 % enrolled, as the stages are now"


@pytest.mark.parametrize(
    "stages,in_force_ppm,place",
    [
        ([{"enrolment": "1%"}, {"enrolment": "20%"}], 100_000, 0),  # what was 10 % is 20 % now: the largest below
        ([{"enrolment": "2%"}, {"enrolment": "5%"}], 100_000, 1),
        ([{"enrolment": "20%"}, {"enrolment": "50%"}], 100_000, 0),  # nothing below: the first
        ([{"enrolment": "1%"}], 100_000, 0),
        (RAMP, 1_000_000, 3),  # it had no stages before
    ],
)
def test_another_list_never_takes_it_further_up(stages: Any, in_force_ppm: int, place: int) -> None:
    for standing in (msgspec.structs.replace(TENTH, stage_ppm=in_force_ppm), Standing()):
        found = step(standing, ramped(stages), published_ppm=in_force_ppm)
        assert (found.state, found.standing.stage, found.standing.stage_since) == ("changed", place, T + HOUR)


# -- time ------------------------------------------------------------------------------------------------------------------------


def test_the_gate_may_open_by_time_where_time_is_waited_for() -> None:
    never_opens = float("inf")
    assert opens_at(ramped(), BEGAN) == T + HOUR
    assert opens_at(ramped(), TENTH) == T
    for spec, standing in ((ramped(), TOP), (ramped(), Standing()), (ramped(status="paused"), BEGAN), (ramped(None), Standing())):
        assert opens_at(spec, standing) == never_opens


# -- a person's word -------------------------------------------------------------------------------------------------------------


def test_a_word_is_of_the_stage_in_force_and_makes_a_revision() -> None:
    spec = said(ramped(), TENTH, "advance", "fine")
    assert spec == msgspec.structs.replace(with_word(ramped(), "advance", 1, T, "fine"), revision=2)
    assert spec.spec_hash == ramped().spec_hash


@pytest.mark.parametrize(
    "spec,standing,go,expected",
    [
        (ramped(None), Standing(), "advance", "an experiment with stages"),
        (ramped(status="stopped"), TENTH, "back", "this one is stopped"),
        (ramped(), Standing(), "advance", "weights that know the stages"),
        (ramped(), TOP, "advance", "not the last one, stage 4 of 4"),
        (ramped(), BEGAN, "back", "allocator pause holds it"),
    ],
)
def test_a_word_that_means_nothing_is_refused(spec: Experiment, standing: Standing, go: Any, expected: str) -> None:
    with pytest.raises(SpecErrors, match=expected):
        said(spec, standing, go, "")


# -- decisions -------------------------------------------------------------------------------------------------------------------


def decided(spec: Experiment, previous: Weights | None, now: float, n: int = 0) -> Any:
    return decide(spec, counted(a=n, b=n), previous, now)


def test_a_change_of_stage_is_published_at_once_and_says_why() -> None:
    spec = ramped()
    first = decided(spec, None, T)
    assert first.reason.startswith("stage 1 of 4: 1 % enrolled; first weights")
    waiting = decided(spec, first.weights, T + 10, 400)
    assert (waiting.publish, waiting.ramp.reason) == (False, "until 1h have passed")
    passed = decided(spec, first.weights, T + HOUR, 500)
    assert passed.publish
    assert passed.weights.enrolment.ppm == 100_000
    assert passed.weights.standing == Standing(stage=1, stage_since=T + HOUR, stage_units=1000, stage_ppm=100_000)
    assert passed.reason.startswith(
        "stage 2 of 4, a tenth: 10 % enrolled after 1h, 1 000 units, guardrails clean, sample ratio clean; warm-up"
    )


def test_the_ramp_goes_on_from_the_published_record_whoever_decides() -> None:
    spec, kept, handed = ramped(), None, None
    for i in range(12):
        now, n = T + i * HOUR, 400 * i
        kept = decided(spec, kept, now, n).weights
        handed = decided(spec, handed, now, n).weights
        handed = msgspec.json.decode(msgspec.json.encode(handed), type=Weights)
        if kept.standing.stage == 1:
            spec = said(spec, kept.standing, "advance", "")
    assert kept == handed
    assert kept is not None
    assert kept.standing.stage == 3


def test_the_ramp_begins_when_the_schedule_does_and_stands_still_after_it() -> None:
    spec = ramped(schedule={"start": "1970-01-02T00:00Z", "end": "1970-01-02T12:00Z"})
    before = decided(spec, None, HOUR).weights
    assert (before.enrolment.ppm, before.standing) == (0, Standing())
    assert not decided(spec, before, HOUR + 5).publish
    begun = decided(spec, before, 24 * HOUR).weights
    assert (begun.enrolment.ppm, begun.standing.stage_since) == (10_000, 24 * HOUR)
    ended = decided(spec, begun, 36 * HOUR, 9000).weights
    assert (ended.enrolment.ppm, ended.standing) == (0, begun.standing)
    assert not decided(spec, ended, 36 * HOUR + 5, 9900).publish
    longer = decided(ramped(schedule={"end": "1970-01-09T00:00Z"}), ended, 37 * HOUR, 9900).weights
    assert (longer.enrolment.ppm, longer.standing.stage) == (100_000, 1)


def test_a_breach_that_begins_the_first_stage_anew_is_published_though_routers_see_no_difference() -> None:
    spec = ramped(guardrails={"good": {"tolerance": 0.01, "action": "evict"}})
    first = decided(spec, None, T).weights
    hit = msgspec.structs.replace(first, standing=broken(first.standing, breach(T + 1)))
    found = decided(spec, hit, T + 2)
    assert (found.publish, found.weights.enrolment, found.weights.standing.stage_since) == (True, first.enrolment, T + 2)


def test_segments_obey_the_stage_of_the_experiment_and_carry_none() -> None:
    spec = ramped(segments=["pro"], policy="per-segment")
    evidence = Evidence.of_arms(spec.arm_ids, 1, counted(a=600, b=600))
    first = {segment: found.weights for segment, found in decide_all(spec, evidence, {}, T).items()}
    then = decide_all(spec, Evidence.of_arms(spec.arm_ids, 1, counted(a=1200, b=1200)), first, T + HOUR)
    assert list(then) == [None, "pro", "other"]
    assert {found.weights.enrolment.ppm for found in then.values()} == {100_000}
    assert all(found.publish and found.reason.startswith("stage 2 of 4") for found in then.values())
    assert [found.weights.standing.stage for found in then.values()] == [1, 0, 0]


def test_a_skewed_sample_ratio_keeps_the_stage() -> None:
    spec = ramped()
    first = decided(spec, None, T).weights
    found = decide(spec, counted(a=6000, b=4000), first, T + HOUR)
    assert (found.ramp.state, found.weights.standing) == ("skewed", first.standing)


def test_a_stage_counts_its_units_anew_in_a_new_phase() -> None:
    """What was counted by then is of the former one; the stage and when it was entered stay."""
    spec = ramped([{"enrolment": "1%", "min_units": 300}, {"enrolment": "10%"}])
    first = decide(spec, counted(a=80, b=80), None, T).weights
    assert first.standing.stage_units == 160
    phase = msgspec.structs.replace(spec, phase=2, since=T)
    second = decide(phase, counted(a=150, b=149), first, T + 1).weights
    assert second.standing == msgspec.structs.replace(first.standing, stage_units=0, phase=2)
    assert decide(phase, counted(a=150, b=150), second, T + 2).weights.standing.stage == 1
