"""What a gate can see, and what `apply` prints of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from allocator.errors import ArgumentError
from allocator.inference import Count, Design, Mean, Proportion, early_detection
from allocator.inference.stage_power import LOSS, KnownBaseline, baseline_of, gate_powers, watched
from streams.cli import app
from tests.ramps import ramped

VALUE = {"revenue": {"type": "value", "prior": {"mean": 10, "sd": 30, "units": 50}}}


def found(**changes: Any) -> Any:
    spec = ramped(metrics=VALUE, holdback="10%", **changes)
    return gate_powers(spec, "revenue", baseline_of(spec, "revenue"), 0.05, 100_000.0)


def test_units_are_those_of_a_guardrail_that_is_looked_at_all_the_time() -> None:
    whole = early_detection(Mean(10, 30), -0.5, Design((0.5, 0.5), two_sided=False))
    gates = found()
    assert {gate.units for gate in gates} == {int(whole.total) + 1}
    assert [gate.days for gate in gates] == pytest.approx([whole.total / (90_000 * x) for x in (0.01, 0.1, 0.5, 0.9)])
    assert gates[0].method == whole.method


def test_a_gate_sees_the_units_of_its_stage_and_of_those_before() -> None:
    stages = [{"enrolment": 0.1, "min_time": "1d"}, {"enrolment": 0.5, "min_units": 100_000, "min_time": "1d"}, {"enrolment": 1}]
    gates = found(stages=stages)
    assert [gate.gate_units for gate in gates] == [9000, 109_000, None]
    assert gates[0].gate_power < 0.5 < gates[1].gate_power
    assert gates[2].gate_power is None
    assert [gate.gate_power for gate in found(stages=[{"enrolment": 0.1}, {"enrolment": 1}])] == [0.0, None]


def test_the_baseline_is_given_or_the_priors_or_assumed() -> None:
    good = {"type": "binary", "arm_priors": {"a": {"mean": 0.3}}}
    spec = ramped(metrics={**VALUE, "good": good, "bad": "binary", "clicks": "count", "x": "value"}, objective="good")
    assert baseline_of(spec, "revenue") == KnownBaseline(Mean(10.0, 30.0), "prior")
    assert baseline_of(spec, "revenue", 20.0) == KnownBaseline(Mean(20.0, 30.0), "given")
    assert baseline_of(spec, "good") == KnownBaseline(Proportion(0.3), "prior")
    assert baseline_of(spec, "bad") == KnownBaseline(Proportion(0.1), "assumed")
    assert baseline_of(spec, "clicks") == KnownBaseline(Count(1.0), "assumed")
    assert baseline_of(spec, "x") == KnownBaseline(Mean(1.0, 1.0), "assumed")
    with pytest.raises(ArgumentError, match="baseline"):
        baseline_of(spec, "bad", 2.0)
    assert watched(spec) == {"good": LOSS}


def test_no_loss_is_a_share_of_nothing() -> None:
    assert gate_powers(ramped(metrics=VALUE), "revenue", KnownBaseline(Mean(0.0, 1.0), "given"), 0.05) == ()


# -- apply -----------------------------------------------------------------------------------------------------------------------

SPEC = """
experiment: reco
arms: [a, b]
metrics: {cart: binary}
stages: [{enrolment: 1%, min_units: 1000}, {enrolment: 50%}]
"""


DETECTS = "detects a loss of 2 % in cart with power 0.8 after 419,521 units"


def apply(path: Path, text: str, *options: str) -> Any:
    path = path / "spec.yaml"
    path.write_text(text)
    return CliRunner().invoke(app, ["apply", "--dry-run", str(path), *options], env={"NO_COLOR": "1", "COLUMNS": "200"})


def test_apply_says_what_each_gate_can_see(tmp_path: Path) -> None:
    result = apply(tmp_path, SPEC, "--traffic", "100k/day", "--baseline", "20%")
    assert result.stdout.splitlines() == [
        "reco: checked, nothing written",
        f"  stage 1 of 2, 1 % enrolled: {DETECTS} (about 420 d); its gate may open after 1,000 in all, power below 0.01",
        f"  stage 2 of 2, 50 % enrolled: {DETECTS} (about 8 d)",
        "  cart on control: 20 % (as given)",
    ]
    assert "(an assumption, --baseline says better)" in apply(tmp_path, SPEC).stdout


def test_apply_says_nothing_of_an_experiment_without_stages_or_without_a_second_arm(tmp_path: Path) -> None:
    assert apply(tmp_path, SPEC.replace("stages:", "segments: [] #")).stdout == "reco: checked, nothing written\n"
    assert apply(tmp_path, SPEC.replace("[a, b]", "[a]")).stdout == "reco: checked, nothing written\n"


def test_a_baseline_the_metric_cannot_have_is_wrong_usage(tmp_path: Path) -> None:
    result = apply(tmp_path, SPEC, "--baseline", "2")
    assert (result.exit_code, "a rate above 0 and below 1" in result.stderr) == (2, True)


def test_the_json_has_the_figures(tmp_path: Path) -> None:
    [spec] = json.loads(apply(tmp_path, SPEC, "--json").stdout)
    found = [(stage["stage"], stage["gate_units"], stage["days"]) for stage in spec["stages"]]
    assert found == [(0, 1000, None), (1, None, None)]
