"""Top-two Thompson: the closed form against the two draws it stands for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from allocator import ArgumentError
from allocator.policies import Thompson, TopTwoThompson
from allocator.posterior import BetaPosteriors


@dataclass
class Known:
    """Posteriors of which only P(best) is known."""

    p: npt.NDArray[np.float64]

    @property
    def arms(self) -> tuple[str, ...]:
        return tuple(f"arm-{k}" for k in range(len(self.p)))

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        raise NotImplementedError("not what a policy looks at")

    def interval(self, level: float = 0.95) -> npt.NDArray[np.float64]:
        raise NotImplementedError("not what a policy looks at")

    def prob_best(self) -> npt.NDArray[np.float64]:
        return self.p


def two_draws(p: npt.NDArray[np.float64], beta: float) -> npt.NDArray[np.float64]:
    """Draw j; keep it with probability beta, else draw again until it is another."""
    psi = np.zeros(len(p))
    for j, pj in enumerate(p):
        psi[j] += pj * beta
        for k, pk in enumerate(p):
            if k != j:
                psi[k] += pj * (1 - beta) * pk / (1 - pj)
    return psi


@pytest.mark.parametrize("beta", [0.2, 0.5, 0.9])
def test_the_closed_form_is_the_two_draws(beta: float) -> None:
    for p in ([0.2, 0.5, 0.3], [0.01, 0.04, 0.9, 0.05], [0.25] * 4):
        weights = TopTwoThompson(beta).weights(Known(np.array(p)))
        np.testing.assert_allclose(weights, two_draws(np.array(p), beta), rtol=1e-12)


@pytest.mark.parametrize("a", [[1.0, 1.0], [10.0, 60.0], [1.0, 5000.0], [1e6, 9e6]])
def test_two_arms_share_evenly_whatever_is_known(a: list[float]) -> None:
    posteriors = BetaPosteriors(("a", "b"), np.array(a), np.full(2, 1e4))
    assert TopTwoThompson().weights(posteriors).tolist() == pytest.approx([0.5, 0.5], abs=1e-12)


def test_beta_of_one_is_thompson() -> None:
    posteriors = BetaPosteriors(("a", "b", "c"), np.array([30.0, 40.0, 35.0]), np.full(3, 70.0))
    np.testing.assert_allclose(TopTwoThompson(1.0).weights(posteriors), Thompson().weights(posteriors), rtol=1e-12)


def test_a_nearly_sure_leader_leaves_half_to_its_challengers() -> None:
    weights = TopTwoThompson().weights(Known(np.array([1e-300, 1.0, 3e-300])))
    np.testing.assert_allclose(weights, [0.125, 0.5, 0.375], rtol=1e-12)


def test_one_arm_takes_all() -> None:
    assert TopTwoThompson().weights(Known(np.array([1.0]))).tolist() == [1.0]


@pytest.mark.parametrize("beta", [0.0, 1.1, float("nan")])
def test_beta_has_a_domain(beta: float) -> None:
    with pytest.raises(ArgumentError, match="beta"):
        TopTwoThompson(beta)
