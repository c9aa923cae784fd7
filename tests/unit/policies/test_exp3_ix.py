"""Exp3-IX: the sums kept at exposure against the source's estimate unit by unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from allocator import ArgumentError, SpecErrors, load_experiment
from allocator.moments import inverse_propensity, layout_of
from allocator.policies import Exp3IX
from allocator.quadrature import FloatArray
from tests.trained import Cells, asked, context_of, sums_of

K = 3
ARMS = ["a", "b", "c"]


def experiment(policy: Any = "exp3-ix", metric: Any = "binary") -> Any:
    return load_experiment({"experiment": "x", "arms": ARMS, "metrics": {"good": metric}, "policy": policy})


def cells_of(units: list[tuple[str, int, float]]) -> Cells:
    """(arm, reward, propensity) of every unit, summed."""
    found: dict[tuple[str, int, str], list[int]] = {}
    for arm, reward, p in units:
        one = sums_of(1, [reward], [reward**2], inverse_propensity(p) / 1e6)
        at = ("", 0, arm)
        found[at] = [a + b for a, b in zip(found.get(at, layout_of(1).empty()), one, strict=True)]
    return found


def losses(units: list[tuple[str, int, float]], gamma: float) -> FloatArray:
    """L̃ of the source."""
    return np.array([sum((1 - y) / (p + gamma) for arm, y, p in units if arm == name) for name in ARMS])


def softmax(x: FloatArray) -> FloatArray:
    found = np.exp(x - x.max())
    return np.asarray(found / found.sum())


def test_with_constant_propensities_it_is_the_source_exactly() -> None:
    rng = np.random.default_rng(2)
    units = [(arm, int(rng.random() < rate), 1 / 4) for arm, rate in zip(ARMS, (0.2, 0.5, 0.6), strict=True) for _ in range(50)]
    eta = np.sqrt(np.log(K) / (K * len(units)))
    spec = experiment()
    np.testing.assert_allclose(asked(spec, context_of(spec, cells_of(units))), softmax(-eta * losses(units, eta / 2)), rtol=1e-9)


def test_with_propensities_that_move_it_explores_a_little_more() -> None:
    rng = np.random.default_rng(3)
    units = [(arm, int(rng.random() < 0.4), float(rng.uniform(0.05, 0.9))) for arm in ARMS for _ in range(200)]
    eta = np.sqrt(np.log(K) / (K * len(units)))
    exact, spec = losses(units, eta / 2), experiment()
    weights = asked(spec, context_of(spec, cells_of(units)))
    ours = -np.log(weights) / eta
    np.testing.assert_allclose(ours - ours.min(), exact - exact.min(), atol=0.01 * exact.max())
    assert np.ptp(ours) <= np.ptp(exact) + 0.01 * exact.max()


def test_values_lose_by_their_distance_from_the_best() -> None:
    metric = {"type": "value", "direction": "down", "resolution": 0.5}
    spec = experiment({"name": "exp3-ix", "low": 10, "high": 20}, metric)
    steps = {"a": 24, "b": 30, "c": 40}  # 12, 15 and 20: losses of .2, .5 and 1
    weights = asked(spec, context_of(spec, {("", 0, arm): sums_of(1, [y], [y * y], 4.0) for arm, y in steps.items()}))
    eta = np.sqrt(np.log(3) / 9)
    np.testing.assert_allclose(weights, softmax(-eta * np.array([0.2, 0.5, 1.0]) / (0.25 + eta / 2)), rtol=1e-9)


def test_without_units_the_split_is_even() -> None:
    spec = experiment()
    np.testing.assert_allclose(asked(spec, context_of(spec, {})), 1 / 3)


def test_values_need_bounds() -> None:
    with pytest.raises(SpecErrors, match=r"policy.high: None: expected the least and the largest value"):
        experiment(metric="value")


@pytest.mark.parametrize(
    "params, name",
    [
        ({"rate": 0}, "rate"),
        ({"rate": float("inf")}, "rate"),
        ({"rate": "fast"}, "rate"),
        ({"low": 0}, "high"),
        ({"high": 1}, "low"),
        ({"low": 1, "high": 1}, "high"),
        ({"low": float("nan"), "high": 1}, "low"),
        ({"low": 0, "high": "x"}, "high"),
    ],
)
def test_parameters_have_domains(params: dict[str, Any], name: str) -> None:
    with pytest.raises(ArgumentError, match=f"^{name}"):
        Exp3IX(**params)
