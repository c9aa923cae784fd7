"""Peers: river's and obp's Thompson sampling, event by event. Makes their environment the first time, and runs `job` in it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.bench.cache import built, call

HERE = Path(__file__).resolve().parent
REQUIREMENTS, WITHOUT_DEPENDENCIES = HERE / "requirements.txt", HERE / "without_dependencies.txt"


def _build(to: Path) -> None:
    install = [str(to / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    call([sys.executable, "-m", "venv", str(to)])
    call([*install, "--requirement", str(REQUIREMENTS)])
    call([*install, "--no-deps", "--requirement", str(WITHOUT_DEPENDENCIES)])


if __name__ == "__main__":
    python = str(built("bandit-peers", [REQUIREMENTS, WITHOUT_DEPENDENCIES], _build) / "bin" / "python")
    os.execv(python, [python, "-m", "tests.bench.peers.bandits.job", *sys.argv[1:]])
