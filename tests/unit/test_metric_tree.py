"""Metrics made of others: what a tree is worth and how uncertain, decisions that follow it, and which part moves the root."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from allocator import ArgumentError, Experiment, load_experiment
from allocator.decide import decide
from allocator.inference import Observations, differences, metric_effects, tree_effects
from allocator.inference.node_sums import of_sets
from allocator.inference.observations import Method
from allocator.metric_tree import Node, node_of, resolutions_of, samples_of_node
from allocator.moments import layout_of
from allocator.objective import LinearObjective, MetricObjective, Objective, RatioObjective, TreeObjective
from allocator.quadrature import FloatArray
from tests.many_units import evidence_of_units, moments_of_units

METRICS: dict[str, Any] = {
    "cart": "binary",
    "revenue": {"type": "value", "resolution": 0.01},
    "sessions": "count",
    "latency": {"type": "value", "direction": "down", "missing": "excluded", "resolution": 0.001},
    "per_session": {"ratio": ["revenue", "sessions"]},
    "oec": {"sum": {"cart": 1, "revenue": 0.02, "per_session": 0.1}},
    "gmv": {"product": ["cart", "per_session"]},
    "plain": {"sum": {"cart": 2, "revenue": -0.5}},
    "alias": {"sum": {"revenue": 1}},
    "loss": {"sum": {"cart": 1}, "direction": "down"},
}


def experiment(**changes: Any) -> Experiment:
    fields = {"experiment": "x", "arms": ["a", "b"], "period": "1h", "metrics": METRICS, "objective": "oec"}
    return load_experiment({**fields, **changes})


def units_of(rng: np.random.Generator, n: int, better: float = 0.0) -> FloatArray:
    """Values of every column, correlated, shape (n, 5)."""
    sessions = 1 + rng.poisson(2.0, n)
    cart = rng.random(n) < 0.3
    revenue = np.round(cart * rng.gamma(2, 10 + better, n) * sessions, 2)
    has = rng.random(n) < 0.4
    return np.stack([cart, revenue, sessions, np.round(has * rng.gamma(2, 0.5, n), 3), has], axis=1).astype(float)


# -- objectives ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, form",
    [
        ("cart", MetricObjective),
        ("latency", MetricObjective),
        ("alias", MetricObjective),
        ("loss", MetricObjective),
        ("plain", LinearObjective),
        ("per_session", RatioObjective),
        ("oec", TreeObjective),
        ("gmv", TreeObjective),
    ],
)
def test_each_metric_has_the_simplest_form_it_can(name: str, form: type[Objective]) -> None:
    assert type(Objective.of(experiment(), name)) is form


@pytest.mark.parametrize("name", ["oec", "gmv", "per_session", "plain", "latency"])
def test_the_posterior_is_as_wide_as_the_estimate_varies(name: str) -> None:
    """400 samples of 500 units: the spread of their estimates is the posterior's, within three standard errors of 3.5 %."""
    spec, rng = experiment(), np.random.default_rng(7)
    objective = Objective.of(spec, name)
    means, sds = [], []
    for _ in range(200):
        arms = [moments_of_units(spec, units_of(rng, 500)) for _ in "ab"]
        found = objective.posteriors(objective.samples(arms))
        means.extend(found.mean.tolist())
        sds.extend(found.sd.tolist())
    assert np.std(means) == pytest.approx(float(np.mean(sds)), rel=0.1)
    truth, _ = node_of(spec, name).at(units_of(np.random.default_rng(8), 400_000).mean(axis=0))
    assert np.mean(means) == pytest.approx(float(truth), abs=4 * np.std(means) / 20)


def test_all_forms_agree_with_the_tree() -> None:
    spec, rng = experiment(), np.random.default_rng(3)
    arms = [moments_of_units(spec, units_of(rng, 300)), moments_of_units(spec, units_of(rng, 200))]
    for name in ("revenue", "plain", "per_session", "latency"):
        plain = Objective.of(spec, name).samples(arms)
        tree = samples_of_node(node_of(spec, name), resolutions_of(spec), arms)
        np.testing.assert_allclose(tree.total / tree.n + tree.origin, plain.total / plain.n + plain.origin, rtol=1e-12)
        np.testing.assert_allclose(tree.squares / tree.n**2, plain.squares / plain.n**2, rtol=1e-9)


