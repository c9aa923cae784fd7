"""A worker whose data directory is full stops, says so, and is exact when it is started again with room."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.kafka.broker import Broker
from tests.chaos.checker import differences
from tests.chaos.job import SMALL_CHUNKS, job
from tests.chaos.schedule import EXIT_STATE_AHEAD, Runner
from tests.reference import Answer
from tests.workers import PROGRAM, WorkerProcess

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

UNITS = 10_000
FILE_BYTES_MAX = 200_000
DISK = "size=1200k"
"""The logs that RocksDB makes when it opens the worker's eight stores fit, the state of some thousand units too."""
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


def test_a_full_file_system(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    """Here RocksDB hears what the kernel says of a full disk, and tries to recover from it by itself."""
    answer = job(kafka, prefix, UNITS)
    crowded = worker(kafka, prefix, tmp_path)
    with mounted(crowded.data_dir):
        assert_stops(crowded)
        assert "No space left on device" in crowded.log.read_text().splitlines()[-1]
        assert_stops(crowded)  # still full: it does not count without a disk, nor harm what is there
        mount("-o", "remount,size=100m", str(crowded.data_dir))
        assert wrong_at_the_end(kafka, prefix, crowded, answer) == []


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
