"""A soak's report says what is wrong, and its exit code does."""

from __future__ import annotations

import random
from itertools import islice
from typing import Any

import msgspec
import pytest
from rich.console import Console

from tests.chaos.schedule import CutOff, Kill, KillBroker, Mend, Pause, Resume, Start, StartBroker, Stop
from tests.soak.episodes import episodes
from tests.soak.report import Check, Report, as_table


def check(*differences: str, at_s: float = 60.0) -> Check:
    return Check(
        at_s=at_s, events=100, versions=7, heal_s=1.5, rss_mib=[90.0 + at_s], disk_mib=2.0, differences=list(differences)
    )


def report(**changes: Any) -> Report:
    return msgspec.structs.replace(Report(seed=1, workers=2, units_per_s=500.0), **changes)


def shown(found: Report) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(as_table(found), markup=False)
    return capture.get()


@pytest.mark.parametrize(
    "changes, code, text",
    [
        ({"checks": [check(), check(at_s=120.0), check(at_s=180.0)]}, 0, "Every check found everything counted exactly"),
        ({"checks": [check(), check("counters {}, expected {}")]}, 1, "counters {}, expected {}"),
        ({"checks": [check()], "failed": "no broker"}, 1, "could not go on: no broker"),
        ({"checks": [], "interrupted": True}, 1, "nothing was compared"),
    ],
    ids=["exact", "difference", "failed", "interrupted before a check"],
)
def test_exit_code_and_what_is_said(changes: dict[str, Any], code: int, text: str) -> None:
    found = report(**changes)
    assert found.exit_code == code
    assert text in shown(found)


def test_the_slope_of_memory_is_per_hour() -> None:
    assert "+3600" in shown(report(checks=[check(at_s=s) for s in (60.0, 120.0, 180.0)]))


def test_episodes_follow_from_the_seed_and_leave_everybody_up() -> None:
    first, again = (list(islice(episodes(random.Random(5), 3, 2.0, outages=True), 300)) for _ in range(2))
    assert first == again
    pairs = {Stop: Start, Pause: Resume, CutOff: Mend, KillBroker: StartBroker}
    for episode in first:
        kinds = [type(action) for action in episode.actions]
        assert kinds[-1] in (Kill, *pairs.values())
        assert all(pairs[kind] in kinds[i:] for i, kind in enumerate(kinds) if kind in pairs)


def test_without_outages_the_broker_is_left_alone() -> None:
    touched = {type(a) for e in islice(episodes(random.Random(5), 2, 2.0, outages=False), 300) for a in e.actions}
    assert not touched & {CutOff, Mend, KillBroker, StartBroker}