def test_a_sum_of_one_metric_is_that_metric_to_the_last_bit() -> None:
    spec, rng = experiment(), np.random.default_rng(4)
    periods = {k: {arm: (0.5, units_of(rng, 300)) for arm in "ab"} for k in range(3)}
    evidence = evidence_of_units(spec, periods)
    for name, of in (("alias", "revenue"), ("loss", "cart")):
        assert [(e.estimate, e.low, e.high, e.p_value) for e in metric_effects(spec, evidence, name)] == [
            (e.estimate, e.low, e.high, e.p_value) for e in metric_effects(spec, evidence, of)
        ]
        ours, theirs = (decide(msgspec.structs.replace(spec, objective=n), evidence, None, 1e9) for n in (name, of))
        assert [(arm.mean, arm.interval) for arm in ours.arms] == [(arm.mean, arm.interval) for arm in theirs.arms]
    assert decide(msgspec.structs.replace(spec, objective="alias"), evidence, None, 1e9).weights.arms == (
        decide(msgspec.structs.replace(spec, objective="revenue"), evidence, None, 1e9).weights.arms
    )


def test_a_ratio_without_denominators_has_no_units() -> None:
    spec = experiment(objective="gmv")
    nothing = moments_of_units(spec, np.zeros((50, 5)))
    some = moments_of_units(spec, units_of(np.random.default_rng(5), 50))
    found = Objective.of(spec).samples([nothing, some])
    assert found.n.tolist() == [0.0, 50.0]
    found = Objective.of(spec).samples([nothing, nothing])
    assert Objective.of(spec).posteriors(found).prob_best().tolist() == [0.5, 0.5]


# -- decisions -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["oec", "gmv", "per_session", "plain", "latency", "alias"])
@pytest.mark.parametrize(
    "policy", ["thompson", "top-two-thompson", "discounted-thompson", "sliding-window-thompson", "per-segment", "fixed"]
)
def test_every_policy_follows_every_metric(name: str, policy: str) -> None:
    rules = {"warmup": 0, "floor": 0, "max_shift": 1, "dead_band": 0}
    given = {"name": policy, "gamma": 0.9} if policy == "discounted-thompson" else policy
    given = {"name": policy, "window": 9} if policy == "sliding-window-thompson" else given
    given = {"name": policy, "shares": {"a": 0.3, "b": 0.7}} if policy == "fixed" else given
    spec = experiment(objective=name, policy=given, constraints=rules)
    rng = np.random.default_rng(6)
    periods = {k: {arm: (0.5, units_of(rng, 2000, better)) for arm, better in (("a", 0.0), ("b", 3.0))} for k in range(3)}
    decision = decide(spec, evidence_of_units(spec, periods), None, 3 * 3600.0)
    assert decision.failure is None
    assert sum(arm.ppm for arm in decision.weights.arms) == 1_000_000
    assert set(decision.arms[0].metrics) == set(METRICS)
    if policy == "thompson" and name in {"oec", "gmv", "per_session"}:
        assert decision.weights.arms[1].ppm > 900_000


def test_new_weights_of_the_objective_turn_the_decision_on_the_same_moments() -> None:
    spec, rng = experiment(), np.random.default_rng(9)
    values = {"a": units_of(rng, 3000, 6.0), "b": units_of(rng, 3000)}
    values["b"][:, 0] = rng.random(3000) < 0.36
    evidence = evidence_of_units(spec, {0: {arm: (0.5, found) for arm, found in values.items()}})

    def best(cart: float, revenue: float) -> str:
        metrics = {**METRICS, "oec": {"sum": {"cart": cart, "revenue": revenue}}}
        decision = decide(experiment(metrics=metrics), evidence, None, 3600.0)
        return max(decision.arms, key=lambda arm: arm.p_best).id

    assert (best(1, 0), best(0, 1)) == ("b", "a")


# -- effects ---------------------------------------------------------------------------------------------------------------------


def test_what_moves_the_root_adds_up_at_every_node() -> None:
    spec, rng = experiment(), np.random.default_rng(10)
    periods = {k: {"a": (0.3, units_of(rng, 300)), "b": (0.7, units_of(rng, 700, 2.0))} for k in range(4)}
    evidence = evidence_of_units(spec, periods)
    for name in ("oec", "gmv", "per_session", "plain"):
        tree = tree_effects(spec, evidence, name)
        assert tree.moved["b"] == pytest.approx(tree.effects[0].estimate, rel=1e-6)
        seen = [tree]
        while seen:
            node = seen.pop()
            if node.parts:
                assert node.moved["b"] == pytest.approx(sum(part.moved["b"] for part in node.parts), rel=1e-9)
                seen.extend(node.parts)
    assert [part.weight for part in tree_effects(spec, evidence).parts] == [1.0, 0.02, 0.1]


