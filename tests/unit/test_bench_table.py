"""The bench does not show a speed for a wrong answer without saying so, and computes its ratios from the right rows."""

from __future__ import annotations

import pytest

from tests.bench.protocol import Measured, Sums
from tests.bench.table import BARE, FAUST, WORKER, ratio, row_of, verdicts
from tests.reference import Answer

SUMS: Sums = {"exp-0": {"a": [2, 1], "b": [1, 0]}}
ANSWER = Answer(SUMS, {"exposures.applied": 3, "rewards.applied": 3})


def measured(sums: Sums | None, events: int = 6, seconds: float = 2.0) -> Measured:
    return Measured(events=events, seconds=seconds, cpu_s=3.0, rss_mib=100.0, sums=sums)


@pytest.mark.parametrize(
    "said,answer",
    [
        (measured(SUMS), "exact"),
        (measured(None), "counted"),
        (measured({"exp-0": {"a": [2, 1], "b": [1, 1]}}), "WRONG"),
        (measured({}), "WRONG"),
        (measured(SUMS, events=7), "WRONG"),
        (measured(None, events=5), "WRONG"),
    ],
)
def test_every_answer_is_checked(said: Measured, answer: str) -> None:
    row = row_of("peer", said, ANSWER)
    assert (row.answer, row.wrong) == (answer, answer == "WRONG")


def test_rates_and_ratios() -> None:
    rows = [row_of(who, measured(SUMS, seconds=seconds), ANSWER) for who, seconds in ((BARE, 0.5), (WORKER, 1.0), (FAUST, 60.0))]
    assert [row.events_per_s for row in rows] == [12.0, 6.0, 0.1]
    assert rows[1].cpu_s_per_million == pytest.approx(500_000)
    assert ratio(rows, WORKER, FAUST) == pytest.approx(60)
    assert ratio(rows, WORKER, BARE) == 0.5


@pytest.mark.parametrize("faust_s,ns,met", [(50.0, 2000, [True, True]), (49.0, 2001, [False, False])])
def test_targets_are_met_from_their_bound_on(faust_s: float, ns: int, met: list[bool]) -> None:
    rows = [row_of(who, measured(SUMS, seconds=s), ANSWER) for who, s in ((WORKER, 1.0), (FAUST, faust_s))]
    assert [v.met for v in verdicts(rows, [{"arms": 2, "ns": 1}, {"arms": 4, "ns": ns}])] == met
