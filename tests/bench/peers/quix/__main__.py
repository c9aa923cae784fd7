"""Peer: quixstreams. Makes its environment the first time, and runs `job` in it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.bench.cache import built, call

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"


def _build(to: Path) -> None:
    call([sys.executable, "-m", "venv", str(to)])
    call([str(to / "bin" / "python"), "-m", "pip", "install", "--quiet", "--requirement", str(REQUIREMENTS)])


if __name__ == "__main__":
    python = str(built("quixstreams-peer", [REQUIREMENTS], _build) / "bin" / "python")
    os.execv(python, [python, "-m", "tests.bench.peers.quix.job", *sys.argv[1:]])
