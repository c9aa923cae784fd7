"""Linear Thompson against the normal equations of Bayesian regression, unit by unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from allocator import ArgumentError, SpecErrors, load_experiment, prob_best_normal
from allocator.policies import LinearThompson
from allocator.quadrature import FloatArray
from tests.trained import Cells, asked, context_of, sums_of

FEATURES = {"s0": [-1.0], "s1": [0.0], "s2": [1.0]}


def experiment(**params: Any) -> Any:
    return load_experiment(
        {
            "experiment": "x",
            "arms": ["a", "b"],
            "metrics": {"y": {"type": "value", "resolution": 0.001}},
            "segments": list(FEATURES),
            "policy": {"name": "linear-thompson", "features": FEATURES, **params},
        }
    )


def draw(n: int = 30) -> dict[tuple[str, str], list[int]]:
    """Units' values in steps: a is the same everywhere, b grows along the feature."""
    rng = np.random.default_rng(4)
    return {
        (segment, arm): [round(1000 * y) for y in 5 + slope * z[0] + rng.normal(size=n + 3 * k)]
        for segment, z in FEATURES.items()
        for k, (arm, slope) in enumerate((("a", 0.0), ("b", 0.4)))
    }


def summed(units: dict[tuple[str, str], list[int]]) -> Cells:
    return {(s, 0, arm): sums_of(len(ys), [sum(ys)], [sum(y * y for y in ys)]) for (s, arm), ys in units.items()}


def regression(units: dict[tuple[str, str], list[int]], arm: str, prior_sd: float) -> tuple[FloatArray, FloatArray]:
    """θ̂ and A⁻¹ in natural units."""
    y_all = np.array([y for ys in units.values() for y in ys]) / 1000
    middle, scale = y_all.mean(), y_all.std()
    within = sum(len(ys) * np.var(np.array(ys) / 1000) for ys in units.values())
    noise = (within / scale**2 + 1) / (len(y_all) + 1)
    z = np.array([[1.0, *FEATURES[s]] for (s, k), ys in units.items() if k == arm for _ in ys])
    y = (np.array([y for (s, k), ys in units.items() if k == arm for y in ys]) / 1000 - middle) / scale
    inverse = np.linalg.inv(np.eye(2) / prior_sd**2 + z.T @ z / noise)
    theta = inverse @ z.T @ y / noise
    return np.array([middle, 0.0]) + scale * theta, scale**2 * inverse


@pytest.mark.parametrize("prior_sd", [1.0, 0.1, 30.0])
def test_posteriors_are_those_of_the_regression_of_units(prior_sd: float) -> None:
    units = draw()
    fitted = [regression(units, arm, prior_sd) for arm in "ab"]
    for segment, features in FEATURES.items():
        context = context_of(experiment(), summed(units), 0.0, segment)
        choice = LinearThompson(FEATURES, prior_sd).choose(context.posteriors(), context)
        z = np.array([1.0, *features])
        mean, sd = np.array([theta @ z for theta, _ in fitted]), np.sqrt([z @ cov @ z for _, cov in fitted])
        assert choice.posteriors is not None
        np.testing.assert_allclose(choice.posteriors.mean, mean, rtol=1e-9)
        np.testing.assert_allclose(choice.posteriors.sd, sd, rtol=1e-9)
        np.testing.assert_allclose(choice.weights, prob_best_normal(mean, sd), atol=1e-9)


def test_a_segment_without_units_is_served_by_its_features() -> None:
    units = {at: ys for at, ys in draw(400).items() if at[0] != "s2"}
    spec = experiment()
    assert asked(spec, context_of(spec, summed(units), 0.0, "s2"))[1] > 0.9
    assert asked(spec, context_of(spec, summed(units), 0.0, "s0"))[0] > 0.9


def test_outside_of_segments_it_serves_the_average_unit() -> None:
    units, spec = draw(), experiment()
    whole = asked(spec, context_of(spec, summed(units)))
    assert np.array_equal(asked(spec, context_of(spec, summed(units), 0.0, "other")), whole)
    seen = [FEATURES[s][0] for (s, _), ys in units.items() for _ in ys]
    z = np.array([1.0, np.mean(seen)])
    fitted = [regression(units, arm, 1.0) for arm in "ab"]
    expected = prob_best_normal(np.array([t @ z for t, _ in fitted]), np.sqrt([z @ c @ z for _, c in fitted]))
    np.testing.assert_allclose(whole, expected, atol=1e-9)


@pytest.mark.parametrize("cells", [{}, {("s0", 0, "a"): sums_of(9, [900], [90_000])}])
def test_where_no_unit_differs_from_another_it_is_thompson(cells: Cells) -> None:
    spec = experiment()
    np.testing.assert_allclose(asked(spec, context_of(spec, cells, 0.0, "s0")), 0.5)


@pytest.mark.parametrize(
    "params, name",
    [
        ({"features": {}}, "features"),
        ({"features": [1]}, "features"),
        ({"features": {"s0": 1}}, "features.s0"),
        ({"features": {"s0": [float("nan")]}}, "features.s0"),
        ({"features": {"s0": [1], "s1": [1, 2]}}, "features"),
        ({"features": FEATURES, "prior_sd": 0}, "prior_sd"),
        ({"features": FEATURES, "prior_sd": "wide"}, "prior_sd"),
    ],
)
def test_parameters_have_domains(params: Any, name: str) -> None:
    with pytest.raises(ArgumentError, match=f"^{name}: "):
        LinearThompson(**params)


@pytest.mark.parametrize(
    "features, message",
    [
        ({"s0": [1], "s1": [1]}, "features of every segment: s2 has none"),
        ({**FEATURES, "s3": [1]}, "declared segments: s0, s1, s2"),
    ],
)
def test_features_are_of_the_declared_segments(features: Any, message: str) -> None:
    with pytest.raises(SpecErrors, match=f"policy.features: .*{message}"):
        experiment(features=features)