def test_intervals_of_nodes_hold_whoever_peeks_while_traffic_moves() -> None:
    """60 runs of 3 looks, α = .2, shares that follow the data: at a rate of 20 %, more than 21 misses come once in 300 times."""
    spec, rng = experiment(), np.random.default_rng(11)
    names = ("oec", "gmv", "latency")
    missed = dict.fromkeys(names, 0)
    for _ in range(60):
        periods: dict[int, Any] = {}
        share, bad = 0.5, set()
        for k in range(10):
            n = int(rng.binomial(150, share))
            periods[k] = {"a": (round(1 - share, 6), units_of(rng, 150 - n)), "b": (round(share, 6), units_of(rng, n))}
            revenue = [np.concatenate([p[arm][1][:, 1] for p in periods.values()]).mean() for arm in "ab"]
            share = 0.7 if revenue[1] > revenue[0] else 0.3
            if k in {3, 6, 9}:
                evidence = evidence_of_units(spec, periods)
                bad |= {name for name in names if not _holds(metric_effects(spec, evidence, name, alpha=0.2)[0])}
        for name in bad:
            missed[name] += 1
    assert all(count <= 21 for count in missed.values()), missed


def _holds(estimate: Any) -> bool:
    return bool(estimate.low <= 0.0 <= estimate.high)


def test_pending_rewards_are_named_and_settled_periods_are_chosen() -> None:
    spec, rng = experiment(), np.random.default_rng(12)
    evidence = evidence_of_units(spec, {k: {arm: (0.5, units_of(rng, 200)) for arm in "ab"} for k in (0, 30)})
    [everything] = metric_effects(spec, evidence)
    [settled] = metric_effects(spec, evidence, now=30 * 3600.0)
    assert (everything.n, settled.n) == (800, 400)
    assert any("may still come count as 0" in sentence for sentence in everything.assumptions)
    assert "rewards of the units counted are all in" in settled.assumptions
    assert any("delta method" in sentence for sentence in settled.assumptions)


@pytest.mark.parametrize("method", ["beta-mixture", "empirical-bernstein"])
def test_a_node_has_no_bounds(method: Method) -> None:
    spec = experiment()
    evidence = evidence_of_units(spec, {0: {arm: (0.5, units_of(np.random.default_rng(1), 50)) for arm in "ab"}})
    with pytest.raises(ArgumentError):
        differences(Observations.of(spec, "oec", evidence, None), "a", method=method)
    with pytest.raises(ArgumentError, match="bounds"):
        Observations.of(spec, "oec", evidence, None, bounds=(0.0, 1.0))


def test_a_metric_that_is_not_there_is_named() -> None:
    with pytest.raises(ArgumentError, match="oecc"):
        node_of(experiment(), "oecc")


def test_a_leaf_has_no_parts_and_a_tree_names_its_columns() -> None:
    spec = experiment()
    leaf: Node = node_of(spec, "latency")
    assert (leaf.parts, leaf.columns, leaf.linear) == ((), (3, 4), None)
    assert node_of(spec, "oec").columns == (0, 1, 2)
    assert node_of(spec, "plain").linear == {0: 2.0, 1: -0.5}


def test_sets_of_units_are_linearised_about_their_weighted_means() -> None:
    spec, rng = experiment(), np.random.default_rng(13)
    node, resolutions = node_of(spec, "gmv"), resolutions_of(spec)
    parts = [moments_of_units(spec, units_of(rng, 400), 0.2) + moments_of_units(spec, units_of(rng, 300), 0.7) for _ in range(3)]
    sums = of_sets(node, resolutions, [*parts, moments_of_units(spec, np.zeros((9, 5)))])
    layout = layout_of(5)
    for k, m in enumerate(parts):
        weighted = np.array([m.sums[layout.wy + j] * resolutions[j] / m.sums[layout.w] for j in range(5)])
        value, _ = node.at(weighted)
        assert sums.origin + sums.wy[k] / sums.w[k] == pytest.approx(float(value), rel=1e-12)
    assert (sums.n[3], sums.w[3], bool(sums.present[3])) == (0.0, 0.0, False)
