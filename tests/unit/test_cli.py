"""The command line without Kafka: usage, errors as sentences, exit codes, and what --help may import."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from streams.cli import app
from streams.cli.output import share
from streams.phrases import rough_duration

NOWHERE = "127.0.0.1:1"
COMMANDS = [
    "demo",
    "worker",
    "apply",
    "list",
    "show",
    "start",
    "pause",
    "resume",
    "advance",
    "rollback",
    "overrule",
    "promote",
    "stop",
    "archive",
    "changes",
    "weights",
    "namespaces",
    "send",
    "doctor",
    "health",
    "rebuild",
    "diff",
    "plan",
    "simulate",
    "schema",
    "dlt",
]
NEED_KAFKA = [
    ["list"],
    ["show", "chat"],
    ["pause", "chat"],
    ["resume", "chat"],
    ["start", "chat"],
    ["stop", "chat"],
    ["promote", "chat", "b"],
    ["archive", "chat"],
    ["changes", "chat"],
    ["advance", "chat", "--why", "fine", "--by", "ann"],
    ["rollback", "chat", "--why", "odd"],
    ["health", "chat"],
    ["weights"],
    ["weights", "--follow"],
    ["namespaces"],
    ["worker"],
    ["rebuild", "--as", "audit"],
    ["diff", "audit"],
    ["dlt", "list"],
    ["dlt", "show"],
    ["dlt", "redrive", "--yes"],
]

GOOD = "{experiment: chat, arms: [a, b], metrics: {click: binary}}"
BAD = "{experiment: 'no name', arms: [a, a], metrics: {click: binery}, objectve: click}"

Invoke = Callable[..., Any]


@pytest.fixture
def allocator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Invoke:
    """Runs the command in an empty directory, with nothing in the environment."""
    for name in ("ALLOCATOR_BOOTSTRAP", "ALLOCATOR_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str, stdin: str | None = None) -> Any:
        return CliRunner().invoke(app, arguments, input=stdin, env={"NO_COLOR": "1", "COLUMNS": "200"})

    return invoke


def test_help_names_every_command(allocator: Invoke) -> None:
    result = allocator("--help")
    assert result.exit_code == 0
    assert [word for line in result.output.splitlines() for word in line.split()[1:2] if word in COMMANDS] == COMMANDS
    for command in COMMANDS:
        assert allocator(command, "--help").exit_code == 0


def test_version(allocator: Invoke) -> None:
    assert allocator("--version").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["promot"],
        ["list", "--nonsense"],
        ["apply"],
        ["apply", "absent.yaml"],
        ["show"],
        ["advance", "chat"],
        ["send", "clicks", "-"],
        ["send", "rewards", "absent.csv"],
        ["list", "--bootstrap", "no-port"],
        ["list", "--bootstrap", "host:port"],
        ["list", "--bootstrap", "a:1,b:70000"],
        ["worker", "--partitions", "0"],
        ["demo", "--bootstrap", "no-port"],
        ["dlt", "list", "--topic", "clicks"],
        ["dlt", "show", "--limit", "0"],
        ["dlt", "redrive", "--json"],
    ],
)
def test_wrong_usage_exits_with_2(allocator: Invoke, arguments: list[str]) -> None:
    result = allocator(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage:" in result.stderr


@pytest.mark.parametrize("arguments", NEED_KAFKA, ids=" ".join)
def test_no_kafka_is_one_sentence_with_the_address(allocator: Invoke, arguments: list[str]) -> None:
    result = allocator(*arguments, "--bootstrap", NOWHERE)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"no Kafka broker answered at {NOWHERE}.")
    assert len(result.stderr.splitlines()) == 1


def test_the_environment_names_the_broker(allocator: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOCATOR_BOOTSTRAP", "127.0.0.1:2")
    assert "127.0.0.1:2" in allocator("list").stderr
    assert NOWHERE in allocator("list", "--bootstrap", NOWHERE).stderr


def test_errors_are_json_if_asked(allocator: Invoke) -> None:
    result = allocator("list", "--json", "--bootstrap", NOWHERE)
    assert (result.exit_code, result.stdout) == (1, "")
    assert NOWHERE in json.loads(result.stderr)["error"]


def test_doctor_without_kafka_fails_on_the_broker(allocator: Invoke) -> None:
    result = allocator("doctor", "--json", "--bootstrap", NOWHERE)
    assert result.exit_code == 1
    [check] = json.loads(result.stdout)["checks"]
    assert (check["name"], check["state"]) == ("broker", "fail")
    assert NOWHERE in check["found"]


def test_every_error_of_every_spec_is_listed_with_its_file(allocator: Invoke, tmp_path: Path) -> None:
    for name, text in (("good.yaml", GOOD), ("bad.yaml", BAD), ("worse.yaml", "arms: [")):
        (tmp_path / name).write_text(text)
    result = allocator("apply", "good.yaml", "bad.yaml", "worse.yaml")
    assert result.exit_code == 1
    paths = [line.split(": ")[:2] for line in result.stderr.splitlines() if ".yaml: " in line]
    for path in ("experiment", "arms[1]", "metrics.click.type", "objectve"):
        assert ["bad.yaml", path] in paths
    assert ["worse.yaml", "spec"] in paths
    assert all(path[0] != "good.yaml" for path in paths)

    errors = json.loads(allocator("apply", "bad.yaml", "--json").stderr)["errors"]
    assert {error["path"] for error in errors} >= {"experiment", "arms[1]", "metrics.click.type", "objectve"}
    assert all(error["file"] == "bad.yaml" and error["expected"] for error in errors)


def test_apply_can_only_check(allocator: Invoke) -> None:
    assert allocator("apply", "--dry-run", "-", stdin=GOOD).output == "chat: checked, nothing written\n"
    [applied] = json.loads(allocator("apply", "--dry-run", "--json", "-", stdin=GOOD).output)
    assert applied["spec"]["constraints"]["warmup"] == 100


def test_specs_applied_together_may_not_share_units(allocator: Invoke, tmp_path: Path) -> None:
    for name, ranges in (("x", "from: 0%, to: 60%"), ("y", "from: 50%, to: 100%")):
        spec = (
            f"{{experiment: {name}, owner: team-{name}, arms: [a, b], metrics: {{m: binary}}, namespace: {{name: n, {ranges}}}}}"
        )
        (tmp_path / f"{name}.yaml").write_text(spec)
    result = allocator("apply", "x.yaml", "y.yaml", "--dry-run")
    assert result.exit_code == 1
    expected = "y.yaml: namespace: '50%–100%': expected units of n that are free, 60%–100%: x, owner team-x, holds 50%–60%\n"
    assert result.stderr == expected
    assert allocator("apply", "x.yaml", "--dry-run").exit_code == 0


def test_a_spec_that_is_no_text_is_a_sentence(allocator: Invoke, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_bytes(b"\xff\xfe\x00")
    result = allocator("apply", "spec.yaml")
    assert (result.exit_code, result.stderr) == (1, "spec.yaml: not UTF-8 text: invalid start byte at byte 0\n")


def test_send_can_only_check_and_names_bad_lines(allocator: Invoke, tmp_path: Path) -> None:
    lines = ['{"unit":"u","metric":"m","value":1,"ts":1,"reward_id":"r"}', "{", '{"unit":"u"}']
    (tmp_path / "rewards.jsonl").write_text("\n".join(lines))
    result = allocator("send", "rewards", "rewards.jsonl", "--dry-run")
    assert (result.exit_code, result.stdout) == (1, "1 rewards checked, nothing sent, 2 bad\n")
    assert result.stderr == "line 2: Input data was truncated\nline 3: Object missing required field `metric`\n"

    result = allocator("send", "rewards", "-", "--dry-run", "--json", stdin=lines[0])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"kind": "rewards", "sent": 0, "good": 1, "bad": 0, "errors": []}


def test_many_bad_lines_are_counted(allocator: Invoke) -> None:
    result = allocator("send", "exposures", "-", "--dry-run", stdin="{\n" * 50)
    assert len(result.stderr.splitlines()) == 21
    assert result.stderr.endswith("... and 30 more bad lines\n")


def test_schema_prints_writes_and_knows_its_names(allocator: Invoke, tmp_path: Path) -> None:
    assert json.loads(allocator("schema", "reward").stdout)["title"] == "Reward"
    assert allocator("schema", "asyncapi").stdout.startswith("asyncapi: 3.0.0")
    every = json.loads(allocator("schema", "--json").stdout)
    assert every["exposure.schema.json"]["$defs"]["Exposure"]["properties"]["propensity"]["minimum"] == 1e-6
    assert allocator("schema").stdout.count("--- # ") == len(every)
    assert allocator("schema", "--write", "out").exit_code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(every)
    result = allocator("schema", "nothing")
    assert result.exit_code == 1
    assert "exposure, reward" in result.stderr


def test_asking_for_help_imports_nothing_heavy() -> None:
    heavy = {"faust", "aiokafka", "scipy.special", "rocksdict", "plotly", "matplotlib", "confluent_kafka", "aiohttp"}
    program = f"import sys, streams.cli; print(sorted({heavy!r} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert result.stdout == "[]\n"


@pytest.mark.parametrize(
    "seconds,text", [(0, "0.0 s"), (0.44, "0.4 s"), (12, "12 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_durations_to_glance_at(seconds: float, text: str) -> None:
    assert rough_duration(seconds) == text


def test_shares() -> None:
    assert share(240_000) == "24.0 %"
