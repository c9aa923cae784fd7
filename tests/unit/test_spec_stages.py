"""Stages in a spec: read, refused with the path, shown and applied again. Shares as percentages."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from allocator.errors import SpecErrors
from allocator.experiment import Experiment
from allocator.lifecycle import differences, revise
from allocator.ramp import Stage
from allocator.spec import load_experiment
from allocator.spec_stages import STAGES_MAX
from streams.cli.spec_yaml import to_yaml
from tests.ramps import RAMP, ramped, with_word


def test_stages_have_defaults_and_the_last_one_says_the_enrolment() -> None:
    first = {"enrolment": "1%", "min_time": "1h", "min_units": 1000, "advance": "manual", "name": "first"}
    spec = ramped([first, {"enrolment": 0.9}])
    assert spec.stages == (
        Stage(enrolment=0.01, min_time_s=3600.0, min_units=1000, advance="manual", name="first"),
        Stage(enrolment=0.9, min_time_s=0.0, min_units=0, advance="auto", name=""),
    )
    assert spec.enrolment == 0.9
    assert ramped(None).stages == ()


@pytest.mark.parametrize("text", ["10%", "10 %", "10.0%", 0.1, "0.1"])
def test_a_share_is_a_number_or_a_percentage(text: Any) -> None:
    fields = {"holdback": text, "enrolment": text, "constraints": {"floor": text, "cap": "60%"}}
    if text == "0.1":
        with pytest.raises(SpecErrors, match=r"enrolment: '0.1': expected a share between 0 and 1"):
            ramped(None, **fields)
        return
    spec = ramped(None, **fields)
    assert (spec.holdback, spec.enrolment, spec.constraints.floor, spec.constraints.cap) == (0.1, 0.1, 0.1, 0.6)


@pytest.mark.parametrize("text", ["101%", "-1%", "ten%", "%", "1e1%"])
def test_a_wrong_percentage_is_shown_as_it_was_written(text: str) -> None:
    with pytest.raises(SpecErrors, match="holdback: " + repr(text) + ": expected a share"):
        ramped(None, holdback=text)


@pytest.mark.parametrize(
    "stages,errors",
    [
        ("10%", ["stages: '10%': expected a list of stages, such as"]),
        (["10%"], ["stages[0]: '10%': expected a mapping of enrolment, min_time, min_units, advance, name"]),
        ([{}], ["stages[0].enrolment: 'missing': expected a share above 0"]),
        ([{"enrolment": 0}], ["stages[0].enrolment: 0: expected a share above 0"]),
        ([{"enrolment": True}], ["stages[0].enrolment: True: expected a share above 0"]),
        ([{"enrolment": 1e-7}], ["stages[0].enrolment: 1e-07: expected a share above 0"]),
        ([{"enrolment": "10%"}, {"enrolment": "10%"}], ["stages[1].enrolment: '10%': expected more than 0.1"]),
        (
            [{"enrolment": "10%"}, {"enrolment": "x"}, {"enrolment": 0.1}, {"enrolment": 0.2}],
            ["stages[1].enrolment: 'x': expected a share", "stages[2].enrolment: 0.1: expected more than 0.1"],
        ),
        ([{"enrolment": 1, "min_tme": "1h"}], ["stages[0].min_tme: '1h': expected one of", "did you mean 'min_time'?"]),
        ([{"enrolment": 1, "min_time": "soon"}], ["stages[0].min_time: 'soon': expected 0 or a duration"]),
        ([{"enrolment": 1, "min_time": -1}], ["stages[0].min_time: -1: expected 0 or a duration"]),
        ([{"enrolment": 1, "min_units": 1.5}], ["stages[0].min_units: 1.5: expected a whole number of at least 0"]),
        ([{"enrolment": 1, "advance": "manul"}], ["stages[0].advance: 'manul': expected auto or manual; did you mean 'manual'?"]),
        ([{"enrolment": 1, "name": 3}], ["stages[0].name: 3: expected a text"]),
        ([{"enrolment": (i + 1) / 100} for i in range(STAGES_MAX + 1)], [f"expected at most {STAGES_MAX}"]),
    ],
)
def test_what_is_wrong_is_named(stages: Any, errors: list[str]) -> None:
    with pytest.raises(SpecErrors) as caught:
        ramped(stages)
    assert all(error in str(caught.value) for error in errors), str(caught.value)
    assert len(caught.value.errors) == sum(error.startswith("stages[") for error in errors) or len(errors) == 1


def test_an_enrolment_beside_stages_is_refused_and_the_text_says_which_to_drop() -> None:
    with pytest.raises(SpecErrors, match=r"enrolment: 0\.5: expected nothing beside stages, .*; drop enrolment, or stages"):
        ramped(enrolment=0.5)
    assert ramped(enrolment="90%") == ramped(), "where the ramp leads"


@pytest.mark.parametrize("spec", [ramped(), with_word(ramped(), "back", 1, 1764000000.1234567, "odd"), ramped(None)])
def test_what_is_shown_or_recorded_reads_back_the_same(spec: Experiment) -> None:
    assert load_experiment(to_yaml(spec)) == spec
    assert load_experiment(msgspec.json.encode(spec).decode()) == spec
    assert msgspec.json.decode(msgspec.json.encode(spec), type=Experiment) == spec


@pytest.mark.parametrize("word", ["advance", {"go": "up"}, {"go": "back", "enrolment": 0.1, "since": "now"}])
def test_a_word_that_no_command_wrote_is_refused(word: Any) -> None:
    with pytest.raises(SpecErrors, match=r"word: .*: expected nothing, or what allocator advance writes"):
        ramped(word=word)


# -- a running experiment --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stages", [RAMP[:2], RAMP[1:], [{"enrolment": "2%"}], None])
def test_stages_may_change_in_any_way(stages: Any) -> None:
    revised = revise(ramped(), ramped(stages))
    assert (revised.stages, revised.revision) == (ramped(stages).stages, 2)


def test_a_persons_word_stays_with_the_running_experiment_and_is_no_change_of_the_spec() -> None:
    current = with_word(ramped(), "advance", 1, 17.0)
    assert revise(current, ramped()) is current
    assert revise(current, ramped(owner="x")).word == current.word
    assert revise(ramped(), with_word(ramped(owner="x"), "back", 1, 18.0)).word is None
    assert revise(None, current).word is None
    assert differences(current, ramped()) == []
    assert current.spec_hash == ramped().spec_hash
