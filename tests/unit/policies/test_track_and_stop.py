"""Track-and-stop: published proportions, closed forms, and the rule that ends it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.special import rel_entr

from allocator import ArgumentError, load_experiment
from allocator.decide import decide
from allocator.policies import TrackAndStop, Verdict
from allocator.policies.characteristic_time import Bernoulli, Laws, Normal, evidence, optimal_proportions
from allocator.quadrature import FloatArray
from tests.trained import context_of, evidence_of, sums_of

MEANS = np.array([0.5, 0.45, 0.43, 0.4])


def experiment(**changes: Any) -> Any:
    arms = changes.pop("arms", ["a", "b"])
    rules = {"floor": 0, "warmup": 0, "max_shift": 1, "dead_band": 0}
    return load_experiment(
        {
            "experiment": "x",
            "arms": arms,
            "metrics": {"good": "binary"},
            "policy": "track-and-stop",
            "constraints": rules,
            **changes,
        }
    )


def divergence(p: float, q: float) -> float:
    return float(rel_entr(p, q) + rel_entr(1 - p, 1 - q))


def told_at_rate(laws: Laws, w: FloatArray) -> float:
    """min_a C_a(w), the inverse of T* at the best w: `evidence` of w units is their least likelihood ratio."""
    return evidence(laws, w)[1]


# -- characteristic time ---------------------------------------------------------------------------------------------------------


def test_the_proportions_of_the_source() -> None:
    """Garivier & Kaufmann (2016), §6: w* of μ = (.5, .45, .43, .4), there to two digits; T* goes with it."""
    w, units = optimal_proportions(Bernoulli(MEANS))
    np.testing.assert_allclose(w, [0.4165, 0.3903, 0.1362, 0.0570], atol=1e-4)
    assert units == pytest.approx(989.79, abs=0.01)


def test_arms_in_another_order_have_the_same_proportions() -> None:
    order = [2, 0, 3, 1]
    w, units = optimal_proportions(Bernoulli(MEANS))
    other, again = optimal_proportions(Bernoulli(MEANS[order]))
    np.testing.assert_allclose(other, w[order], atol=1e-9)
    assert again == pytest.approx(units, rel=1e-9)


@pytest.mark.parametrize("laws", [Bernoulli(MEANS), Normal(np.array([1.0, 0.2, 0.5]), np.array([1.0, 4.0, 0.5]))])
def test_no_other_proportions_tell_sooner(laws: Laws) -> None:
    rng = np.random.default_rng(1)
    w, units = optimal_proportions(laws)
    assert told_at_rate(laws, w) == pytest.approx(1 / units, rel=1e-6)
    for _ in range(200):
        near = w * np.exp(rng.normal(size=len(w)) * rng.choice([0.01, 0.3, 2.0]))
        assert told_at_rate(laws, near / near.sum()) < 1 / units


@pytest.mark.parametrize("variance", [[1.0, 1.0], [1.0, 9.0], [0.01, 4.0]])
def test_two_normal_arms_share_by_their_sds(variance: list[float]) -> None:
    """T* = 2 (σ₁ + σ₂)² / Δ², at Neyman's proportions (Kaufmann, Cappé & Garivier 2016, JMLR 17)."""
    sd = np.sqrt(variance)
    w, units = optimal_proportions(Normal(np.array([0.3, 0.8]), np.array(variance)))
    np.testing.assert_allclose(w, sd / sd.sum(), rtol=1e-6)
    assert units == pytest.approx(2 * sd.sum() ** 2 / 0.25, rel=1e-6)


def test_equal_leaders_share_and_are_never_told_apart() -> None:
    w, units = optimal_proportions(Bernoulli(np.array([0.3, 0.5, 0.5])))
    assert w.tolist() == [0.0, 0.5, 0.5]
    assert math.isinf(units)


# -- the policy ------------------------------------------------------------------------------------------------------------------


def asked(n: dict[str, int], successes: dict[str, int], policy: TrackAndStop) -> tuple[FloatArray, Verdict]:
    spec = experiment(arms=list(n))
    context = context_of(spec, {("", 0, arm): sums_of(n[arm], [successes[arm]]) for arm in n})
    posteriors = context.posteriors()
    return policy.weights(posteriors, context), policy.stop(posteriors, context)


def test_weights_are_the_proportions_and_forced_exploration() -> None:
    n = {f"arm-{k}": 10**8 for k in range(4)}
    weights, _ = asked(n, {f"arm-{k}": round(mean * 10**8) for k, mean in enumerate(MEANS)}, TrackAndStop())
    forced = 0.5 / math.sqrt(16 + 4e8)
    np.testing.assert_allclose(weights, (1 - 4 * forced) * optimal_proportions(Bernoulli(MEANS))[0] + forced, atol=1e-5)


def test_the_statistic_is_the_likelihood_ratio_of_one_common_rate() -> None:
    n, successes = {"a": 300, "b": 200}, {"a": 150, "b": 60}
    _, verdict = asked(n, successes, TrackAndStop(delta=0.1))
    common = 210 / 500
    assert verdict.statistic == pytest.approx(300 * divergence(0.5, common) + 200 * divergence(0.3, common), rel=1e-9)
    assert verdict.threshold == pytest.approx(math.log((1 + math.log(500)) / 0.1), rel=1e-12)
    assert (verdict.arm, verdict.stop) == ("a", True)
    assert verdict.assumptions


def test_it_is_not_sure_of_what_hardly_differs_nor_of_an_arm_nobody_saw() -> None:
    assert not asked({"a": 300, "b": 200}, {"a": 100, "b": 60}, TrackAndStop())[1].stop
    assert not asked({"a": 10**6, "b": 0}, {"a": 10**6, "b": 0}, TrackAndStop())[1].stop
    assert not asked({"a": 0, "b": 0}, {"a": 0, "b": 0}, TrackAndStop())[1].stop


def test_values_are_told_apart_by_the_normal_ratio() -> None:
    """Δ² / 2 (σ₁²/n₁ + σ₂²/n₂); an arm's variance is drawn towards that of all units by one unit."""
    metrics = {"ms": {"type": "value", "direction": "down", "resolution": 1}}
    spec = experiment(metrics=metrics)
    n, mean, variance = 10**6, {"a": 100, "b": 101}, {"a": 400, "b": 900}
    cells = {("", 0, arm): sums_of(n, [mean[arm] * n], [(mean[arm] ** 2 + variance[arm]) * n]) for arm in mean}
    context = context_of(spec, cells)
    verdict = TrackAndStop().stop(context.posteriors(), context)
    assert verdict.arm == "a"
    assert verdict.statistic == pytest.approx(1 / (2 * (400 / n + 900 / n)), rel=1e-4)


def test_the_decision_carries_the_verdict() -> None:
    spec = experiment(policy={"name": "track-and-stop", "delta": 0.1})
    evidence_now = evidence_of(spec, {("", 0, "a"): sums_of(300, [150]), ("", 0, "b"): sums_of(200, [60])})
    decision = decide(spec, evidence_now, None, 0.0)
    assert decision.verdict is not None
    assert decision.verdict.stop
    assert "sure of a at δ = 0.1: evidence" in decision.reason


@pytest.mark.parametrize("delta", [0, 1, -0.1, float("nan"), "small", True])
def test_delta_has_a_domain(delta: Any) -> None:
    with pytest.raises(ArgumentError, match="delta"):
        TrackAndStop(delta)


def test_it_needs_the_context() -> None:
    context = context_of(experiment(), {})
    with pytest.raises(ArgumentError, match="context"):
        TrackAndStop().weights(context.posteriors())
