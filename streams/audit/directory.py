"""Where rebuilds are kept: one directory each, by name, with a RocksDB a partition and a note of what it is a rebuild of."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from allocator.errors import AllocatorError, StateError

__all__ = ["NoRebuild", "RebuildDirectory", "opened_rebuild"]

NOTE = "rebuild.json"


class NoRebuild(AllocatorError):
    """There is none under that name."""


class _Note(msgspec.Struct, frozen=True):
    """What the rebuild is of."""

    prefix: str
    partitions: int


class RebuildDirectory:
    """One rebuild on disk; as `opened_rebuild` gives it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def partition(self, partition: int) -> Path:
        """Of one partition's RocksDB."""
        return self.path / f"join-{partition}"

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A directory that is gone after the block."""
        path = self.path / f"scratch-{name}"
        shutil.rmtree(path, ignore_errors=True)  # of one that was killed
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def opened_rebuild(
    directory: Path, name: str, prefix: str, partitions: int, *, create: bool, fresh: bool = False
) -> Iterator[RebuildDirectory]:
    """The rebuild `name`, for this process alone. `fresh` forgets what it was.

    Raises
    ------
    NoRebuild : it is not there, and not to be created.
    StateError : it is of another prefix or number of partitions, or in use.
    """
    path = directory / name
    if not create and not (path / NOTE).exists():
        raise NoRebuild(f"no rebuild {name!r} in {directory}. Make it with: allocator rebuild --as {name}")
    path.mkdir(parents=True, exist_ok=True)
    with (path / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateError(
                f"{path} in use", "no other process at it", "wait until it has ended, or take another name"
            ) from error
        note = _Note(prefix, partitions)
        if fresh:
            for store in path.glob("join-*"):
                shutil.rmtree(store)
            (path / NOTE).unlink(missing_ok=True)
        if (path / NOTE).exists():
            found = msgspec.json.decode((path / NOTE).read_bytes(), type=_Note)
            if found != note:
                raise StateError(f"{path} made of {_words(found)}", _words(note), "take another name, or rebuild with --fresh")
        else:
            (path / NOTE).write_bytes(msgspec.json.encode(note))
        yield RebuildDirectory(path)


def _words(note: _Note) -> str:
    return f"{note.prefix!r} with {note.partitions} partitions"
