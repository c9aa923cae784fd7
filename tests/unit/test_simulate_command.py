"""`allocator simulate`: the example worlds, the same answer on any number of processes, errors that name the field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from allocator.simulate import Estimate, load_world
from allocator.spec import load_experiment
from streams.cli import app
from streams.cli.simulate_print import _number, _percent

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
WORLDS = [("minimal", "minimal"), ("chat", "chat"), ("minimal", "retiring")]
QUICK = ["--runs", "3", "--horizon", "3000", "--batch", "500", "--processes", "1"]


def simulate(spec: str, world: Path | str, *options: str) -> Any:
    file = world if isinstance(world, Path) else EXAMPLES / "worlds" / f"{world}.yaml"
    command = ["simulate", str(EXAMPLES / f"{spec}.yaml"), "--world", str(file), *options]
    return CliRunner().invoke(app, command, env={"COLUMNS": "300"})  # no path is cut or wrapped


def answer(*arguments: Any) -> dict[str, Any]:
    found = simulate(*arguments, "--json")
    assert found.exit_code == 0, found.output
    parsed: dict[str, Any] = json.loads(found.stdout)
    return parsed


def test_every_example_world_is_tried() -> None:
    assert sorted(world for _, world in WORLDS) == sorted(path.stem for path in (EXAMPLES / "worlds").glob("*.yaml"))


@pytest.mark.parametrize("spec, world", WORLDS)
def test_the_example_worlds_can_be_played(spec: str, world: str) -> None:
    experiment = load_experiment((EXAMPLES / f"{spec}.yaml").read_text())
    text = (EXAMPLES / "worlds" / f"{world}.yaml").read_text()
    load_world(text, experiment)
    command = next(line for line in text.splitlines() if "allocator simulate" in line).split("allocator simulate ")[1].split()
    shown = CliRunner().invoke(app, ["simulate", *(str(EXAMPLES.parents[1] / x) if "/" in x else x for x in command), *QUICK])
    assert shown.exit_code == 0, shown.output
    assert experiment.policy.name in shown.stdout
    assert "±" in shown.stdout
    assert "true mean" in shown.stdout  # an assumption


def test_the_number_of_processes_changes_nothing() -> None:
    several = ["--policy", "thompson", "--policy", "ucb1", "--runs", "5", "--horizon", "2000", "--batch", "100"]
    one, three = (answer("minimal", "retiring", *several, "--processes", n) for n in ("1", "3"))
    assert one == three
    assert one != answer("minimal", "retiring", *several, "--processes", "1", "--seed", "1")


def test_runs_of_one_seed_are_the_same_however_many_there_are() -> None:
    few = answer("minimal", "minimal", *QUICK)["policies"][0]["regret"]["value"] * 3
    more = answer("minimal", "minimal", *QUICK, "--runs", "4")["policies"][0]["regret"]["value"] * 4
    fourth = more - few
    assert 0 <= fourth <= 3000 * 0.03


def test_policies_are_compared_and_baselines_do_not_say_when_they_are_sure() -> None:
    found = answer("minimal", "minimal", *QUICK, "--policy", "fixed", "--policy", "kl-ucb", "--policy", "fixed")
    fixed, kl_ucb = found["policies"]
    assert (fixed["policy"], fixed["baseline"], kl_ucb["policy"], kl_ucb["baseline"]) == ("fixed", False, "kl-ucb", True)
    assert fixed["curves"]["units"][-1] == 3000
    assert fixed["best_share"]["value"] == pytest.approx(0.25)
    assert kl_ucb["decided"]["value"] is None
    assert fixed["decided"]["value"] is not None


def test_an_unknown_policy_is_wrong_usage_and_baselines_are_offered() -> None:
    found = simulate("minimal", "minimal", "--policy", "tompson")
    assert found.exit_code == 2
    assert "--policy" in found.output
    assert "kl-ucb" in found.output


@pytest.mark.parametrize(
    "option", [("--runs", "0"), ("--horizon", "x"), ("--batch", "0"), ("--confidence", "0.5"), ("--seed", "-1")]
)
def test_options_have_domains(option: tuple[str, str]) -> None:
    found = simulate("minimal", "minimal", *option)
    assert found.exit_code == 2
    assert option[0] in found.output


def test_every_mistake_in_a_world_is_named_with_its_file(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("arms: {'*': {thumbs_up: 2}}\nretires: 3")
    found = simulate("minimal", wrong, "--json")
    assert found.exit_code == 1
    assert [(e["file"], e["path"]) for e in json.loads(found.stderr)["errors"]] == [
        (str(wrong), "retires"),
        (str(wrong), "arms.*.thumbs_up"),
    ]


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    found = simulate("minimal", tmp_path / "nowhere.yaml")
    assert found.exit_code == 2
    assert "nowhere.yaml" in found.output


def test_curves_are_drawn(tmp_path: Path) -> None:
    several = ["--policy", "thompson", "--policy", "fixed"]
    for name, options in (("one", []), ("two", several)):
        drawn = simulate("chat", "chat", *QUICK, *options, "--plot", str(tmp_path / f"{name}.svg"))
        assert drawn.exit_code == 0, drawn.output
    assert ">medium<" in (tmp_path / "one.svg").read_text()
    assert ">fixed<" in (tmp_path / "two.svg").read_text()


@pytest.mark.parametrize(
    "value, error, text",
    [(107.23, 1.71, "107.2 ± 1.7"), (12345.6, 234, "12,346 ± 234"), (5, float("nan"), "5.0"), (0.5, 0, "0.5 ± 0.0")],
)
def test_numbers_are_as_exact_as_their_errors(value: float, error: float, text: str) -> None:
    assert _number(Estimate(value, error)) == text
    assert _number(Estimate(float("nan"), error)) == _percent(Estimate(float("nan"), error)) == "–"
