"""What the bench counts as written, what it keeps of a build, how it ends a program, and what it makes of the restarts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.bench.cache import BuildError, built, call
from tests.bench.protocol import Measured
from tests.bench.restart import Found, verdicts
from tests.bench.speed import BenchError, run
from tests.bench.stage import Stage


def test_written_is_the_size_of_the_logs_that_are_not_being_deleted(tmp_path: Path) -> None:
    for name, size in (("a.partials-0", 5), ("a.partials-1", 7), ("a.old-0.3f-delete", 100)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "00000000000000000000.log").write_bytes(b"x" * size)
        (tmp_path / name / "00000000000000000000.index").write_bytes(b"x" * 1000)
    assert Stage("", "a", tmp_path, tmp_path).written() == 12
    assert Stage("", "a", tmp_path, None).written() is None


def test_a_build_is_kept_until_its_recipe_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    recipe, builds = tmp_path / "recipe", []

    def build(to: Path) -> None:
        builds.append(to)
        (to / "made").write_text("of " + recipe.read_text())

    made = []
    for text in ("flour", "flour", "rye"):
        recipe.write_text(text)
        made.append((built("bread", [recipe], build) / "made").read_text())
    assert made == ["of flour", "of flour", "of rye"]
    assert len(builds) == 2


def test_a_build_that_failed_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    recipe = tmp_path / "recipe"
    recipe.write_text("")
    for _ in range(2):
        with pytest.raises(BuildError, match="of no use"):
            built("bread", [recipe], lambda to: call([sys.executable, "-c", "raise SystemExit('of no use')"]))
    with pytest.raises(BuildError, match="not installed"):
        call(["no-such-tool-anywhere"])


def test_a_program_says_its_answer_last(tmp_path: Path) -> None:
    said = '{"events":1,"seconds":1.0,"cpu_s":1.0,"rss_mib":1.0,"sums":null}'
    measured = run([sys.executable, "-c", f"print('starting')\nprint('{said}')"], tmp_path / "log")
    assert measured == Measured(events=1, seconds=1.0, cpu_s=1.0, rss_mib=1.0, sums=None)


@pytest.mark.parametrize(
    "program,said",
    [("pass", "out of range"), ("print('no answer')", "JSON is malformed"), ("raise SystemExit('it broke')", "it broke")],
)
def test_a_program_without_an_answer_is_an_error_with_the_end_of_its_log(program: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=said):
        run([sys.executable, "-c", program], tmp_path / "log")


def test_the_worst_restart_is_judged() -> None:
    good = Found(idle_share=0.03, stopped_s=[1.0, 3.0], killed_s=[8.0, 2.0], restored_records=800_000, restored_s=[2.0, 1.0])
    assert [v.met for v in verdicts(good)] == [True] * 4
    bad = Found(idle_share=0.031, stopped_s=[1.0, 3.1], killed_s=[8.1, 2.0], restored_records=800_000, restored_s=[2.1, 1.0])
    assert [v.met for v in verdicts(bad)] == [False] * 4
