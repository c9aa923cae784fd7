"""ε-greedy: the leader, and a share for looking."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from allocator import ArgumentError
from allocator.policies import EpsilonGreedy
from allocator.posterior import BetaPosteriors, NormalPosteriors


def test_the_leader_has_the_rest() -> None:
    posteriors = BetaPosteriors(("a", "b", "c"), np.array([3.0, 4.0, 2.0]), np.full(3, 7.0))
    np.testing.assert_allclose(EpsilonGreedy(0.3).weights(posteriors), [0.1, 0.8, 0.1])


def test_down_looks_for_the_least_mean() -> None:
    posteriors = NormalPosteriors(("a", "b"), np.array([100.0, 90.0]), np.ones(2), down=True)
    np.testing.assert_allclose(EpsilonGreedy(0.2).weights(posteriors), [0.1, 0.9])


def test_equal_leaders_share() -> None:
    posteriors = BetaPosteriors(("a", "b", "c"), np.array([4.0, 4.0, 2.0]), np.full(3, 7.0))
    np.testing.assert_allclose(EpsilonGreedy(0.3).weights(posteriors), [0.45, 0.45, 0.1])


def test_where_nothing_is_known_the_split_is_even() -> None:
    posteriors = NormalPosteriors(("a", "b"), np.array([np.nan, 90.0]), np.array([np.inf, 1.0]))
    np.testing.assert_allclose(EpsilonGreedy(0.2).weights(posteriors), [0.5, 0.5])


@pytest.mark.parametrize("epsilon", [-0.1, 1.1, float("nan"), "x", True])
def test_epsilon_has_a_domain(epsilon: Any) -> None:
    with pytest.raises(ArgumentError, match="epsilon"):
        EpsilonGreedy(epsilon)
