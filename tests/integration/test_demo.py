"""The demo as its user meets it: the command, on the embedded broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from deploy.kafka.broker import Broker
from tests.waiting import until

COMMAND = [sys.executable, "-m", "streams.cli", "demo"]
WAIT_S = 100


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=WAIT_S, check=False)


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A demo under way, its output in one pipe; gone with the block."""
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line_with(process: subprocess.Popen[str], words: str) -> str:
    """Read up to the first line that has these words."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if words in line:
            return line
    raise AssertionError(f"ended without {words!r}: {''.join(seen)}")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    """Whether the process has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def check(summary: dict[str, object], requests: int) -> None:
    """The counts add up, and not because nothing happened."""
    events, accuracy = summary["events"], summary["accuracy"]
    assert isinstance(events, dict)
    assert isinstance(accuracy, dict)
    assert events["add_up"] is True
    assert summary["requests"] == requests
    assert sum(events["sent"].values()) == sum(events["outcomes"].values()) > 3 * requests
    assert events["outcomes"]["exposures.applied"] == requests
    assert events["outcomes"]["rewards.applied"] == 2 * requests
    assert events["outcomes"]["rewards.duplicate"] > 0
    assert accuracy["hindsight_best"]["model"] == "svm"
    assert accuracy["uniform"] < accuracy["earned"] < accuracy["hindsight_best"]["accuracy"]


def test_the_summary_for_programs_adds_up_and_is_all_there_is_on_standard_output() -> None:
    done = demo("--json", "--rows", "6000")
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads(done.stdout)
    check(summary, 6000)
    ppm = summary["weights"]["ppm"]
    assert sum(ppm.values()) == 1_000_000
    assert max(ppm, key=ppm.get) == "svm"
    assert summary["broker"] == "embedded"


def test_lines_for_people_and_any_matrix(tmp_path: Path) -> None:
    file = tmp_path / "two models.csv"
    file.write_text("weak,strong\n" + "0,1\n1,1\n0,1\n0,0\n" * 25)
    done = demo("--data", str(file), "--rows", "3000")
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout.replace("\xa0", " ")
    assert "data    two-models: 100 requests with the outcomes of 2 models" in text
    assert "in memory: everything is gone when it stops" in text
    assert "strong alone, the best in hindsight   75.00 %" in text
    assert "The counts add up: " in text
    assert "\x1b" not in text


def test_a_wrong_matrix_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("a,b\n1,2\n")
    done = demo("--data", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{file}, row 2, column 'b': found '2', expected 1 (right) or 0 (wrong)\n"


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing_behind(end: signal.Signals) -> None:
    with started("--rows", "1000000") as process:
        line_with(process, " of 1\xa0000\xa0000 requests, ")
        own = children(process.pid)
        assert len(own) == 2
        process.send_signal(end)
        assert process.stdout is not None
        rest = process.stdout.read()
        assert process.wait(WAIT_S) == 130
        assert "Stopped." in rest
        assert "Traceback" not in rest
        assert all(map(gone, own))


def test_killed_it_takes_its_processes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # what it could not tidy up goes with the test
    with started("--rows", "1000000") as process:
        line_with(process, " of 1\xa0000\xa0000 requests, ")
        own = children(process.pid)
        assert len(own) == 2
        process.kill()
        until(lambda: all(map(gone, own)), 30, "worker and router are gone")


def test_a_worker_that_dies_ends_the_demo_with_its_last_words() -> None:
    with started("--rows", "1000000") as process:
        line_with(process, " of 1\xa0000\xa0000 requests, ")
        worker = next(pid for pid in children(process.pid) if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(worker, signal.SIGKILL)
        line_with(process, "the worker ended with exit code -9")
        assert process.wait(WAIT_S) == 1


def test_with_serve_the_dashboard_stays() -> None:
    with started("--rows", "1000", "--serve") as process:
        url = line_with(process, "The dashboard stays at ").split()[4]
        assert httpx.get(url).status_code == 200
        assert httpx.get(f"{url}api/experiments/digits").json()["counters"]["exposures.applied"] == 1000
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 0


@pytest.mark.kafka
def test_on_a_real_kafka_twice_in_the_same_topics(kafka: Broker, prefix: str) -> None:
    for _ in range(2):
        done = demo("--json", "--rows", "4000", "--bootstrap", kafka.bootstrap, "--prefix", prefix)
        assert done.returncode == 0, done.stderr
        check(json.loads(done.stdout), 4000)
