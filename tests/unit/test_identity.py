"""The id of a worker lasts as long as its directory and its URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.app import create_app
from streams.identity import FILE, worker_id
from streams.settings import WorkerSettings

URL = "http://127.0.0.1:8377"


def test_a_directory_and_a_url_have_one_id(tmp_path: Path) -> None:
    assert worker_id(tmp_path, URL) == worker_id(tmp_path, URL)


def test_another_directory_or_url_is_another_worker(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    assert len({worker_id(tmp_path, URL), worker_id(other, URL), worker_id(tmp_path, "http://127.0.0.1:8378")}) == 3


def test_a_file_that_was_not_written_to_its_end_is_written_again(tmp_path: Path) -> None:
    (tmp_path / FILE).touch()
    made = worker_id(tmp_path, URL)
    assert (tmp_path / FILE).read_text()
    assert worker_id(tmp_path, URL) == made


@pytest.mark.parametrize("url", [URL, "http://allocator-0.allocator.default.svc:8377/ä"])
def test_kafka_takes_it(tmp_path: Path, url: str) -> None:
    assert set(worker_id(tmp_path, url)) <= set("0123456789abcdef-")


def test_the_worker_is_a_member_by_it(tmp_path: Path) -> None:
    app = create_app(WorkerSettings(data_dir=tmp_path / "new"))
    assert app.conf.consumer_group_instance_id == worker_id(tmp_path / "new", URL)
