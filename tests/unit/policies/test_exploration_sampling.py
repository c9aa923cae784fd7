"""Exploration sampling: p (1 - p), and what its authors say of it."""

from __future__ import annotations

import numpy as np
import pytest

from allocator.policies import ExplorationSampling, Thompson
from allocator.posterior import BetaPosteriors, NormalPosteriors

ARMS = ("a", "b", "c", "d")


def test_weights_are_p_times_what_is_left() -> None:
    posteriors = BetaPosteriors(ARMS, np.array([30.0, 40.0, 34.0, 28.0]), np.array([70.0, 60.0, 66.0, 72.0]))
    p = Thompson().weights(posteriors)
    np.testing.assert_allclose(ExplorationSampling().weights(posteriors), p * (1 - p) / (p * (1 - p)).sum(), rtol=1e-12)


@pytest.mark.parametrize("a", [[1.0, 1.0], [10.0, 60.0], [1e6, 9e6]])
def test_two_arms_share_evenly_whatever_is_known(a: list[float]) -> None:
    posteriors = BetaPosteriors(("a", "b"), np.array(a), np.full(2, 1e4))
    np.testing.assert_allclose(ExplorationSampling().weights(posteriors), 0.5, atol=1e-12)


def test_a_nearly_sure_leader_has_half_and_the_others_share_by_their_chances() -> None:
    posteriors = NormalPosteriors(ARMS, np.array([0.0, 9.0, 1.0, 2.0]), np.ones(4))
    p, weights = Thompson().weights(posteriors), ExplorationSampling().weights(posteriors)
    assert weights[1] == pytest.approx(0.5, abs=1e-6)
    np.testing.assert_allclose(np.delete(weights, 1) / weights[3], np.delete(p, 1) / p[3], rtol=1e-5)


def test_one_arm_takes_all() -> None:
    assert ExplorationSampling().weights(BetaPosteriors(("a",), np.ones(1), np.ones(1))).tolist() == [1.0]
