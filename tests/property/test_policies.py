"""Laws that every policy keeps, whatever its parameters; what one of them alone promises is in tests/unit/policies."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.experiment import Arm, Experiment, Metric, Policy
from allocator.policies import POLICIES
from tests.trained import Cells, asked, context_of, evidence_of, random_cells, sums_of

SEGMENTS = ("s0", "s1", "s2")
FEATURES = {"s0": [0.0, 1.0], "s1": [1.0, 0.5], "s2": [-1.0, 0.0]}
PARAMS: dict[str, list[dict[str, Any]]] = {
    "thompson": [{}, {"temper": 0.5}],
    "top-two-thompson": [{}],
    "exploration-sampling": [{}],
    "track-and-stop": [{}],
    "discounted-thompson": [{"gamma": 0.7}],
    "sliding-window-thompson": [{"window": "2d"}],
    "per-segment": [{}],
    "linear-thompson": [{"features": FEATURES}],
    "constrained": [{"budgets": {"cost": 1.0}}, {"budgets": {"cost": 1.05}, "floors": {"rate": 0.3}}],
    "epsilon-greedy": [{}],
    "exp3-ix": [{"low": 0.0, "high": 3.0}],
    "fixed": [{}],
}
CASES = [Policy(name=name, params=params) for name in POLICIES for params in PARAMS[name]]
ALL = pytest.mark.parametrize("policy", CASES, ids=lambda policy: f"{policy.name}-{len(policy.params)}")
FOR = pytest.mark.parametrize("objective", ["rate", "cost"])
WHERE = pytest.mark.parametrize("segment", [None, "s1"])
NOW = 2.5 * 86400


def experiment(policy: Policy, arms: int = 4, objective: str = "rate", resolution: float = 0.01) -> Experiment:
    names = tuple(f"arm-{k}" for k in range(arms))
    return Experiment(
        experiment="x",
        arms=tuple(Arm(id=name) for name in names),
        control=names[0],
        metrics={"rate": Metric(resolution=1.0), "cost": Metric(type="value", direction="down", resolution=resolution)},
        objective=objective,
        policy=policy,
        fallback=names[0],
        segments=SEGMENTS,
    )


def weights(spec: Experiment, cells: Cells, segment: str | None = None) -> np.ndarray[Any, np.dtype[np.float64]]:
    return asked(spec, context_of(spec, cells, NOW, segment))


def permuted(spec: Experiment, order: Any) -> Experiment:
    return msgspec.structs.replace(spec, arms=tuple(spec.arms[k] for k in order))


COUNTS = st.one_of(st.sampled_from([0, 1, 2, 100, 10**6, 10**12]), st.integers(0, 5000))


@st.composite
def any_cells(draw: st.DrawFn, arms: int) -> dict[tuple[str, int, str], list[int]]:
    """Anything that can be counted, extremes most of all."""
    found = {}
    for segment in draw(st.lists(st.sampled_from(SEGMENTS), unique=True, max_size=3)):
        for k in draw(st.lists(st.integers(0, arms - 1), unique=True, max_size=arms)):
            n, each = draw(COUNTS), draw(st.integers(-300, 300))
            successes = draw(st.one_of(st.sampled_from([0, n]), st.integers(0, n)))
            square = each * each * n + draw(st.sampled_from([0, 1, 10])) * n
            found[segment, draw(st.integers(0, 2)), f"arm-{k}"] = sums_of(n, [successes, each * n], [successes, square])
    return found


@ALL
@FOR
@settings(max_examples=20)
@given(st.data())
def test_weights_are_a_distribution_whatever_was_counted(policy: Policy, objective: str, data: st.DataObject) -> None:
    arms = data.draw(st.sampled_from([1, 2, 3, 5]))
    spec = experiment(policy, arms, objective)
    cells = data.draw(any_cells(arms))
    for segment in (None, "s1", "other"):
        found = weights(spec, cells, segment)  # checked there: finite, of at least 0, sum 1
        assert np.array_equal(found, weights(spec, cells, segment)), "the same bits"


@ALL
@FOR
@WHERE
@pytest.mark.parametrize("n", [0, 300, 10**9])
def test_permuting_arms_permutes_weights(policy: Policy, objective: str, segment: str | None, n: int) -> None:
    rng = np.random.default_rng(n)
    spec = experiment(policy, objective=objective)
    rates = 0.4 + 0.2 * rng.normal(size=4) / max(1, n) ** 0.5
    cells, order = random_cells(spec, rng, n, rates, 100.0), rng.permutation(4)
    np.testing.assert_allclose(weights(permuted(spec, order), cells, segment), weights(spec, cells, segment)[order], atol=1e-6)


@ALL
@FOR
@WHERE
def test_the_order_of_merging_changes_nothing(policy: Policy, objective: str, segment: str | None) -> None:
    rng = np.random.default_rng(7)
    spec = experiment(policy, objective=objective)
    cells = random_cells(spec, rng, 300, 0.4, 100.0)
    halves = random_cells(spec, rng, 100, 0.4, 100.0)
    merged = {at: [a + b for a, b in zip(cells[at], halves[at], strict=True)] for at in cells}
    other = {at: [b + a for a, b in zip(cells[at], halves[at], strict=True)] for at in reversed(cells)}
    assert list(evidence_of(spec, merged).segments) != list(evidence_of(spec, other).segments)
    assert np.array_equal(weights(spec, merged, segment), weights(spec, other, segment))


@ALL
@WHERE
@pytest.mark.parametrize("scale", [1e-6, 0.3, 1e6])
def test_scaling_a_metric_changes_nothing(policy: Policy, segment: str | None, scale: float) -> None:
    spec = experiment(policy, objective="cost")
    cells = random_cells(spec, np.random.default_rng(3), 200, 0.4, [100, 101, 102, 99])
    params = dict(policy.params)
    if policy.name == "exp3-ix":
        params |= {"low": 0.0, "high": 3.0 * scale}
    if policy.name == "constrained":
        params["budgets"] = {"cost": policy.params["budgets"]["cost"] * scale}
    scaled = experiment(Policy(name=policy.name, params=params), objective="cost", resolution=0.01 * scale)
    np.testing.assert_allclose(weights(scaled, cells, segment), weights(spec, cells, segment), atol=1e-7)


@pytest.mark.parametrize("seed", range(2))
@ALL
@FOR
@WHERE
def test_a_small_change_of_the_data_is_a_small_change_of_the_weights(
    policy: Policy, objective: str, segment: str | None, seed: int
) -> None:
    """ε-greedy jumps where the leader changes; here it does not."""
    rng = np.random.default_rng(seed)
    spec = experiment(policy, objective=objective)
    rates = 0.4 + rng.permutation([0.0, 0.002, 0.005, 0.02])
    cells = random_cells(spec, rng, 20_000, rates, 100 + rng.permutation([0.0, 0.05, 0.1, 0.5]))
    changed = {at: list(sums) for at, sums in cells.items()}
    one = sums_of(1, [1, 110], [1, 110**2])
    at = (SEGMENTS[seed % 3], seed % 3, f"arm-{seed % 4}")
    changed[at] = [a + b for a, b in zip(changed[at], one, strict=True)]
    moved = np.abs(weights(spec, changed, segment) - weights(spec, cells, segment)).max()
    assert moved < 0.02


@ALL
@FOR
@pytest.mark.parametrize("segment", [None, "s1", "other"])
@pytest.mark.parametrize("n, successes, each", [(0, 0, 0), (7, 0, 5), (7, 7, 5), (10**12, 4 * 10**11, 5), (10**12, 0, 5)])
def test_equal_arms_share_evenly(policy: Policy, objective: str, segment: str | None, n: int, successes: int, each: int) -> None:
    spec = experiment(policy, objective=objective)
    same = sums_of(n, [successes, each * n], [successes, each * each * n])  # the values have no variance
    cells = {(s, period, arm): same for s in SEGMENTS for period in range(3) for arm in spec.arm_ids}
    np.testing.assert_allclose(weights(spec, cells, segment), 0.25, atol=1e-6)


@ALL
def test_a_thousand_arms(policy: Policy) -> None:
    spec = experiment(policy, 1000)
    cells = random_cells(spec, np.random.default_rng(1), 300, periods=1)
    for segment in (None, "s1"):
        found = weights(spec, cells, segment)
        assert found.shape == (1000,)


@ALL
def test_without_variance_the_better_value_is_known(policy: Policy) -> None:
    spec = experiment(policy, 2, "cost")
    same = {arm: sums_of(1000, [0, each * 1000], [0, each * each * 1000]) for arm, each in (("arm-0", 110), ("arm-1", 90))}
    cells = {(s, period, arm): same[arm] for s in SEGMENTS for period in range(3) for arm in spec.arm_ids}
    for segment in (None, "s1"):
        found = weights(spec, cells, segment)
        if policy.name in ("fixed", "top-two-thompson", "exploration-sampling", "track-and-stop"):  # the latter want to be sure
            np.testing.assert_allclose(found, 0.5, atol=0.02)
        else:
            assert found[1] > 0.5
