"""The demo's processes end with their parent, in order and however it goes."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from streams.demo.children import Child, ChildError

SLEEPER = """
import signal, sys, time
if sys.argv[1:] == ["stubborn"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("awake", flush=True)
time.sleep(600)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """One in which ``python -m sleeper`` and the package are found."""
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    (tmp_path / "fails.py").write_text("import sys\nsys.exit('no such luck')\n")
    root = Path(__file__).parents[2]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])}


def child(tmp_path: Path, environment: dict[str, str], *arguments: str) -> Child:
    return Child("sleeper", "streams.demo.tied", ["sleeper", *arguments], environment, tmp_path / "log", talks=True)


async def awake(running: Child) -> asyncio.subprocess.Process:
    assert running.process.stdout is not None
    assert await running.process.stdout.readline() == b"awake\n"
    return running.process


async def test_it_is_stopped_at_the_end(tmp_path: Path, environment: dict[str, str]) -> None:
    async with child(tmp_path, environment) as running:
        process = await awake(running)
        running.check()
    assert process.returncode == -signal.SIGTERM


async def test_it_ends_when_the_pipe_from_its_parent_does(tmp_path: Path, environment: dict[str, str]) -> None:
    async with child(tmp_path, environment) as running:
        process = await awake(running)
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
        assert process.returncode == -signal.SIGTERM
        with pytest.raises(ChildError, match="the sleeper ended with exit code -15"):
            running.check()


async def test_one_that_will_not_go_is_killed(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.demo.children.STOP_WAIT_S", 0.2)
    async with child(tmp_path, environment, "stubborn") as running:
        process = await awake(running)
    assert process.returncode == -signal.SIGKILL


async def test_its_last_words_are_in_the_error(tmp_path: Path, environment: dict[str, str]) -> None:
    async with Child("unlucky", "fails", [], environment, tmp_path / "log") as running:
        await running.process.wait()
        with pytest.raises(ChildError, match=r"the unlucky ended with exit code 1. Its last lines:\n  no such luck"):
            running.check()


async def test_before_its_context_there_is_no_process(tmp_path: Path) -> None:
    with pytest.raises(ChildError, match="was not started"):
        _ = Child("sleeper", "sleeper", [], {}, tmp_path / "log").process
