"""Priors: what a spec says, what is filled in, what is borrowed, and that posteriors start from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from allocator import ArgumentError, load_experiment
from allocator.errors import SpecErrors
from allocator.experiment import Metric, MetricType, Prior
from allocator.moments import Moments, layout_of
from allocator.posterior import BetaPosteriors, GammaPosteriors, StudentPosteriors, posteriors_of
from allocator.prior import borrowed_prior, default_prior


def moments(values: Sequence[int]) -> Moments:
    layout, sums = layout_of(1), layout_of(1).empty()
    for value in values:
        layout.enter(sums, 10**6)
        layout.change(sums, 10**6, [0], 0, value)
    return Moments(1, tuple(sums))


NOTHING = Moments.zero(1)


def metric(**fields: Any) -> Metric:
    spec = {"experiment": "x", "arms": ["a", "b"], "metrics": {"m": {"resolution": 1.0, **fields}}, "objective": "m"}
    return load_experiment(spec).metrics["m"]


def test_a_spec_shows_the_default_of_each_type() -> None:
    assert metric(type="binary").prior == Prior(mean=0.5, units=2.0)
    assert metric(type="value").prior == Prior(mean=None, units=1.0, sd=None)
    assert metric(type="count").prior == Prior(mean=None, units=None, sd=None)


def test_fields_left_out_are_the_defaults_and_arms_may_differ() -> None:
    found = metric(type="value", prior={"mean": 3, "sd": 2}, arm_priors={"b": {"mean": 5, "units": 40}})
    assert found.prior == Prior(mean=3.0, units=1.0, sd=2.0)
    assert found.arm_priors == {"b": Prior(mean=5.0, units=40.0)}


def test_the_record_reads_as_it_was_written() -> None:
    spec = load_experiment(
        {
            "experiment": "x",
            "arms": ["a", "b"],
            "metrics": {"r": {"prior": {"mean": 0.1, "units": 20}}, "c": "count", "v": {"type": "value", "prior": {"sd": 2}}},
            "objective": "r",
        }
    )
    assert load_experiment(msgspec.json.decode(msgspec.json.encode(spec))) == spec


@pytest.mark.parametrize(
    "fields, path",
    [
        ({"type": "binary", "prior": {"mean": 1, "units": 20}}, "prior.mean"),
        ({"type": "binary", "prior": {"mean": 0.1, "units": 0}}, "prior.units"),
        ({"type": "binary", "prior": {"mean": 0.1, "sd": 0.3}}, "prior.sd"),
        ({"type": "binary", "prior": {"mean": None}}, "prior.mean"),
        ({"type": "value", "prior": {"units": None}}, "prior.units"),
        ({"type": "value", "prior": {"sd": -1}}, "prior.sd"),
        ({"type": "value", "prior": {"mean": "much"}}, "prior.mean"),
        ({"type": "value", "prior": {"mean": True}}, "prior.mean"),
        ({"type": "count", "prior": {"mean": 0}}, "prior.mean"),
        ({"type": "count", "prior": {"unit": 3}}, "prior.unit"),
        ({"type": "count", "prior": 3}, "prior"),
        ({"type": "count", "arm_priors": [3]}, "arm_priors"),
        ({"type": "count", "arm_priors": {"c": {"mean": 3}}}, "arm_priors.c"),
        ({"type": "count", "arm_priors": {"a": {"mean": -3}}}, "arm_priors.a.mean"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(SpecErrors) as raised:
        metric(**fields)
    assert [error.path for error in raised.value.errors] == [f"metrics.m.{path}"]


def test_posteriors_start_from_pseudo_units() -> None:
    units = [moments([1, 1, 0]), NOTHING]
    beta = posteriors_of(metric(prior={"mean": 0.1, "units": 20}), 0, "ab", units)
    assert isinstance(beta, BetaPosteriors)
    np.testing.assert_allclose([beta.a, beta.b], [[4.0, 2.0], [19.0, 18.0]], rtol=1e-14)

    value = posteriors_of(metric(type="value", prior={"mean": 3, "units": 10, "sd": 2}), 0, "ab", units)
    assert isinstance(value, StudentPosteriors)
    np.testing.assert_allclose(value.mean, [32 / 13, 3.0], rtol=1e-14)
    np.testing.assert_allclose(value.dof, [15.0, 12.0])
    assert value.scale[1] == pytest.approx(2 / np.sqrt(10))

    count = posteriors_of(metric(type="count", prior={"mean": 2, "units": 10}), 0, "ab", units)
    assert isinstance(count, GammaPosteriors)
    np.testing.assert_allclose(count.mean, [22 / 13, 2.0], rtol=1e-14)


def test_an_explicit_prior_is_known_before_the_first_unit_and_an_arm_may_have_its_own() -> None:
    arm_priors = {"b": {"mean": 4, "units": 50, "sd": 1}}
    for kind in ("value", "count"):
        found = posteriors_of(
            metric(type=kind, prior={"mean": 3, "units": 50, "sd": 1}, arm_priors=arm_priors), 0, "ab", [NOTHING] * 2
        )
        np.testing.assert_allclose(found.mean, [3.0, 4.0])
        assert found.prob_best()[1] > 0.999
        assert np.isfinite(found.interval()).all()


# -- borrowing -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("discount", [0.0, 0.25, 1.0])
def test_borrowed_units_count_as_units_of_the_experiment_would_at_their_discount(discount: float) -> None:
    """The power prior: with everything believed, the posterior is that of both experiments together."""
    before, now = [1, 0, 0, 0, 1, 0, 0, 1], [0, 1, 0, 1]
    prior = borrowed_prior(Metric(), 0, moments(before), discount)
    found = posteriors_of(Metric(prior=prior), 0, "a", [moments(now)])
    assert isinstance(found, BetaPosteriors)
    assert found.a[0] == pytest.approx(1 + 2 + discount * 3, rel=1e-14)
    assert found.b[0] == pytest.approx(1 + 2 + discount * 5, rel=1e-14)


def test_values_borrow_mean_spread_and_units() -> None:
    before = [3, 5, 9, 7]
    own = Prior(mean=2.0, units=4.0, sd=1.0)
    prior = borrowed_prior(Metric(type="value", resolution=0.5, prior=own), 0, moments(before), 0.5)
    values = np.array(before) * 0.5
    assert (prior.units, prior.mean) == (6.0, pytest.approx((4 * 2 + 2 * values.mean()) / 6))
    about = 4 * (1 + (2 - prior.mean) ** 2) + 2 * (values.var() + (values.mean() - prior.mean) ** 2)
    assert prior.sd == pytest.approx(np.sqrt(about / 6))


@pytest.mark.parametrize("kind", ["value", "count"])
def test_an_open_prior_takes_the_mean_that_is_borrowed(kind: MetricType) -> None:
    prior = borrowed_prior(Metric(type=kind, resolution=1.0), 0, moments([3, 5, 9, 7]), 0.5)
    assert prior.mean == pytest.approx(6.0)
    assert prior.units == pytest.approx(2.0 + (1.0 if kind == "value" else 1 / 6))


def test_no_events_and_no_spread_can_be_borrowed_too() -> None:
    prior = borrowed_prior(Metric(type="count", resolution=1.0), 0, moments([0] * 50), 1.0)
    assert prior.mean == pytest.approx(0.01)  # the one event of the open prior in a hundred units
    alike = borrowed_prior(Metric(type="value", resolution=1.0), 0, moments([2] * 50), 1.0)
    assert alike == Prior(mean=2.0, units=51.0, sd=None)


@pytest.mark.parametrize("kind", ["binary", "value", "count"])
def test_nothing_borrowed_is_the_own_prior(kind: MetricType) -> None:
    wanted = Metric(type=kind, resolution=1.0)
    assert borrowed_prior(wanted, 0, NOTHING, 1.0) == default_prior(kind)
    assert borrowed_prior(wanted, 0, moments([1, 1]), 0.0) == default_prior(kind)


@pytest.mark.parametrize("discount", [-0.1, 1.1, float("nan")])
def test_a_discount_outside_its_domain_is_named(discount: float) -> None:
    with pytest.raises(ArgumentError, match="discount"):
        borrowed_prior(Metric(), 0, moments([1]), discount)


@pytest.mark.parametrize("j", [-1, 1])
def test_a_place_that_the_moments_do_not_have_is_named(j: int) -> None:
    with pytest.raises(ArgumentError, match=r"^j:"):
        borrowed_prior(Metric(), j, moments([1]), 0.5)
