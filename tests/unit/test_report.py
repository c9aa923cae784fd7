"""The report: what it says of made-up experiments, as a record, as a page that stands alone, and in the terminal."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import msgspec
import orjson
import pytest

from allocator.standing import Breach, Standing
from allocator.verdict import Alarm
from streams.cli.report_print import headline, show
from streams.report import Report, Section, make_report, page
from streams.report import sections as sections_module
from streams.report.words import count
from tests.page_parser import parsed
from tests.reported import DAY_S, START, inputs_of, nothing, spec


@pytest.fixture(scope="module")
def segmented() -> Report:
    """Segments that like different arms, weights of their own, a breach, a second stage, a holdback, a segment without units."""
    breach = Breach(metric="cost", arm="bold", action="alert", version=5, ts=START * DAY_S, units=5000, estimate=0.04, bound=0.02)
    standing = Standing(stage=1, stage_since=(START + 3) * DAY_S, stage_units=9000, stage_ppm=500_000, breaches=(breach,))
    stages = [{"enrolment": "1%", "min_time": "1h"}, {"enrolment": "50%", "advance": "manual"}, {"enrolment": "90%"}]
    experiment = spec(segments=["light", "heavy", "asleep"], policy="per-segment", holdback=0.1, stages=stages)
    rates = {"light": (0.10, 0.18, 0.05), "heavy": (0.30, 0.28, 0.44)}
    return make_report(inputs_of(experiment, rates, units=3000, days=7, standing=standing))


@pytest.fixture(scope="module")
def won() -> Report:
    return make_report(inputs_of(spec(), {"": (0.10, 0.15, 0.10)}, units=5000, days=6))


# -- the record ------------------------------------------------------------------------------------------------------------------


def test_the_winner_is_promoted(won: Report):
    assert won.verdict.headline == "promote new"
    assert headline(won).startswith("promote new: new is better than old on clicks: +")
    assert won.verdict.rule == "winner"
    best = won.arms[1]
    assert (best.id, best.p_best > 0.99, best.n) == ("new", True, best.n)
    assert won.units == sum(arm.n for arm in won.arms) == 30_000
    by = {(row.metric, row.arm): row for row in won.effects}
    assert list(by) == [("clicks", "new"), ("clicks", "bold"), ("cost", "new"), ("cost", "bold")]
    effect = by["clicks", "new"]
    assert effect.low is not None
    assert effect.high is not None
    assert effect.low < 0.05 < effect.high
    assert (effect.known, effect.discovered, effect.preliminary, effect.direction) == ("better", True, False, "up")
    assert by["cost", "new"].direction == "down"


def test_an_evicted_arm_is_not_the_best_however_much_it_earns():
    breach = Breach(metric="cost", arm="bold", action="evict", version=5, ts=START * DAY_S, units=5000, estimate=0.04, bound=0.02)
    guarded = spec(guardrails={"cost": {"tolerance": 0.01, "action": "evict"}})
    rates = {"": (0.10, 0.15, 0.30)}
    found = make_report(inputs_of(guarded, rates, units=5000, days=6, standing=Standing(breaches=(breach,))))
    assert found.verdict.headline == "promote new"
    old, new, bold = found.arms
    assert (bold.p_best, bold.expected_loss) == (0.0, None)
    assert new.p_best > 0.99
    assert old.p_best + new.p_best == pytest.approx(1.0)
    assert [row.estimate < 0 for row in found.cost] == [False, False, True, True]


def test_the_record_is_json_and_comes_back(segmented: Report):
    """As --json prints it: no nan, no infinity, and the same record again."""
    text = orjson.dumps(segmented, default=msgspec.to_builtins)
    assert msgspec.json.decode(text, type=Report) == segmented
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_every_number_has_its_method(segmented: Report):
    parts = {row.part for row in segmented.methods}
    assert parts >= {"verdict", "arms on clicks", "effect on clicks", "effect on cost", "cost so far", "effect by period"}
    assert parts >= {"segments against the rest", "Simpson's paradox"}
    assert all(row.method and row.assumptions for row in segmented.methods)


def test_segments(segmented: Report):
    assert [(row.segment, row.n) for row in segmented.segments] == [("heavy", 21_000), ("light", 21_000), ("asleep", 0)]
    assert [[arm.id for arm in row.arms] for row in segmented.segments] == [["old", "new", "bold"]] * 3
    for arm in (arm for row in segmented.segments for arm in row.arms):  # without units, what the prior says
        assert arm.mean is not None
        assert arm.interval is not None
        assert arm.interval[0] < arm.mean < arm.interval[1]
    heavy = {row.id: row for row in segmented.segments[0].arms}
    assert heavy["bold"].ppm is not None
    assert heavy["bold"].ppm > 900_000
    assert heavy["old"].effect is None
    assert segmented.interaction_reason == "the best arm differs: new in light, bold elsewhere"
    assert segmented.interaction_reason in segmented.verdict.cautions
    assert [(row.segment, row.arm, row.proven) for row in segmented.crossings] == [("light", "new", True)]
    assert {(row.segment, row.elsewhere) for row in segmented.interaction} == {("heavy", "light")}


def test_arms_are_compared_with_segments_weighed_alike(segmented: Report):
    """Pooled, bold is far ahead: it got the segment in which everybody clicks."""
    bold = next(arm for arm in segmented.arms if arm.id == "bold")
    assert bold.mean == pytest.approx((0.05 + 0.44) / 2, abs=0.01)


def test_simpson_is_a_caution():
    """Every segment has it worse with `new`; pooled it looks better, since the good segment gets it."""
    experiment = spec(segments=["light", "heavy"], arms=["old", "new"], policy={"name": "fixed", "shares": {"old": 1, "new": 1}})
    found = inputs_of(experiment, {"light": (0.10, 0.06), "heavy": (0.50, 0.46)}, units=2000, days=3)
    moved = {name: {arm: [s * (4 if (name, arm) in {("heavy", "new"), ("light", "old")} else 1) for s in sums]
                    for arm, sums in arms.items()} for name, arms in found.evidence.segments.items()}  # fmt: skip
    object.__setattr__(found, "evidence", type(found.evidence)(experiment.arm_ids, 2, moved, found.evidence.periods))
    report = make_report(found)
    assert [(row.arm, row.pooled > 0 > row.standardised) for row in report.simpson] == [("new", True)]
    assert any(caution.startswith("Simpson's paradox: new against old: pooled +") for caution in report.verdict.cautions)


def test_cost_adds_up(segmented: Report, won: Report):
    for report in (segmented, won):
        *rows, total = report.cost
        assert total.arm is None
        for field in ("units", "estimate", "most"):
            assert getattr(total, field) == pytest.approx(sum(getattr(row, field) for row in rows))
        assert all(row.estimate <= row.most for row in report.cost)  # type: ignore[operator]
    held = make_report(inputs_of(spec(holdback=0.1), {"": (0.1, 0.2, 0.1)}, units=3000, days=3))
    assert [(row.arm, row.units) for row in held.cost if row.held_back] == [("old", 900)]
    assert (held.held_back_units, held.units) == (900, 9000)


def test_novelty_is_drawn_and_a_fading_effect_is_a_caution():
    """Even traffic, so that every day tells as much as another."""
    experiment = spec(arms=["old", "bold"], policy={"name": "fixed", "shares": {"old": 1, "bold": 1}})
    report = make_report(inputs_of(experiment, {"": (0.1, 0.4)}, units=4000, days=8, fade=0.035))
    (row,) = report.novelty
    assert len(row.ts) == len(row.effect) == len(row.se) == 8
    assert row.verdict == "fading"
    assert report.verdict.cautions == [f"bold: {row.reason}"]
    assert "Effect by period" in page(report)


def test_before_rewards_are_in_effects_are_preliminary():
    early = make_report(inputs_of(spec(), {"": (0.10, 0.15, 0.10)}, units=3000, days=1, after_s=-0.5 * DAY_S))
    assert early.verdict.reason.startswith("no unit's rewards are all in yet, the first are in ")
    assert all(row.preliminary for row in early.effects)
    method = next(row for row in early.methods if row.part == "effect on clicks")
    assert "those still to come count as zeros" in method.assumptions[0]
    assert "preliminary" in page(early)


def test_densities_are_densities(won: Report):
    for curve in won.densities:
        area = sum((b - a) * (p + q) / 2 for a, b, p, q in zip(curve.x, curve.x[1:], curve.y, curve.y[1:], strict=False))
        assert area == pytest.approx(1, abs=0.02)
    assert [curve.arm for curve in won.densities] == ["old", "new", "bold"]


def test_an_alarm_speaks_first(won: Report):
    report = make_report(inputs_of(spec(), {"": (0.1, 0.1, 0.1)}, days=2), [Alarm("sample ratio", "b is short", "look")])
    assert headline(report) == "broken: sample ratio: b is short; look"
    assert "b is short" in page(report)


def test_a_lease_that_ran_out_is_an_alarm():
    report = make_report(msgspec_replace_now(inputs_of(spec(), {"": (0.1, 0.1, 0.1)}, days=2), 7200.0))
    assert report.verdict.reason.startswith("weights: the weights ran out 119 min ago")


def msgspec_replace_now(inputs: Any, later_s: float) -> Any:
    object.__setattr__(inputs, "now", inputs.now + later_s)
    return inputs


def test_finer_sums_are_the_same_sums():
    """By segment and period, as segments are compared, against those that train the policy."""
    found = inputs_of(
        spec(segments=["light", "heavy"], holdback=0.1), {"light": (0.1,) * 3, "heavy": (0.3,) * 3}, units=200, days=3
    )
    for segment, by_arm in found.evidence.segments.items():
        for arm, sums in by_arm.items():
            cells = [arms[arm] for arms in found.by_segment[segment].values() if arm in arms]
            assert sum(cells[1:], cells[0]).sums == tuple(sums)
    assert set(found.by_segment) == {"light", "heavy"}  # those held back are elsewhere


# -- the page and the terminal ---------------------------------------------------------------------------------------------------


def test_the_page_stands_alone_and_begins_with_the_verdict(segmented: Report, won: Report):
    for report in (segmented, won):
        words = [text.strip().replace("\xa0", " ") for text in parsed(page(report)).text if text.strip()]
        assert words[:3] == ["shop", report.verdict.headline, report.verdict.reason]
        for part in ("Effects against old", "Arms on clicks", "Shares over time", "What is known of each arm", "Cost so far"):
            assert part in words
    assert "Does an effect differ by segment?" in page(segmented)
    assert "Segments" not in words


@pytest.mark.parametrize("arms", [["old", "new"], ["old"]])
def test_nothing_yet(arms: list[str], capsys: pytest.CaptureFixture[str]):
    report = make_report(nothing(spec(arms=arms)))
    assert headline(report) == "keep going: no unit has been counted yet"
    parsed(page(report))
    show(report)
    assert capsys.readouterr().out.startswith("keep going: no unit has been counted yet\n")
    assert orjson.dumps(report, default=msgspec.to_builtins)


def test_what_people_wrote_is_text_and_no_markup(capsys: pytest.CaptureFixture[str]):
    hostile = '<script>alert(1)</script> [bold]& "so" on[/]'
    report = make_report(nothing(spec(hypothesis=hostile, owner=hostile)))
    html = page(report)
    assert hostile in "".join(parsed(html).text)
    assert "<script" not in html
    show(report)
    assert hostile in capsys.readouterr().out


def test_the_terminal_begins_with_the_verdict(segmented: Report, capsys: pytest.CaptureFixture[str]):
    show(segmented)
    out = capsys.readouterr().out
    assert out.startswith(f"{segmented.verdict.headline}: {segmented.verdict.reason}\n")
    for part in (
        "Effects against old",
        "Segments  the best arm differs",
        "Guardrails  1 broken",
        "Stage  stage 2 of 3, 50 % enrolled",
        "Cost so far",
    ):
        assert part in out


def test_the_holdback_is_a_section_where_there_is_one():
    assert "Holdback" not in [section.title for section in make_report(nothing(spec())).sections]
    waiting = make_report(nothing(spec(holdback=0.1))).sections[0]
    assert (waiting.title, waiting.summary) == ("Holdback", "0 units held back on old, 0 allocated")
    assert waiting.rows[0][:3] == ["clicks", "", "no period with units held back has all its rewards in"]
    held = next(s for s in make_report(inputs_of(spec(holdback=0.1), {"": [0.2, 0.2, 0.2]})).sections if s.title == "Holdback")
    assert held.summary == f"600 units held back on old, {count(6000)} allocated"
    assert [row[0] for row in held.rows] == ["clicks", "cost"]
    assert held.rows[0][1].startswith("+0.") or held.rows[0][2]


@pytest.mark.parametrize("status", ["draft", "promoted", "stopped", "archived"])
def test_a_report_of_any_status(status: Any):
    inputs = inputs_of(spec(holdback=0.1), {"": [0.2, 0.3, 0.2]})
    changed = msgspec.structs.replace(inputs.experiment, status=status, promoted="new" if status == "promoted" else None)
    made = make_report(dataclasses.replace(inputs, experiment=changed))
    assert made.spec.status == status
    assert page(made)


def test_a_new_part_is_one_function(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    made = Section(
        title="Tree", summary="what moves the root", columns=["leaf", ">effect"], rows=[["clicks", "+1"]], method="sum"
    )
    monkeypatch.setattr("streams.report.make.SECTIONS", (*sections_module.SECTIONS, lambda _: made))
    report = make_report(nothing(spec()))
    assert [section.title for section in report.sections] == ["Health", "Events", "Tree"]
    assert "what moves the root" in page(report)
    show(report)
    assert "Tree  what moves the root" in capsys.readouterr().out


def test_an_objective_made_of_others_is_reported_like_any_other():
    metrics = {
        "clicks": {"type": "binary", "window": "1h"},
        "cost": {"type": "value", "direction": "down", "window": "1h"},
        "oec": {"sum": {"clicks": 1, "cost": -0.1}},
        "dear": {"ratio": ["cost", "clicks"], "direction": "down"},
    }
    for objective in ("oec", "dear"):
        experiment = spec(metrics=metrics, objective=objective, segments=["free"], policy="per-segment")
        report = make_report(inputs_of(experiment, {"free": (0.1, 0.2, 0.1), "other": (0.1, 0.3, 0.1)}, units=3000, days=7))
        assert report.verdict.headline == "promote new"
        assert [row.metric for row in report.effects][:2] == [objective] * 2
        assert {row.metric for row in report.effects} == set(metrics)
