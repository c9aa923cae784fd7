"""Priors that borrow: what the owner may write, what becomes of it, what is refused, and that applying again changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from allocator.borrow import Borrow, Source, borrows_in, with_borrowed
from allocator.errors import SpecErrors
from allocator.evidence import Evidence
from allocator.experiment import Experiment, Prior
from allocator.lifecycle import revise
from allocator.moments import Moments
from allocator.prior import borrowed_prior
from allocator.spec import load_experiment
from streams.borrowing import load_wanted
from streams.cli import app
from streams.cli.spec_yaml import to_yaml
from tests.cells import moments_of

EXP_0 = load_experiment(
    """
experiment: exp-0
arms: [a, b, c]
metrics: {thumbs_up: binary, seconds: {type: value, resolution: 0.1}, clicks: count, best: {type: value, aggregate: max}}
objective: thumbs_up
"""
)


def counted(successes: Mapping[str, int], n: int = 100) -> Source:
    """Of `n` units an arm, the first so many had a success, of 2 seconds; the others none."""
    values = {arm: moments_of([[1, 20, 3, 0]] * k + [[0, 0, 0, 0]] * (n - k), 0.5) for arm, k in successes.items()}
    return Source(EXP_0, Evidence.of_arms(EXP_0.arm_ids, 4, values))


SOURCES = {"exp-0": counted({"a": 10, "b": 20})}


def wanted(metric: Any, **changes: Any) -> tuple[Experiment, tuple[Borrow, ...]]:
    spec = {"experiment": "exp-1", "arms": ["a", "b", "d"], "metrics": metric, "objective": next(iter(metric)), **changes}
    found = load_wanted(msgspec.json.encode(spec).decode())
    return found.experiment, found.borrows


def borrowing(prior: Mapping[str, Any], sources: Mapping[str, Source] = SOURCES, before: Experiment | None = None) -> Experiment:
    experiment, borrows = wanted({"thumbs_up": {"prior": prior}})
    return with_borrowed(experiment, borrows, sources, before)


def paths(call: Any) -> list[str]:
    with pytest.raises(SpecErrors) as raised:
        call()
    return [error.path for error in raised.value.errors]


# -- numbers ---------------------------------------------------------------------------------------------------------------------


def test_all_arms_together_are_borrowed_at_the_discount() -> None:
    """Beta(1, 1) and 200 units with 30 successes at a fifth: Beta(7, 35)."""
    prior = borrowing({"borrow": "exp-0", "discount": 0.2}).metrics["thumbs_up"].prior
    assert prior == Prior(units=pytest.approx(42.0), mean=pytest.approx(7 / 42), origin="exp-0 × 0.2")


def test_arm_by_arm_each_borrows_from_its_namesake_and_the_others_keep_the_default() -> None:
    metric = borrowing({"borrow": "exp-0", "discount": 0.5, "arms": True}).metrics["thumbs_up"]
    assert metric.prior == Prior(units=2.0, mean=0.5)
    assert metric.arm_priors == {
        "a": Prior(units=pytest.approx(52.0), mean=pytest.approx(6 / 52), origin="a of exp-0 × 0.5"),
        "b": Prior(units=pytest.approx(52.0), mean=pytest.approx(11 / 52), origin="b of exp-0 × 0.5"),
    }


def test_an_arm_whose_prior_is_given_borrows_nothing() -> None:
    given_prior = {"mean": 0.3, "units": 9}
    experiment, borrows = wanted(
        {"thumbs_up": {"prior": {"borrow": "exp-0", "discount": 1, "arms": True}, "arm_priors": {"b": given_prior}}}
    )
    arm_priors = with_borrowed(experiment, borrows, SOURCES).metrics["thumbs_up"].arm_priors
    assert list(arm_priors) == ["b", "a"]
    assert arm_priors["b"] == Prior(mean=0.3, units=9.0)


def test_a_metric_of_another_name_and_resolution_is_borrowed_in_natural_units() -> None:
    experiment, borrows = wanted(
        {"wait": {"type": "value", "resolution": 0.001, "prior": {"borrow": "exp-0", "discount": 0.1, "metric": "seconds"}}}
    )
    prior = with_borrowed(experiment, borrows, SOURCES).metrics["wait"].prior
    assert prior is not None
    assert (prior.mean, prior.origin) == (pytest.approx(0.3), "seconds of exp-0 × 0.1")
    assert prior.sd == pytest.approx((0.15 * 0.85 * 4) ** 0.5)


@given(st.floats(min_value=1e-6, max_value=1.0), st.integers(0, 100), st.integers(0, 100))
def test_the_numbers_are_those_of_the_function(discount: float, a: int, b: int) -> None:
    source = counted({"a": a, "b": b})
    prior = borrowing({"borrow": "exp-0", "discount": discount}, {"exp-0": source}).metrics["thumbs_up"].prior
    assert prior is not None
    together = sum(source.evidence.total, Moments.zero(4))
    expected = borrowed_prior(EXP_0.metrics["thumbs_up"], 0, together, discount)
    assert (prior.mean, prior.units) == (expected.mean, expected.units)


# -- the record and what is applied again ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("arms", [False, True])
def test_the_record_and_what_is_shown_are_the_same_spec_with_the_origin_in_it(arms: bool) -> None:
    filled = borrowing({"borrow": "exp-0", "discount": 0.2, "arms": arms})
    assert "exp-0 × 0.2" in to_yaml(filled)
    assert load_experiment(to_yaml(filled)) == filled
    assert load_experiment(msgspec.json.decode(msgspec.json.encode(filled))) == filled


def test_a_prior_that_was_not_borrowed_says_nothing_of_it() -> None:
    assert b"from" not in msgspec.json.encode(EXP_0)
    assert "from" not in to_yaml(EXP_0)


@pytest.mark.parametrize("arms", [False, True])
def test_applied_again_the_numbers_stay_until_it_borrows_otherwise(arms: bool) -> None:
    prior = {"borrow": "exp-0", "discount": 0.2, "arms": arms}
    before, more = revise(None, borrowing(prior)), {"exp-0": counted({"a": 90, "b": 90})}
    assert revise(before, borrowing(prior, more, before)) is before
    assert revise(before, borrowing(prior, {}, before)) is before  # the earlier experiment is gone
    assert revise(before, borrowing({**prior, "discount": 0.3}, more, before)) != before


def test_an_arm_that_is_new_borrows_too() -> None:
    before = borrowing({"borrow": "exp-0", "discount": 0.2, "arms": True})
    again = borrowing({"borrow": "exp-0", "discount": 0.2, "arms": True}, {"exp-0": counted({"a": 90, "b": 90})}, before)
    assert again == before
    experiment, borrows = wanted(
        {"thumbs_up": {"prior": {"borrow": "exp-0", "discount": 0.2, "arms": True}}}, arms=["a", "b", "c"]
    )
    wider = with_borrowed(experiment, borrows, {"exp-0": counted({"a": 90, "b": 90, "c": 50})}, before).metrics["thumbs_up"]
    assert wider.arm_priors["a"] == before.metrics["thumbs_up"].arm_priors["a"]
    assert wider.arm_priors["c"].mean == pytest.approx(11 / 22)


# -- refusals --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prior, path, said",
    [
        ({"borrow": "exp-9", "discount": 0.2}, "borrow", "an experiment that has been applied; did you mean 'exp-0'?"),
        ({"borrow": "chat", "discount": 0.2}, "borrow", "allocator list shows them"),
        ({"borrow": "exp-0", "discount": 1, "metric": "seconds"}, "borrow", "binary, as here; seconds there is of type value"),
        ({"borrow": "exp-0", "discount": 0.2, "metric": "thumb"}, "metric", "a metric of exp-0: one of thumbs_up, seconds"),
    ],
)  # fmt: skip
def test_what_cannot_be_borrowed_is_said(prior: dict[str, Any], path: str, said: str) -> None:
    with pytest.raises(SpecErrors) as raised:
        borrowing(prior)
    [error] = raised.value.errors
    assert error.path == f"metrics.thumbs_up.prior.{path}"
    assert said in str(error)
    assert "\n" not in str(error)


def test_another_aggregate_is_another_number() -> None:
    experiment, borrows = wanted({"seconds": {"type": "value", "prior": {"borrow": "exp-0", "discount": 1, "metric": "best"}}})
    with pytest.raises(SpecErrors, match="of aggregate sum, as here; best there is of aggregate max"):
        with_borrowed(experiment, borrows, SOURCES)


def test_an_experiment_without_data_has_nothing_to_lend() -> None:
    prior = {"borrow": "exp-0", "discount": 0.2}
    with pytest.raises(SpecErrors, match="none of its units has been counted yet"):
        borrowing(prior, {"exp-0": counted({})})
    with pytest.raises(SpecErrors, match="with data of an arm of the same name: one of a, b, d"):
        borrowing({**prior, "arms": True}, {"exp-0": counted({"c": 3})})


@pytest.mark.parametrize(
    "prior, wrong",
    [
        ({"borrow": "exp-1", "discount": 0.2}, ["borrow"]),
        ({"borrow": 3}, ["borrow", "discount"]),
        ({"borrow": "exp-0", "discount": 0}, ["discount"]),
        ({"borrow": "exp-0", "discount": 1.5}, ["discount"]),
        ({"borrow": "exp-0", "discount": True}, ["discount"]),
        ({"borrow": "exp-0", "discount": 1, "arms": "all", "metric": 3}, ["metric", "arms"]),
        ({"borrow": "exp-0", "discount": 1, "mean": 0.5}, ["mean"]),
    ],
)
def test_what_is_written_wrongly_is_named_with_everything_else(prior: dict[str, Any], wrong: list[str]) -> None:
    found = paths(lambda: wanted({"thumbs_up": {"prior": prior}}, lease=-1))
    assert found == [*(f"metrics.thumbs_up.prior.{field}" for field in wrong), "lease"]


def test_everywhere_else_a_spec_that_still_borrows_is_refused() -> None:
    spec: dict[str, Any] = {
        "experiment": "exp-1",
        "arms": ["a"],
        "metrics": {"m": {"prior": {"borrow": "exp-0", "discount": 0.2}}},
    }
    with pytest.raises(SpecErrors, match="allocator apply fills them in") as raised:
        load_experiment(spec)
    assert [error.path for error in raised.value.errors] == ["metrics.m.prior.borrow"]
    spec["metrics"] = {"m": {"arm_priors": {"a": {"borrow": "exp-0", "discount": 0.2}}}}
    with pytest.raises(SpecErrors, match="arms: true") as raised:
        load_experiment(spec)
    assert [error.path for error in raised.value.errors] == ["metrics.m.arm_priors.a.borrow"]


@pytest.mark.parametrize("spec", [None, [], {"metrics": 3}, {"metrics": {"m": None}}, {"metrics": {"m": {"prior": 3}}}])
def test_what_is_no_spec_is_left_to_who_reads_it(spec: Any) -> None:
    assert borrows_in(spec) == (spec, (), ())


def test_an_origin_is_a_text() -> None:
    spec = {"experiment": "x", "arms": ["a"], "metrics": {"m": {"prior": {"from": 3}}}}
    assert paths(lambda: load_experiment(spec)) == ["metrics.m.prior.from"]


def test_a_dry_run_needs_no_kafka() -> None:
    spec = "{experiment: exp-1, arms: [a, b], metrics: {m: {prior: {borrow: exp-0, discount: 0.2}}}}"
    found = CliRunner().invoke(app, ["apply", "-", "--dry-run"], input=spec)
    assert found.exit_code == 0
    assert found.stdout == "exp-1: checked, nothing written, what it borrows is looked up when it is applied\n"
