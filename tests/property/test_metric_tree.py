"""Laws of metric trees: the gradient is the derivative, a sum is linear, and a spec's tree survives the wire."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from allocator import load_experiment
from allocator.experiment import Experiment
from allocator.inference.node_sums import linearised
from allocator.inference.period_sums import middle, period_sums
from allocator.metric_tree import node_of, resolutions_of
from tests.many_units import moments_of_units

LEAVES = ("u", "v", "w")
weights = st.floats(-3, 3).filter(lambda x: abs(x) > 0.01)


@st.composite
def trees(draw: st.DrawFn) -> Experiment:
    """Up to five derived metrics over three observed ones, one of them a mean over the units that have a value."""
    metrics: dict[str, Any] = {
        "u": "binary",
        "v": {"type": "value", "resolution": 0.01},
        "w": {"type": "value", "resolution": 0.1, "missing": "excluded"},
    }
    names = list(LEAVES)
    for k in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["sum", "ratio", "product"]))
        parts = draw(st.lists(st.sampled_from(names), min_size=2, max_size=2, unique=True))
        metrics[f"d{k}"] = {kind: {part: draw(weights) for part in parts} if kind == "sum" else parts}
        names.append(f"d{k}")
    return load_experiment({"experiment": "x", "arms": ["a", "b"], "metrics": metrics, "objective": names[-1]})


means = st.tuples(*(st.floats(0.1, 2.0) for _ in range(4))).map(np.array)


@given(trees(), means)
def test_the_gradient_is_the_derivative(experiment: Experiment, at: Any) -> None:
    node = node_of(experiment, experiment.objective)
    value, gradient = node.at(at)
    scale = float(np.abs(gradient).max()) + abs(float(value))
    assume(np.isfinite(scale) and scale < 1e4)
    h = 1e-5 * np.eye(4)
    above, _ = node.at(at + h)
    below, _ = node.at(at - h)
    second = np.abs(above + below - 2 * value) / 1e-10
    assume(second.max() < 1e4 * (1 + scale))  # else a denominator is nearly 0
    np.testing.assert_allclose((above - below) / 2e-5, gradient, atol=1e-4 * (1 + scale))
    unused = [j for j in range(4) if j not in node.columns]
    assert not gradient[unused].any()


@given(trees(), means)
def test_many_means_at_once_are_each_as_alone(experiment: Experiment, at: Any) -> None:
    node = node_of(experiment, experiment.objective)
    value, gradient = node.at(np.stack([at, 2 * at]))
    for k, one in enumerate((at, 2 * at)):
        alone = node.at(one)
        assert np.array_equal(value[k], alone[0], equal_nan=True)
        assert np.array_equal(gradient[k], alone[1], equal_nan=True)


@given(trees())
def test_the_record_reads_back_as_the_same_tree(experiment: Experiment) -> None:
    assert load_experiment(msgspec.json.encode(experiment).decode()) == experiment
    assert msgspec.json.decode(msgspec.json.encode(experiment), type=Experiment) == experiment


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.9))
def test_a_sum_of_one_metric_has_the_metrics_sums_to_the_last_bit(seed: int, propensity: float) -> None:
    experiment = load_experiment(
        {
            "experiment": "x",
            "arms": ["a", "b"],
            "metrics": {"u": "binary", "v": {"type": "value", "resolution": 0.01}, "d": {"sum": {"v": 1}}},
            "objective": "d",
        }
    )
    rng, resolutions = np.random.default_rng(seed), resolutions_of(experiment)
    periods = [
        {
            arm: moments_of_units(
                experiment, np.stack([rng.random(n) < 0.5, np.round(rng.normal(9, 5, n), 2)], axis=1), propensity
            )
            for arm, n in zip("ab", rng.integers(0, 50, 2).tolist(), strict=True)
        }
        for _ in range(3)
    ]
    made = linearised(node_of(experiment, "d"), resolutions, ("a", "b"), periods)
    plain = period_sums(0.01, 1, ("a", "b"), periods, middle(0.01, 1, periods))
    for name in ("n", "y", "y2", "w", "w2", "wy", "w2y", "w2y2", "present", "origin"):
        assert np.array_equal(getattr(made, name), getattr(plain, name)), name
