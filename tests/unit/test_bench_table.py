"""The bench does not show a speed for a wrong answer without saying so, and computes its ratios from the right rows."""

from __future__ import annotations

import pytest

from tests.bench.protocol import Measured, Sums
from tests.bench.table import BARE, FAUST, KAFKA_STREAMS, QUIX, WORKER, WORKER_RICH, Row, median_row, ratio, row_of, verdicts
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


def rows_of(**seconds: float) -> list[Row]:
    names = {"bare": BARE, "streams": KAFKA_STREAMS, "quix": QUIX, "faust": FAUST, "worker": WORKER, "rich": WORKER_RICH}
    return [row_of(names[who], measured(SUMS, seconds=s), ANSWER) for who, s in seconds.items()]


def test_rates_and_ratios() -> None:
    rows = rows_of(bare=0.5, worker=1.0, faust=60.0)
    assert [row.events_per_s for row in rows] == [12.0, 6.0, 0.1]
    assert rows[1].cpu_s_per_million == pytest.approx(500_000)
    assert ratio(rows, WORKER, FAUST) == pytest.approx(60)
    assert ratio(rows, WORKER, BARE) == 0.5
    assert ratio(rows, WORKER, QUIX) is None
    assert row_of("peer", measured(SUMS), ANSWER, written=30).bytes_per_event == 5


def test_several_runs_are_one_row_of_medians() -> None:
    runs = [row_of("peer", measured(SUMS, seconds=s), ANSWER, written) for s, written in ((1.0, 60), (3.0, 600), (2.0, None))]
    row = median_row(runs)
    assert (row.events_per_s, row.bytes_per_event, row.runs, row.answer) == (3.0, 55.0, 3, "exact")


def test_one_wrong_run_makes_the_row_wrong() -> None:
    runs = [row_of("peer", said, ANSWER) for said in (measured(SUMS), measured(SUMS, events=7), measured(SUMS))]
    assert median_row(runs).wrong


@pytest.mark.parametrize("slower,met", [(1.0, True), (0.99, False)])
def test_targets_are_met_from_their_bound_on(slower: float, met: bool) -> None:
    rows = rows_of(worker=1.0, rich=4 / 3, streams=2.0 * slower, quix=6.0 * slower, faust=80.0 * slower, bare=0.5 * slower)
    assert [v.met for v in verdicts(rows, [])] == [met] * 5


@pytest.mark.parametrize("ns,met", [(2000, True), (2001, False)])
def test_an_assignment_is_judged_at_four_arms(ns: int, met: bool) -> None:
    assert [v.met for v in verdicts([], [{"arms": 2, "ns": 9999}, {"arms": 4, "ns": ns}])] == [met]


def test_only_what_was_measured_is_judged() -> None:
    assert [v.target for v in verdicts(rows_of(worker=1.0, faust=100.0), [])] == ["this worker: at least 80 × plain Faust"]
