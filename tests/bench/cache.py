"""What a peer is built from once and kept outside the tree: a changed recipe has another directory, so nothing old is run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

__all__ = ["BuildError", "built", "call"]


class BuildError(Exception):
    """A tool that builds a peer failed, or is missing."""


def built(name: str, recipe: Sequence[Path], build: Callable[[Path], None]) -> Path:
    """The directory that `build` filled from the files of `recipe`; it appears complete or not at all."""
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in recipe)).hexdigest()[:8]
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "streaming-allocator"
    kept = caches / f"{name}-{digest}"
    if kept.is_dir():
        return kept
    caches.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=caches, prefix=".building-") as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        build(made)
        try:
            made.rename(kept)
        except OSError:
            # Another process was faster; its copy is the same.
            if not kept.is_dir():
                raise
    return kept


def call(command: Sequence[str]) -> None:
    """Run a tool. Raises BuildError with what it said."""
    try:
        tool = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BuildError(f"{command[0]} is not installed") from error
    if tool.returncode != 0:
        raise BuildError(f"{' '.join(command)} failed:\n{tool.stdout}{tool.stderr}")
