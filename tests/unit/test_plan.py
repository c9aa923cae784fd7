"""`allocator plan`: what it prints, as a table and as JSON, what it draws, and how it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from allocator.errors import ArgumentError
from streams.cli import app, quantities
from streams.cli.plan import OPTION

SPEC = """
experiment: chat
arms: [small, medium, large]
control: small
metrics:
  thumbs_up: {type: binary, window: 1d}
  latency: {type: value, direction: down, window: 10m}
  clicks: count
objective: thumbs_up
constraints: {floor: 0.05}
enrolment: 0.5
holdback: 0.05
"""
RATE = ["--baseline", "10%", "--lift", "5%"]

Plan = Callable[..., Any]


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plan:
    """Runs `allocator plan` in a directory with a spec."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC)

    def invoke(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["plan", *arguments], env={"NO_COLOR": "1", "COLUMNS": "200"})

    return invoke


def answered(plan: Plan, *arguments: str) -> Any:
    result = plan(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_sample_size_and_its_time(plan: Plan) -> None:
    result = plan("--baseline", ".1", "--effect", ".01", "--traffic", "10000/day")
    assert result.exit_code == 0, result.stderr
    assert "binary metric: 0.1 on control, 0.11 (+10 %) found with power 80 %; two-sided, α 0.05\n" in result.stdout
    for word in ("14 749", "29 498", "2.9 d", "1 week", "method: two-sided z test", "assumes: Units are independent"):
        assert word in result.stdout
    [row] = answered(plan, "--baseline", ".1", "--effect", ".01", "--traffic", "10000/day")["rows"]
    assert [arm["units"] for arm in row["arms"]] == [14_749, 14_749]
    assert row["days"] == pytest.approx(2 * 14_748.045 / 10_000)
    assert row["assumptions"]


def test_the_three_questions_agree(plan: Plan) -> None:
    [size] = answered(plan, *RATE)["rows"]
    [power] = answered(plan, *RATE, "--units", str(size["total"]))["rows"]
    [least] = answered(plan, "--baseline", "10%", "--mde", "--units", str(size["total"]))["rows"]
    assert power["power"] == pytest.approx(0.8, abs=1e-4)
    assert least["lift"] == pytest.approx(0.05, rel=1e-4)
    assert answered(plan, "--baseline", "10%", "--units", str(size["total"]))["rows"] == [least]


def test_percent_and_fractions_are_the_same(plan: Plan) -> None:
    assert answered(plan, *RATE) == answered(plan, "--baseline", ".1", "--lift", "0.05", "--power", "80%", "--alpha", "5%")
    assert answered(plan, "--baseline", "10%", "--lift", "-5%")["rows"][0]["effect"] == pytest.approx(-0.005)


def test_a_spec_fills_in_arms_metric_and_usable_traffic(plan: Plan) -> None:
    found = answered(plan, "spec.yaml", "--baseline", "20%", "--lift", "5%", "--traffic", "10000/day")
    assert (found["metric"], found["comparisons"], found["usable"]) == ("thumbs_up", 2, pytest.approx(0.475))
    even, floor = found["rows"]
    assert [arm["arm"] for arm in even["arms"]] == ["small", "medium", "large"]
    assert [arm["share"] for arm in floor["arms"]] == [0.05, 0.05]
    assert floor["total"] == pytest.approx(even["total"] * (1 / 3) / 0.05, rel=1e-3)
    assert even["days"] == pytest.approx(even["total"] / 4750 + 1, rel=1e-4)
    text = plan("spec.yaml", "--baseline", "20%", "--lift", "5%", "--traffic", "10000/day").stdout
    for word in ("each of medium, large", "at the floor", "47.5 % are enrolled and not held back", "thompson", "(Bonferroni)"):
        assert word in text


def test_a_metric_that_should_fall_is_planned_to_fall(plan: Plan) -> None:
    found = answered(plan, "spec.yaml", "--metric", "latency", "--baseline", "2", "--sd", "1.5", "--mde", "--traffic", "10k/day")
    assert all(row["lift"] < 0 for row in found["rows"])
    assert all(row["days"] == pytest.approx(14 + 1 / 144) for row in found["rows"])
    guardrail = answered(
        plan, "spec.yaml", "--metric", "latency", "--baseline", "2", "--sd", "1.5", "--lift", "-5%", "--loss", "10%"
    )
    assert guardrail["rows"][0]["guardrail"]["loss"] == pytest.approx(0.2)


def test_counts_ratios_and_splits(plan: Plan) -> None:
    poisson = answered(plan, "spec.yaml", "--metric", "clicks", "--baseline", "3", "--lift", "2%")["rows"][0]
    spread = answered(plan, "spec.yaml", "--metric", "clicks", "--baseline", "3", "--lift", "2%", "--dispersion", "2")["rows"][0]
    assert spread["total"] == pytest.approx(2 * poisson["total"], rel=1e-4)
    ratio = answered(plan, "--ratio", "1.2,3,10,8,0.7", "--lift", "2%", "--split", "3:1")
    assert ratio["baseline"] == pytest.approx(0.12)
    assert [arm["share"] for arm in ratio["rows"][0]["arms"]] == [0.75, 0.25]


def test_several_arms_are_corrected_for_unless_asked_not_to(plan: Plan) -> None:
    corrected = answered(plan, *RATE, "--arms", "4")
    not_corrected = answered(plan, *RATE, "--arms", "4", "--correction", "none")
    assert (corrected["comparisons"], not_corrected["comparisons"]) == (3, 1)
    assert corrected["rows"][0]["total"] > not_corrected["rows"][0]["total"]
    assert answered(plan, *RATE, "--one-sided")["rows"][0]["total"] < answered(plan, *RATE)["rows"][0]["total"]


def test_many_alike_arms_are_one_line(plan: Plan) -> None:
    result = plan(*RATE, "--arms", "40")
    assert "each of 39 others" in result.stdout
    assert result.stdout.count("2.5 %") == 2


def test_a_guardrail_says_when_it_finds_a_loss(plan: Plan) -> None:
    found = answered(plan, *RATE, "--loss", "20%", "--traffic", "1000/day")["rows"][0]["guardrail"]
    assert found["loss"] == pytest.approx(-0.02)
    assert found["mean_total"] < found["total"] == pytest.approx(1000 * found["days"])
    assert found["total"] == pytest.approx(8644, rel=1e-3)
    text = plan(*RATE, "--loss", "20%", "--traffic", "1000/day").stdout
    assert "looked at all the time: a loss of 20 % is found within 8 644 units (8.6 d) with power 80 %" in text


def test_effects_by_time_shrink(plan: Plan) -> None:
    table = answered(plan, *RATE, "--traffic", "10000/day")["by_days"]
    least = [row["least_effect"]["even split"] for row in table]
    assert least == sorted(least, reverse=True)
    assert len(least) >= 4


def test_too_few_units_for_any_effect_are_a_dash(plan: Plan) -> None:
    result = plan("--baseline", "97%", "--effect", "2.9%", "--traffic", "20/day")
    assert result.exit_code == 0, result.stderr
    assert any(line.split()[-1:] == ["-"] for line in result.stdout.splitlines())


def test_curves_are_drawn_and_the_same_every_time(plan: Plan, tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        result = plan("spec.yaml", *RATE, "--traffic", "10000/day", "--loss", "10%", "--plot", name)
        assert result.exit_code == 0, result.stderr
        assert result.stdout.endswith(f"wrote {name}\n")
    drawn = (tmp_path / "one.svg").read_text()
    assert drawn == (tmp_path / "two.svg").read_text()
    for word in ("Power to find +5 %, thumbs_up", "at the floor: -10 % by a guardrail", "days, until the last reward is in"):
        assert f">{word}</text>" in drawn
    assert plan("--baseline", "0", "--metric", "value", "--sd", "1", "--effect", ".1", "--plot", "two.svg").exit_code == 0
    assert ">units in all arms</text>" in (tmp_path / "two.svg").read_text()


@pytest.mark.parametrize(
    "option,arguments",
    [
        ("--baseline", []),
        ("--baseline", ["--lift", "5%"]),
        ("--baseline", ["--baseline", "1.2", "--lift", "5%"]),
        ("--baseline", ["--baseline", "ten", "--lift", "5%"]),
        ("--baseline", ["--baseline", "1", "--ratio", "1.2,3,10,8,0.7", "--lift", "5%"]),
        ("--lift", ["--baseline", ".1"]),
        ("--lift", ["--baseline", ".1", "--lift", "0"]),
        ("--lift", ["--baseline", ".1", "--lift", "2000%"]),
        ("--lift", ["--metric", "value", "--sd", "1", "--baseline", "0", "--lift", "5%"]),
        ("--effect", ["--baseline", ".1", "--effect", "nan"]),
        ("--effect", [*RATE, "--effect", ".1"]),
        ("--effect", ["--baseline", ".1", "--effect", "1"]),
        ("--mde", [*RATE, "--mde"]),
        ("--mde", ["--baseline", ".1", "--mde"]),
        ("--units", ["--baseline", ".1", "--units", "0"]),
        ("--duration", [*RATE, "--units", "10", "--duration", "1d"]),
        ("--duration", ["spec.yaml", *RATE, "--duration", "1h", "--traffic", "10/day"]),
        ("--duration", [*RATE, "--duration", "soon"]),
        ("--traffic", [*RATE, "--duration", "1d"]),
        ("--traffic", [*RATE, "--traffic", "10"]),
        ("--traffic", [*RATE, "--traffic", "-10/day"]),
        ("--metric", [*RATE, "--metric", "thumbs_up"]),
        ("--metric", ["spec.yaml", *RATE, "--metric", "thumbs_down"]),
        ("--metric", ["--metric", "value", "--ratio", "1.2,3,10,8,0.7", "--lift", "5%"]),
        ("--sd", ["--metric", "value", "--baseline", "2", "--lift", "5%"]),
        ("--sd", [*RATE, "--sd", "2"]),
        ("--sd", ["--metric", "value", "--baseline", "2", "--lift", "5%", "--sd", "0"]),
        ("--dispersion", [*RATE, "--dispersion", "2"]),
        ("--ratio", ["--ratio", "1,2,3", "--lift", "5%"]),
        ("--ratio", ["--ratio", "1.2,3,10,8,7", "--lift", "5%"]),
        ("--arms", [*RATE, "--arms", "1"]),
        ("--arms", ["spec.yaml", *RATE, "--arms", "2"]),
        ("--split", [*RATE, "--split", "100"]),
        ("--split", [*RATE, "--split", "50:-50"]),
        ("--split", [*RATE, "--split", "1e300:1e300"]),
        ("--split", [*RATE, "--arms", "2", "--split", "1:1"]),
        ("--power", [*RATE, "--power", "1"]),
        ("--alpha", [*RATE, "--alpha", "0"]),
        ("--loss", [*RATE, "--loss", "0"]),
        ("--loss", [*RATE, "--loss", "100%"]),
        ("--plot", [*RATE, "--plot", "curves.png"]),
        ("[SPEC]", ["absent.yaml", *RATE]),
    ],
)
def test_wrong_usage_names_the_option_and_what_was_expected(plan: Plan, option: str, arguments: list[str]) -> None:
    result = plan(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"Invalid value for '{option}': " in result.stderr
    assert "expected" in result.stderr or "is not a" in result.stderr


def test_a_wrong_spec_fails_with_its_errors(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(SPEC.replace("0.05", "5"))
    result = plan("bad.yaml", *RATE)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "bad.yaml: holdback: 5: expected a share" in result.stderr
    (tmp_path / "idle.yaml").write_text(SPEC.replace("enrolment: 0.5", "enrolment: 0"))
    result = plan("idle.yaml", *RATE, "--traffic", "10/day")
    assert (result.exit_code, result.stderr) == (1, "enrolment: 0.0: expected a share that leaves units to compare\n")


def test_a_chart_that_cannot_be_written_fails_before_anything_is_printed(plan: Plan) -> None:
    result = plan(*RATE, "--plot", "absent/curves.svg")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "absent/curves.svg: No such file or directory: the chart was not written\n"


def test_every_option_that_an_argument_maps_to_exists(plan: Plan) -> None:
    text = plan("--help").stdout
    assert all(option in text for option in OPTION.values())


@pytest.mark.parametrize(
    "text,per_day",
    [
        ("10000/day", 10_000),
        ("10k/d", 10_000),
        ("1.5M / week", 1_500_000 / 7),
        ("500/h", 12_000),
        ("2/s", 172_800),
        ("1/min", 1440),
    ],
)
def test_traffic(text: str, per_day: float) -> None:
    assert quantities.per_day(text) == pytest.approx(per_day)


def test_no_parser_raises_what_hides_its_message() -> None:
    """Typer turns a ValueError, which ArgumentError is, into a sentence without what was expected."""
    for parser in (quantities.portion, quantities.per_day, quantities.split, quantities.ratio_moments, quantities.days):
        with pytest.raises(Exception, match="expected") as error:
            parser("nonsense")
        assert not isinstance(error.value, ArgumentError)
