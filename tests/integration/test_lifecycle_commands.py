"""An experiment's life from the command line on a real broker, from draft to archive, and what is told of it afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.kafka.broker import Broker
from streams.cli import app

pytestmark = pytest.mark.kafka
SPEC = "{experiment: chat, arms: [control, b, c], metrics: {click: binary}, lease: 90s}"

Run = Callable[..., Any]


@pytest.fixture
def allocator(kafka: Broker, prefix: str) -> Run:
    """Runs a command as ann, on the suite's broker under this test's prefix."""

    def run(*arguments: str, stdin: str | None = None, code: int = 0) -> Any:
        environment = {
            "ALLOCATOR_BOOTSTRAP": kafka.bootstrap,
            "ALLOCATOR_PREFIX": prefix,
            "ALLOCATOR_USER": "ann",
            "NO_COLOR": "1",
        }
        result = CliRunner().invoke(app, arguments, input=stdin, env=environment)
        assert result.exit_code == code, result.output
        return result

    return run


def test_from_draft_to_archive(allocator: Run) -> None:
    draft = SPEC.replace("}, lease", "}, status: draft, lease")
    assert allocator("apply", "-", stdin=draft).stdout == "chat: new, draft, 3 arms, revision 1\n"
    assert allocator("start", "chat", "--why", "reviewed by bob").stdout == "chat: running, revision 2\n"
    assert allocator("promote", "chat", "b", "--by", "bob").stdout == "chat: promoted b, revision 3\n"
    assert "is final" in allocator("resume", "chat", code=1).stderr
    assert "units are served b" in allocator("archive", "chat", code=1).stderr
    archived = json.loads(allocator("archive", "chat", "--yes", "--json").stdout)
    assert archived == {"experiment": "chat", "status": "archived", "revision": 4, "promoted": "b"}
    assert "1 are archived, see --all" in allocator("list").stdout
    assert "archived" in allocator("list", "--all").stdout
    assert "a new name: this experiment is archived" in allocator("apply", "-", stdin=SPEC.replace("90s", "2m"), code=1).stderr

    told = allocator("changes", "chat").stdout.splitlines()
    assert [line.partition("UTC, ")[2] for line in told if line.startswith("revision")] == [
        "ann: no reason given",
        "ann: reviewed by bob",
        "bob: no reason given",
        "ann: no reason given",
    ]
    assert "  status: 'draft' -> 'running'" in told
    assert "  promoted: added 'b'" in told
    found = json.loads(allocator("changes", "chat", "--json").stdout)
    assert [(change["revision"], change["status"], change["kind"]) for change in found][:2] == [
        (1, "draft", "new"),
        (2, "running", "changed"),
    ]
    assert "no changes of 'chta'" in allocator("changes", "chta", code=1).stderr


def test_a_file_made_from_an_older_revision_is_refused(allocator: Run) -> None:
    allocator("apply", "-", stdin=SPEC)
    mine = allocator("show", "chat").stdout
    allocator("apply", "-", "--by", "bob", "--why", "longer", stdin=SPEC.replace("90s", "2m"))
    refused = allocator("apply", "-", stdin=mine.replace("holdback: 0.0", "holdback: 0.1"), code=1).stderr
    assert "chat: revision 2 by bob at " in refused
    assert "this change was made from revision 1: nothing was written" in refused
    again = allocator("show", "chat").stdout.replace("holdback: 0.0", "holdback: 0.1")
    assert allocator("apply", "-", stdin=again).stdout.startswith("chat: changed, running, revision 3")
    assert allocator("apply", "-", stdin=again).stdout.startswith("chat: unchanged, running, revision 3")


def test_a_change_that_discards_needs_yes(allocator: Run) -> None:
    allocator("apply", "-", stdin=SPEC)
    without = SPEC.replace("b, c]", "b]")
    assert "arm c is removed: what it has counted is no longer read" in allocator("apply", "-", stdin=without, code=1).stderr
    assert allocator("apply", "-", "--yes", stdin=without).stdout.startswith("chat: changed, running, revision 2")
