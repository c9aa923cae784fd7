"""`allocator plan --simulate`: policies beside fixed splits, the same on any number of processes, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streams.cli import app

SPEC = """
experiment: chat
arms: [small, large]
metrics: {thumbs_up: {type: binary, window: 1h}, clicks: count}
objective: thumbs_up
constraints: {warmup: 0}
enrolment: 0.5
holdback: 0.1
"""
QUESTION = ["--baseline", "20%", "--lift", "50%", "--traffic", "1000/day"]
QUICK = ["--simulate", "40", "--batch", "20", "--processes", "1"]

Plan = Callable[..., Any]


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Plan:
    """Runs `allocator plan spec.yaml` in a directory with that spec."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC)

    def invoke(*arguments: str, spec: str | None = "spec.yaml") -> Any:
        command = ["plan", *([spec] if spec else []), *arguments]
        return CliRunner().invoke(app, command, env={"NO_COLOR": "1", "COLUMNS": "200"})

    return invoke


def answered(plan: Plan, *arguments: str) -> Any:
    result = plan(*QUESTION, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_policy_stands_beside_the_split(plan: Plan) -> None:
    found = answered(plan, *QUICK)
    [row] = found["simulated"]
    total = found["rows"][0]["total"]
    assert row["policy"] == "thompson"
    units = [horizon["units"] for horizon in row["horizons"]]
    assert units == sorted(set(units))
    assert all(n % 20 == 0 for n in units)
    assert units[-1] == pytest.approx(total, abs=20)
    assert row["horizons"][-1]["p_correct"] > 0.9
    assert all(0 < horizon["standard_error"] < 0.1 for horizon in row["horizons"])
    assert row["total"] < total
    assert row["days"] == pytest.approx(row["total"] / 450 + 1 / 24)
    assert any("large is better" in sentence for sentence in row["assumptions"])


def test_the_seed_alone_says_what_comes_out(plan: Plan) -> None:
    one = answered(plan, *QUICK)
    assert answered(plan, *QUICK, "--processes", "2") == one
    assert answered(plan, *QUICK, "--seed", "1")["simulated"] != one["simulated"]


def test_several_policies_are_shown_with_their_errors_and_assumptions(plan: Plan) -> None:
    result = plan(*QUESTION, *QUICK, "--policy", "fixed", "--policy", "ucb1", "--policy", "fixed")
    assert result.exit_code == 0, result.output
    for word in ("units until right with power 80 %", "P(correct), fixed", "P(correct), ucb1", "±", "one every 20 units; seed 0"):
        assert word in result.stdout
    assert [row["policy"] for row in answered(plan, *QUICK, "--policy", "fixed", "--policy", "ucb1")["simulated"]] == [
        "fixed",
        "ucb1",
    ]


def test_the_least_effect_is_simulated_where_it_is_what_was_asked(plan: Plan) -> None:
    result = plan("--baseline", "20%", "--mde", "--units", "400", *QUICK, "--json")
    assert result.exit_code == 0, result.output
    [row] = json.loads(result.stdout)["simulated"]
    assert (row["horizons"][-1]["units"], row["days"]) == (400, None)


def test_without_it_nothing_is_simulated(plan: Plan) -> None:
    assert answered(plan)["simulated"] == []


@pytest.mark.parametrize(
    "arguments, option",
    [
        (["--policy", "fixed"], "--simulate"),
        (["--simulate", "0"], "--simulate"),
        (["--simulate", "5", "--policy", "tompson"], "--policy"),
        (["--simulate", "5", "--metric", "clicks"], "--metric"),
    ],
)
def test_wrong_usage_is_named(plan: Plan, arguments: list[str], option: str) -> None:
    result = plan(*QUESTION, *arguments)
    assert result.exit_code == 2
    assert option in result.output


def test_counts_are_poisson_and_a_policy_needs_a_spec(plan: Plan) -> None:
    (Path.cwd() / "counts.yaml").write_text("{experiment: x, arms: [a, b], metrics: {clicks: count}}")
    counts = ["--baseline", "2", "--lift", "50%", "--simulate", "5", "--batch", "20", "--processes", "1"]
    assert plan(*counts, spec="counts.yaml").exit_code == 0
    assert "Poisson" in plan(*counts, "--dispersion", "2", spec="counts.yaml").output
    result = plan("--baseline", "20%", "--lift", "50%", "--simulate", "5", spec=None)
    assert result.exit_code == 2
    assert "a spec, whose policy is played" in result.output
