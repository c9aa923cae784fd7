"""A worker whose data directory is full stops, says so, and is exact when it is started again with room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from allocator.errors import StoreError
from deploy.kafka.broker import Broker
from streams.state import Store
from tests.chaos.checker import differences
from tests.chaos.job import SMALL_CHUNKS, job
from tests.chaos.schedule import EXIT_STATE_AHEAD, Runner
from tests.reference import Answer
from tests.workers import PROGRAM, WorkerProcess

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

UNITS = 5000
FILE_BYTES_MAX = 150_000
DISK = "size=1m"
CARELESS = ("-m", "tests.chaos.careless_worker")
LIMITED = (*CARELESS, "--file-bytes-max", str(FILE_BYTES_MAX))


def worker(kafka: Broker, prefix: str, directory: Path, *program: str) -> WorkerProcess:
    return WorkerProcess(kafka.bootstrap, prefix, directory, *SMALL_CHUNKS, program=program or PROGRAM)


def assert_stops(worker: WorkerProcess) -> None:
    """With a sentence in the end that says what to do, and no traceback."""
    worker.launch()
    assert worker.process is not None
    assert worker.process.wait(60) == EXIT_STATE_AHEAD, worker.log.read_text()[-3000:]
    last = worker.log.read_text().splitlines()[-1]
    assert "CRITICAL" in last
    assert f"the disk does not take its state in {worker.data_dir}" in last
    assert "make room, then restart it and it goes on from the last commit" in last


def wrong_at_the_end(kafka: Broker, prefix: str, worker: WorkerProcess, answer: Answer) -> list[str]:
    """What is not exact when all is applied; the worker must not end before."""
    chaos = Runner(kafka, prefix, [worker])
    with chaos.running(0):
        chaos.heal()
    assert chaos.exits == []
    return differences(kafka.bootstrap, prefix, answer)


def test_a_full_disk(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    answer = job(kafka, prefix, UNITS)
    assert_stops(worker(kafka, prefix, tmp_path, *LIMITED))
    assert wrong_at_the_end(kafka, prefix, worker(kafka, prefix, tmp_path), answer) == []


def test_a_worker_that_goes_on_with_a_full_disk_is_wrong(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    """The control."""
    answer = job(kafka, prefix, UNITS)
    going_on = worker(kafka, prefix, tmp_path, *LIMITED, "--without", "disk-errors")
    assert wrong_at_the_end(kafka, prefix, going_on, answer) != []


def test_a_store_on_a_full_file_system(tmp_path: Path) -> None:
    """Here RocksDB hears what the kernel says of a full disk, and would recover by itself. No worker: the store is the same."""
    with mounted(tmp_path / "disk"):
        store = Store(tmp_path / "disk" / "join-0")
        with pytest.raises(StoreError, match="No space left on device"):
            fill(store)
        written = store.position
        assert written is not None
        with pytest.raises(StoreError):
            store.write([b"small"], [b"1"], written + 1)
        with pytest.raises(Exception, match="previous error"):
            store.close()
        for _ in range(2):
            with pytest.raises(StoreError, match="No space left on device"):
                Store(tmp_path / "disk" / "join-1")
        mount("-o", "remount,size=100m", str(tmp_path / "disk"))
        store = Store(tmp_path / "disk" / "join-0")
        assert store.position == written
        store.write([b"small"], [b"1"], written + 1)
        store.close()
        Store(tmp_path / "disk" / "join-1").close()


def fill(store: Store) -> None:
    for position in range(1000):
        store.write([b"%d" % position], [os.urandom(10_000)], position)


@contextmanager
def mounted(directory: Path) -> Iterator[None]:
    """A file system of its own, as small as `DISK` says."""
    directory.mkdir()
    try:
        mount("-t", "tmpfs", "-o", DISK, "none", str(directory))
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"may not mount a file system: {error}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
