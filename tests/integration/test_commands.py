"""The commands on a real broker, as a person and as a program would use them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner

from allocator.spec import load_experiment
from deploy.kafka.broker import Broker
from streams.cli import app
from streams.connection import Connection
from streams.records import encode
from streams.schema import RECORDS
from streams.topics import Topics

pytestmark = pytest.mark.kafka
ROOT = Path(__file__).parents[2]
SPEC = "{experiment: chat, arms: [control, b], metrics: {click: binary}, lease: 90s}"
WEIGHTS: Any = next(record.example for record in RECORDS if record.name == "weights")

Run = Callable[..., Any]


@pytest.fixture
def allocator(kafka: Broker, prefix: str) -> Run:
    """Runs a command on the suite's broker under this test's prefix."""

    def run(*arguments: str, stdin: str | None = None, code: int = 0) -> Any:
        environment = {"ALLOCATOR_BOOTSTRAP": kafka.bootstrap, "ALLOCATOR_PREFIX": prefix, "NO_COLOR": "1"}
        result = CliRunner().invoke(app, arguments, input=stdin, env=environment)
        assert result.exit_code == code, result.output
        return result

    return run


def publish(kafka: Broker, prefix: str, *published: Any) -> None:
    async def send() -> None:
        async with AIOKafkaProducer(**Connection(kafka.bootstrap).aiokafka()) as producer:
            for weights in published:
                await producer.send_and_wait(Topics(prefix).weights, encode(weights), weights.experiment.encode())

    asyncio.run(send())


def test_the_life_of_an_experiment(allocator: Run, kafka: Broker, prefix: str, tmp_path: Path) -> None:
    assert allocator("apply", "-", stdin=SPEC).stdout == "chat: new, running, 2 arms, revision 1\n"
    assert allocator("apply", "-", stdin=SPEC).stdout == "chat: unchanged, running, revision 1\n"
    longer = SPEC.replace("90s", "2m").replace("b]", "b, c]")
    assert allocator("apply", "-", stdin=longer).stdout == (
        "chat: changed, running, revision 2\n  arms.c: added {'id': 'c'}\n  lease: 90.0 -> 120.0\n"
    )
    assert "phase 2 begins (metrics)" in allocator("apply", "-", stdin=SPEC.replace("click", "view"), code=1).stderr
    result = allocator("apply", "-", "--json", stdin=SPEC.replace("lease: 90s", "unit: session"), code=1)
    assert [error["path"] for error in json.loads(result.stderr)["errors"]] == ["unit"]

    assert "# no weights yet" in allocator("show", "chat").stdout
    (tmp_path / "again.yaml").write_text(allocator("show", "chat").stdout)
    assert allocator("apply", str(tmp_path / "again.yaml")).stdout == "chat: unchanged, running, revision 2\n"

    assert allocator("pause", "chat").stdout == "chat: paused, revision 3\n"
    assert json.loads(allocator("resume", "chat", "--json").stdout) == {"experiment": "chat", "status": "running", "revision": 4}
    assert allocator("stop", "chat").stdout == "chat: stopped, revision 5\n"
    assert "stopped is final" in allocator("resume", "chat", code=1).stderr
    assert "a new name" in allocator("apply", "-", stdin=SPEC, code=1).stderr


def test_experiments_of_a_namespace_share_no_units(allocator: Run) -> None:
    def spec(name: str, ranges: str) -> str:
        return (
            f"{{experiment: {name}, owner: team-{name}, arms: [a, b], metrics: {{m: binary}}, "
            f"namespace: {{name: home-page, ranges: {ranges}}}}}"
        )

    allocator("apply", "-", stdin=spec("reco", "[[0%, 30%]]"))
    refused = allocator("apply", "-", stdin=spec("banner", "[[20%, 50%]]"), code=1).stderr
    assert "stdin: namespace: '20%–50%': expected units of home-page that are free, 30%–100%: reco, owner team-reco" in refused
    assert json.loads(allocator("namespaces", "--json").stdout)[0]["free_ppm"] == [[300_000, 1_000_000]]

    allocator("apply", "-", stdin=spec("banner", "[[30%, 50%]]"))
    allocator("apply", "-", stdin=spec("reco", "[[0%, 30%], [90%, 100%]]"))
    assert "without 0%–30%" in allocator("apply", "-", stdin=spec("reco", "[[90%, 100%]]"), code=1).stderr
    rows = [line.split() for line in allocator("namespaces").stdout.splitlines() if "%" in line]
    assert rows == [
        ["home-page", "0%–30%,", "90%–100%", "reco", "team-reco", "running", "unit"],
        ["30%–50%", "banner", "team-banner", "running", "unit"],
        ["50%–90%", "free"],
    ]
    allocator("stop", "reco")
    allocator("apply", "-", stdin=spec("banner", "[[0%, 100%]]"))
    [found] = json.loads(allocator("namespaces", "home-page", "--json").stdout)
    assert [held["experiment"] for held in found["held"]] == ["banner"]
    assert (
        "no experiment holds anything of a namespace 'results'; in use: home-page"
        in allocator("namespaces", "results", code=1).stderr
    )


def test_what_is_not_there_is_said(allocator: Run, prefix: str) -> None:
    assert f"there is no topic {prefix}.experiments.v1" in allocator("list", code=1).stderr
    allocator("apply", "-", stdin=SPEC)
    assert "did you mean 'chat'?" in allocator("show", "chta", code=1).stderr
    assert "no experiment 'chta'" in allocator("pause", "chta", code=1).stderr
    assert f"there is no topic {prefix}.weights.v1" in allocator("weights", code=1).stderr
    allocator("doctor", "--fix")
    assert allocator("weights").stdout == "no weights are published yet\n"
    assert "no weights of 'chat'" in allocator("weights", "chat", code=1).stderr


def test_weights_are_listed_and_shown(allocator: Run, kafka: Broker, prefix: str) -> None:
    allocator("apply", "-", stdin=SPEC)
    allocator("doctor", "--fix")
    now = time.time()
    current = msgspec.structs.replace(WEIGHTS, ts=now - 3, valid_until=now + 300)
    stale = msgspec.structs.replace(WEIGHTS, experiment="other", ts=now - 900, valid_until=now - 600)
    publish(kafka, prefix, msgspec.structs.replace(current, version=311), current, stale)

    [row] = [line.split() for line in allocator("list").stdout.splitlines() if "chat" in line]
    assert row[:7] == ["chat", "running", "1", "2", "click", "-", "312"]
    [listed] = json.loads(allocator("list", "--json").stdout)
    assert listed["weights"][0]["ppm"] == {"control": 240_000, "b": 760_000}

    shown = allocator("show", "chat").stdout
    assert "# weights, version 312" in shown
    assert "control 24.0 %, b 76.0 %" in shown
    assert load_experiment(shown) == load_experiment(SPEC)
    assert json.loads(allocator("show", "chat", "--json").stdout)["weights"][0]["version"] == 312

    table = allocator("weights").stdout
    assert "76.0 %" in table
    assert "routers serve control" in table
    assert [w["experiment"] for w in json.loads(allocator("weights", "--json").stdout)] == ["chat", "other"]
    assert [w["experiment"] for w in json.loads(allocator("weights", "other", "--json").stdout)] == ["other"]


def test_weights_are_followed_as_they_come(allocator: Run, kafka: Broker, prefix: str) -> None:
    allocator("doctor", "--fix")
    publish(kafka, prefix, WEIGHTS)
    command = [sys.executable, "-m", "streams.cli", "weights", "chat", "--follow", "--json"]
    command += ["--bootstrap", kafka.bootstrap, "--prefix", prefix]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert json.loads(process.stdout.readline())["version"] == 312
            other = msgspec.structs.replace(WEIGHTS, experiment="other")
            publish(kafka, prefix, other, msgspec.structs.replace(WEIGHTS, version=313))
            assert json.loads(process.stdout.readline())["version"] == 313
        finally:
            process.send_signal(2)
        assert process.wait(30) == 0
        assert process.stderr.read() == ""


def test_events_are_sent_where_the_join_looks(allocator: Run) -> None:
    allocator("doctor", "--fix", "--partitions", "3")
    lines = [f'{{"unit":"u-{i}","metric":"click","value":1,"ts":{time.time()},"reward_id":"r-{i}"}}' for i in range(2500)]
    assert allocator("send", "rewards", "-", stdin="\n".join(lines)).stdout == "2500 rewards sent, 0 bad\n"
    exposures = "experiment,unit,arm,propensity,ts,exposure_id\nchat,u-1,b,0.5,1764000000,e\nchat,u-2,b,2,1764000000,f\n"
    result = allocator("send", "exposures", "-", "--json", stdin=exposures, code=1)
    assert json.loads(result.stdout)["sent"] == 1
    report = json.loads(allocator("doctor", "--json").stdout)
    assert report["ok"]
    assert (
        next(check["found"] for check in report["checks"] if check["name"] == "lag")
        == "no worker has read yet, 2501 records wait"
    )


def test_sending_to_a_topic_that_is_not_there_sends_nothing(allocator: Run, prefix: str) -> None:
    result = allocator("send", "rewards", "-", stdin='{"unit":"u","metric":"m","value":1,"ts":1,"reward_id":"r"}', code=1)
    assert f"there is no topic {prefix}.rewards.v1" in result.stderr
