"""The bound on regret: arithmetic by hand, direction, and that it bounds."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from allocator.cost import cost_so_far
from allocator.errors import ArgumentError
from allocator.experiment import Metric
from allocator.inference import means
from tests.observed import counted, observed


def test_by_hand():
    observations = counted({"a": (100, 1000), "b": (200, 1000)})
    found = cost_so_far(observations, [1000, 1000], "a", held_back=500)
    a, b = means(observations, alpha=0.025)
    assert [row.estimate for row in found.arms] == pytest.approx([100, 0])
    assert found.arms[0].most == pytest.approx(1000 * (b.high - a.low))
    assert found.arms[1].most == 0.0  # proven better than a
    assert found.held_back is not None
    assert (found.held_back.units, found.held_back.estimate) == (500, pytest.approx(50))
    assert (found.units, found.estimate) == (2500, pytest.approx(150))
    assert found.most == pytest.approx(1500 * (b.high - a.low))
    assert "0.05 / 2" in found.method


def test_down_is_better_for_some_metrics():
    metric = Metric(type="value", direction="down")
    rng = np.random.default_rng(1)
    units = [[(arm, 0.5, float(rng.normal(mean))) for arm, mean in (("a", 1.0), ("b", 3.0)) for _ in range(200)]]
    found = cost_so_far(observed(metric, ["a", "b"], units), [200, 200], "a")
    assert found.arms[0].estimate == 0.0
    assert 300 < found.arms[1].estimate < 500
    assert found.arms[1].most > found.arms[1].estimate
    assert found.held_back is None


def test_it_bounds():
    rng, missed = np.random.default_rng(7), 0
    for _ in range(200):
        n = rng.multinomial(3000, [0.5, 0.3, 0.2])
        rates = (0.1, 0.12, 0.15)
        found = cost_so_far(
            counted({arm: (int(rng.binomial(k, p)), int(k)) for arm, k, p in zip("abc", n, rates, strict=True)}), n.tolist(), "a"
        )
        missed += found.most < float(n @ (0.15 - np.array(rates)))
    assert missed <= 10


def test_nothing_is_known_at_first():
    empty = counted({"a": (0, 0), "b": (0, 0)})
    found = cost_so_far(empty, [0, 0], "a")
    assert (found.units, found.estimate, found.most) == (0, 0.0, 0.0)
    few = observed(Metric(type="value"), ["a", "b"], [[("a", 0.5, 1.0), ("b", 0.5, 2.0)]])
    assert cost_so_far(few, [1, 1], "a").most == inf
    with pytest.raises(ArgumentError, match="units"):
        cost_so_far(empty, [0], "a")


def test_an_arm_that_may_not_be_chosen_is_no_best_and_may_have_cost_less_than_nothing():
    observations = counted({"a": (100, 1000), "b": (200, 1000), "c": (400, 1000)})
    found = cost_so_far(observations, [1000, 1000, 1000], "a", barred={"c"})
    assert [row.estimate for row in found.arms] == pytest.approx([100, 0, -200])
    a, b, _ = means(observations, alpha=0.05 / 3)
    assert [row.most for row in found.arms] == pytest.approx([1000 * (b.high - a.low), 0, 0])
