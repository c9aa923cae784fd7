"""The quick rows of the reproduction report, and how rows are judged and written. docs/reproduction.md has the long runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from allocator.simulate import Estimate
from tests.reproduce import figures, policies
from tests.reproduce.each_unit import Retiring, thompson
from tests.reproduce.policies import figure_1, low_clicks_decide, low_clicks_each, table_1_decide, table_1_each
from tests.reproduce.report import Found, as_markdown
from tests.reproduce.rows import Row, Study, Verdict, exactly, failed, judged
from tests.reproduce.studies import STUDIES, named

SEED = 1
QUICK = [study for study in STUDIES if study.quick]


@pytest.mark.parametrize("study", QUICK, ids=lambda study: study.name)
def test_quick_numbers_are_reproduced(study: Study) -> None:
    answer = study.compute(study.quick, SEED)
    assert answer.keys() == {row.key for row in study.rows}
    found = {row.what: judged(row, answer[row.key]) for row in study.rows if not row.differs}
    assert found == dict.fromkeys(found, "reproduced")


def test_studies_can_be_named() -> None:
    names = [study.name for study in STUDIES]
    assert len(set(names)) == len(names)
    assert named(names[-1]) is STUDIES[-1]
    assert all(study.rows and study.runs >= study.quick for study in STUDIES)


def test_through_decide_and_draw_by_draw_are_one_policy() -> None:
    """Both ways of playing Thompson sampling lose the same, which neither could make the other do."""
    decided, drawn = low_clicks_decide(8, SEED, batch=200), low_clicks_each(60, SEED, batch=200)
    (ours,), (other,) = decided.values(), drawn.values()
    assert abs(ours.value - other.value) < 3 * np.hypot(ours.standard_error, other.standard_error)


def test_arms_that_retire_cost_the_same_both_ways() -> None:
    decided, drawn = (play(16, SEED, delay=200, horizon=20_000) for play in (table_1_decide, table_1_each))
    (ours,), (other,) = decided.values(), drawn.values()
    assert abs(ours.value - other.value) < 3 * np.hypot(ours.standard_error, other.standard_error)


def test_regret_is_less_than_of_an_even_split() -> None:
    lost = figure_1(4, SEED, gap=0.1, horizon=5000)["0.1"]
    assert 0 < lost.value < 5000 * 0.1 * 0.9 - 5 * lost.standard_error


def test_a_window_forgets_what_it_should() -> None:
    """An arm that was worthless in the window's past is found again, and never without a window so soon."""

    def rates(step: int) -> np.ndarray:
        return np.array([0.5, 0.0]) if step < 2000 else np.array([0.5, 1.0])

    lost, forgotten = (
        thompson(rates, runs=20, horizon=4000, batch=10, seed=SEED, window=window).mean() for window in (None, 200)
    )
    assert forgotten < lost


def test_nothing_is_lost_where_all_arms_are_alike() -> None:
    assert not thompson(np.full(3, 0.4), runs=5, horizon=500, batch=7, seed=SEED).any()
    retiring = thompson(np.zeros(3), runs=5, horizon=500, batch=7, seed=SEED, retiring=Retiring(0.01, 4, 4))
    assert (retiring > 0).all()


ROW = Row("x", "a number", published=100.0, tolerance=5.0, source="nobody", standing="C")


@pytest.mark.parametrize(
    "ours, relation, verdict",
    [
        (exactly(105.0), "=", "reproduced"),
        (exactly(94.9), "=", "NOT reproduced"),
        (Estimate(107.0, 1.0), "=", "reproduced"),
        (Estimate(107.1, 1.0), "=", "NOT reproduced"),
        (Estimate(120.0, 11.0), "=", "too few runs to tell"),
        (Estimate(100.0, float("nan")), "=", "NOT reproduced"),
        (exactly(1.0), "≤", "reproduced"),
        (exactly(105.1), "≤", "NOT reproduced"),
        (exactly(1000.0), "≥", "reproduced"),
        (exactly(94.9), "≥", "NOT reproduced"),
    ],
)
def test_verdicts(ours: Estimate, relation: str, verdict: Verdict) -> None:
    assert judged(replace(ROW, relation=relation), ours) == verdict


def test_a_number_fails_unless_the_row_says_why_it_differs() -> None:
    assert failed(ROW, exactly(106.0))
    assert not failed(ROW, exactly(105.0))
    assert not failed(replace(ROW, differs="Another world."), exactly(106.0))


def test_the_report_has_a_line_for_every_row() -> None:
    found = [
        Found(study.name, 7, {row.key: Estimate(row.published + 1e9, 1.0) for row in study.rows}, 0.1) for study in STUDIES[-3:]
    ]
    text = as_markdown(found, SEED, {"a title": "reproduction/a.svg"})
    rows = [row for study in STUDIES[-3:] for row in study.rows]
    assert text.count("**NOT reproduced**") == sum(row.relation != "≥" for row in rows)
    assert all(row.what in text and row.source in text for row in rows)
    assert "Why is not known." in text
    assert "![a title](reproduction/a.svg)" in text


def test_every_figure_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "RUNS", 2)
    monkeypatch.setattr(figures, "BATCHES", (500, 1000))
    table = [Found(s.name, 2, {row.key: Estimate(row.published, 9.0) for row in s.rows}, 0.1) for s in policies.STUDIES]
    drawn = figures.draw(table, SEED, tmp_path / "reproduction")
    assert sorted(drawn.values()) == sorted(f"reproduction/{file.name}" for file in (tmp_path / "reproduction").iterdir())
    assert all("<svg" in (tmp_path / file).read_text() for file in drawn.values())
