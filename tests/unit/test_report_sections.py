"""Sections of the report: metric tree, guardrails, covariates and stage, of made-up experiments whose truth is known."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from allocator.guardrails import guardrail_readings
from allocator.inference import adjusted_effects, tree_effects
from allocator.standing import Breach, Standing
from streams.report import Inputs, Section, make_report, page
from streams.report.covariates import covariates
from streams.report.guardrails import guardrails
from streams.report.stage import stage
from streams.report.tree import tree
from tests.page_parser import parsed
from tests.reported import DAY_S, START, inputs_of, nothing, spec

RATES = {"": (0.10, 0.15, 0.10)}
EVEN = {"name": "fixed", "shares": {"old": 1, "new": 1, "bold": 1}}
DEEP = {
    "clicks": {"type": "binary", "window": "1h"},
    "cost": {"type": "value", "direction": "down", "window": "1h"},
    "dear": {"ratio": ["cost", "clicks"], "direction": "down"},
    "oec": {"sum": {"clicks": 1, "cost": -0.2}},
}
GUARDED = {"cost": {"tolerance": "1%", "action": "evict", "min_units": 500}, "clicks": {"tolerance": 0.05, "min_units": 30_000}}
RAMP = [{"enrolment": "1%", "min_time": "1d", "min_units": 1000}, {"enrolment": "50%", "advance": "manual", "name": "half"},
        {"enrolment": "90%"}]  # fmt: skip


def cells(section: Section | None, *columns: str) -> list[tuple[str, ...]]:
    """Some columns of the table."""
    assert section is not None
    names = [name.removeprefix(">") for name in section.columns]
    assert all(len(row) == len(names) for row in section.rows)
    return [tuple(row[names.index(column)] for column in columns) for row in section.rows]


@pytest.fixture(scope="module")
def rich() -> Inputs:
    """`bold` costs 4 % more and `new` 2 %, and 1 % is allowed: found in days; a tree, a covariate and a ramp besides."""
    experiment = spec(metrics=DEEP, objective="oec", policy=EVEN, guardrails=GUARDED, covariates=["cost_28d"], stages=RAMP)
    return inputs_of(experiment, RATES, units=9000, days=4)


# -- the tree --------------------------------------------------------------------------------------------------------------------


def test_the_tree_has_every_node_and_what_it_moves(rich: Inputs):
    section = tree(rich)
    assert section is not None
    assert [row[0] for row in cells(section, "metric", "arm") if row[1] == "new"] == [
        "oec = sum", "├─ 1 × clicks", "└─ -0.2 × cost ↓", "dear = ratio ↓", "├─ cost ↓", "└─ clicks",
    ]  # fmt: skip
    root = tree_effects(rich.experiment, rich.evidence, now=rich.now)
    moved = [float(text) for (text,) in cells(section, "moves the root by")]
    for k, arm in enumerate(rich.others):
        assert moved[k] == pytest.approx(root.moved[arm], rel=0.01)
        assert moved[2 + k] + moved[4 + k] == pytest.approx(moved[k], abs=1e-4)
    assert section.summary.startswith("new moves oec by +0.0")
    assert " through clicks, -0.00" in section.summary
    assert section.method
    assert section.assumptions


def test_without_derived_metrics_or_units_there_is_no_tree():
    assert tree(inputs_of(spec(), RATES, units=300, days=2)) is None
    assert tree(nothing(spec(metrics=DEEP, objective="oec"))) is None


def test_a_tree_before_rewards_are_in_is_preliminary():
    section = tree(inputs_of(spec(metrics=DEEP, objective="oec"), RATES, units=3000, days=1, after_s=-0.5 * DAY_S))
    assert section is not None
    assert section.summary.endswith("preliminary: rewards are still to come")
    assert "those still to come count as zeros" in section.assumptions[0]


# -- guardrails ------------------------------------------------------------------------------------------------------------------


def test_a_guardrail_is_broken_clean_or_waiting(rich: Inputs):
    section = guardrails(rich)
    assert section is not None
    rows = cells(section, "metric", "arm", "state")
    assert rows == [
        ("cost", "new", "clean"), ("cost", "bold", "broken"), ("clicks", "new", "waiting"), ("clicks", "bold", "waiting"),
    ]  # fmt: skip
    (breach,) = rich.weights[None].standing.breaches
    action = cells(section, "action")
    assert action[0] == ("evict if it breaks",)
    assert action[1][0].startswith("evicted 2024-10-0")
    assert f"version {breach.version}, at " in action[1][0]
    assert "equally weighted units, 30000 are demanded" in action[2][0]
    assert section.summary == (
        "1 broken, 2 waiting for units, 1 clean; what was done stands until a person ends it: "
        "allocator overrule shop cost bold --why …"
    )
    readings = guardrail_readings(rich.experiment, rich.evidence)
    assert section.method == readings[0].method
    assert set(section.assumptions) == {line for reading in readings for line in reading.assumptions}
    assert cells(section, "tolerated") == [("+1 %",), ("+1 %",), ("-0.05",), ("-0.05",)]
    assert float(cells(section, "bound")[1][0].rstrip(" %")) > 1


def test_the_verdict_says_who_was_evicted_and_why(rich: Inputs):
    told = next(line for line in make_report(rich).verdict.cautions if line.startswith("guardrail cost: bold is "))
    assert "% above control, by at least " in told
    assert told.endswith(" %, 1 % is allowed: evicted")
    alone = spec(arms=["old", "bold"], guardrails=GUARDED, policy={"name": "fixed", "shares": {"old": 1, "bold": 1}})
    report = make_report(inputs_of(alone, {"": (0.10, 0.20)}, units=20_000, days=6))
    assert (report.verdict.headline, report.verdict.rule) == ("stop", "nothing left")
    assert report.verdict.reason.startswith("bold has been evicted: guardrail cost: bold is ")
    assert report.verdict.reason.endswith(" %, 1 % is allowed")


def test_what_a_person_overruled_only_alerts(rich: Inputs):
    experiment = msgspec.structs.replace(rich.experiment, overruled={"cost": ("bold",)})
    left = Inputs(**{**vars_of(rich), "experiment": experiment})
    assert cells(guardrails(left), "action")[1][0].startswith("overruled by a person: alerts only; ")


def test_a_breach_of_a_guardrail_that_is_gone_is_still_told():
    breach = Breach(metric="cost", arm="bold", action="freeze", version=5, ts=0.0, units=5000, estimate=0.04, bound=0.02)
    section = guardrails(inputs_of(spec(), RATES, units=300, days=2, standing=Standing(breaches=(breach,))))
    assert cells(section, "metric", "state", "difference", "tolerated") == [("cost", "broken", "+0.04", "–")]
    assert cells(section, "action")[0][0].endswith("; not in the spec")


def test_without_guardrails_there_is_no_section():
    assert guardrails(nothing(spec())) is None
    assert cells(guardrails(nothing(spec(guardrails=GUARDED))), "state") == [("waiting",)] * 4


# -- covariates ------------------------------------------------------------------------------------------------------------------


def test_covariates_save_variance_where_they_know_something(rich: Inputs):
    section = covariates(rich)
    assert section is not None
    rows = cells(section, "metric", "arm", "difference", "adjusted", "saved")
    assert [row[:2] for row in rows] == [("clicks", "new"), ("clicks", "bold"), ("cost", "new"), ("cost", "bold")]
    saved = [float(row[4].rstrip(" %")) for row in rows]
    assert max(map(abs, saved[:2])) < 3
    assert saved[2:] == pytest.approx([100 * 0.3**2 / (0.3**2 + 0.2**2)] * 2, abs=3)
    found = adjusted_effects(rich.experiment, rich.evidence, "cost", rich.now)
    assert float(rows[2][3]) == pytest.approx(found[0].adjusted, rel=0.01)
    assert section.summary.startswith("cost_28d: up to ")
    assert section.method == found[0].method
    assert "one look" in section.columns[3]


def test_covariates_before_a_period_is_over_and_without_any():
    assert covariates(nothing(spec())) is None
    early = covariates(nothing(spec(covariates=["cost_28d"])))
    assert early is not None
    assert early.rows == []
    assert "no period has all its rewards in" in early.summary


# -- the stage -------------------------------------------------------------------------------------------------------------------


def test_the_stage_says_what_its_gate_waits_for(rich: Inputs):
    section = stage(rich)
    assert section is not None
    assert "guardrail" not in section.summary
    assert "gate: bold broke cost (evict), and nobody has overruled it" in section.summary
    assert cells(section, "stage", "enrolled", "goes on") == [
        ("1", "1 %", "by itself"), ("2 half", "50 %", "by a person"), ("3", "90 %", "by itself"),
    ]  # fmt: skip


def test_a_stage_that_waits_for_a_person():
    section = stage(inputs_of(spec(stages=RAMP), RATES, units=3000, days=3))
    assert section is not None
    assert section.summary.startswith("stage 2 of 3, 50 % enrolled, entered ")
    assert section.summary.endswith("; gate: waits for a person: allocator advance shop")
    states = [state for (state,) in cells(section, "")]
    assert states == ["passed", "in force; gate: waits for a person: allocator advance shop", ""]


def test_a_stage_whose_gate_holds_goes_on_with_the_next_decision():
    quick = [{"enrolment": "10%"}, {"enrolment": "90%"}]
    first = Standing(stage=0, stage_since=(START + 1) * DAY_S, stage_ppm=100_000)
    on = stage(inputs_of(spec(stages=quick), RATES, units=300, days=2, standing=first))
    assert on is not None
    assert "; with the next decision: stage 2 of 2: 90 % enrolled after " in on.summary
    last = stage(inputs_of(spec(stages=quick), RATES, units=300, days=3))
    assert last is not None
    assert last.summary.endswith("; the last one")


def test_no_stages_and_none_entered_yet():
    assert stage(nothing(spec())) is None
    new = stage(nothing(spec(stages=RAMP)))
    assert new is not None
    assert new.summary == "not entered yet; next: stage 1 of 3: 1 % enrolled"


# -- all together ----------------------------------------------------------------------------------------------------------------


def test_the_page_shows_all_sections(rich: Inputs):
    report = make_report(rich)
    words = [text.strip() for text in parsed(page(report)).text if text.strip()]
    titles = ["Metric tree", "Guardrails", "Covariates", "Stage", "Health", "Events"]
    assert [section.title for section in report.sections] == titles
    assert [word for word in words if word in titles] == titles
    assert "└─ -0.2 × cost ↓" in words


def test_a_new_experiment_of_all_sorts_has_a_report():
    """No part may fail for want of units."""
    experiment = spec(metrics=DEEP, objective="oec", guardrails=GUARDED, covariates=["cost_28d"], stages=RAMP, segments=["free"])
    report = make_report(nothing(experiment))
    parsed(page(report))
    assert [row.segment for row in report.segments] == ["free"]


def vars_of(inputs: Inputs) -> dict[str, Any]:
    """Fields without what was derived of them."""
    return {name: getattr(inputs, name) for name in Inputs.__dataclass_fields__}
