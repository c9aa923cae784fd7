"""A fixed split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from allocator import ArgumentError
from allocator.policies import Fixed
from allocator.posterior import BetaPosteriors

POSTERIORS = BetaPosteriors(("a", "b", "c"), np.array([1.0, 500.0, 2.0]), np.full(3, 3.0))


def test_without_shares_the_split_is_even() -> None:
    np.testing.assert_allclose(Fixed().weights(POSTERIORS), 1 / 3)


def test_shares_are_relative_and_by_name() -> None:
    np.testing.assert_allclose(Fixed({"c": 1, "a": 3, "b": 0}).weights(POSTERIORS), [0.75, 0.0, 0.25])


@pytest.mark.parametrize("shares", [{}, {"a": 0}, {"a": -1, "b": 2}, {"a": float("nan")}, {"a": "x"}, {"a": True}, [1, 2]])
def test_shares_have_a_domain(shares: Any) -> None:
    with pytest.raises(ArgumentError, match="shares"):
        Fixed(shares)


@pytest.mark.parametrize("shares", [{"a": 1, "b": 1}, {"a": 1, "b": 1, "c": 1, "d": 1}])
def test_shares_name_every_arm_and_no_other(shares: dict[str, float]) -> None:
    with pytest.raises(ArgumentError, match="a, b, c"):
        Fixed(shares).weights(POSTERIORS)
