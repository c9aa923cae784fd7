"""P(best) against plain quadrature with the distribution functions evaluated on the grid, and against closed forms."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from scipy import special

from allocator import ArgumentError, prob_best_beta, prob_best_normal

Floats = npt.NDArray[np.float64]
X16, W16 = np.polynomial.legendre.leggauss(16)


def nodes(centre: Floats, sd: Floats, reach: float) -> tuple[Floats, Floats]:
    """16-point Gauss-Legendre on panels of half an sd around every arm."""
    borders = np.unique((centre[:, None] + sd[:, None] * np.arange(-reach, reach + 0.1, 0.5)).ravel())
    half = np.diff(borders) / 2
    return ((borders[:-1] + half)[:, None] + half[:, None] * X16).ravel(), (half[:, None] * W16).ravel()


def best_of(f: Floats, cdf: Floats, weights: Floats) -> Floats:
    return np.array([(f[k] * np.delete(cdf, k, axis=0).prod(axis=0)) @ weights for k in range(len(f))])


def oracle_beta(a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    centre, sd = special.psi(a) - special.psi(b), np.sqrt(special.polygamma(1, a) + special.polygamma(1, b))
    t, weights = nodes(centre, sd, 36)
    x, y = special.expit(t), special.expit(-t)
    f = np.exp(a[:, None] * special.log_expit(t) + b[:, None] * special.log_expit(-t) - special.betaln(a, b)[:, None])
    f /= (f @ weights)[:, None]  # betaln is off by n ε
    cdf = np.where(t < 0, special.betainc(a[:, None], b[:, None], x), special.betaincc(b[:, None], a[:, None], y))
    return best_of(f, cdf, weights)


def oracle_normal(mean: npt.ArrayLike, sd: npt.ArrayLike) -> Floats:
    mean, sd = np.asarray(mean, dtype=float), np.asarray(sd, dtype=float)
    x, weights = nodes(mean, sd, 12)
    z = (x - mean[:, None]) / sd[:, None]
    return best_of(np.exp(-z * z / 2) / np.sqrt(2 * np.pi) / sd[:, None], special.ndtr(z), weights)


@pytest.mark.parametrize("arms", [2, 3, 9])
@pytest.mark.parametrize("n", [0, 1, 10, 100, 1e4, 1e6])
@pytest.mark.parametrize("rate", [0.0005, 0.05, 0.5, 0.97])
def test_betas_agree_with_the_oracle(arms: int, n: float, rate: float) -> None:
    rng = np.random.default_rng([arms, int(n), int(rate * 10_000)])
    units = np.round(n * rng.uniform(0.02, 2.0, arms))
    rates = np.clip(rate + 1.5 * np.sqrt(rate * (1 - rate) / (n + 1)) * rng.normal(size=arms), 0, 1)
    successes = rng.binomial(units.astype(int), rates)
    for prior in (1.0, 0.5):
        a, b = prior + successes, prior + units - successes
        p = prob_best_beta(a, b)
        np.testing.assert_allclose(p, oracle_beta(a, b), rtol=0, atol=1e-9)
        assert abs(p.sum() - 1) < 5e-9


@pytest.mark.parametrize("n", [1e7, 1e9])
def test_many_units_lose_no_digits_that_matter(n: float) -> None:
    a = n * 0.05 + np.sqrt(n * 0.05) * np.array([0.0, 0.4, -1.0, 1.1])
    p = prob_best_beta(a, n - a)
    np.testing.assert_allclose(p, oracle_beta(a, n - a), rtol=0, atol=1e-7)


@pytest.mark.parametrize("arms", [2, 5, 20, 60])
@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0])
def test_normals_agree_with_the_oracle(arms: int, spread: float) -> None:
    rng = np.random.default_rng([arms, int(spread * 2)])
    mean, sd = rng.normal(size=arms), np.exp(spread * rng.normal(size=arms))
    p = prob_best_normal(mean, sd)
    np.testing.assert_allclose(p, oracle_normal(mean, sd), rtol=0, atol=1e-9)
    assert abs(p.sum() - 1) < 5e-9


def test_two_normals_have_a_closed_form() -> None:
    p = prob_best_normal([1.0, 1.3], [0.2, 0.1])
    assert p[1] == pytest.approx(special.ndtr(0.3 / np.hypot(0.2, 0.1)), abs=1e-12)


def test_two_betas_have_a_closed_form() -> None:
    # a = 1: 1 - X is a power, so P(X < Y) = ∫ f_Y (1 - (1 - y)^9) = 1 - E(1 - Y)^9.
    p = prob_best_beta([1.0, 3.0], [9.0, 4.0])
    expected = 1 - np.exp(special.betaln(3, 13) - special.betaln(3, 4))
    assert p[1] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "a, b",
    [
        ([1.0] * 5, [1.0] * 5),  # nothing known
        ([1.0] * 5, [1e12] * 5),  # all failures
        ([1e12] * 5, [1.0] * 5),  # all successes
        ([5e11] * 5, [5e11] * 5),
        ([0.5] * 5, [0.5] * 5),
    ],
)
def test_equal_arms_share_evenly(a: list[float], b: list[float]) -> None:
    np.testing.assert_allclose(prob_best_beta(a, b), 0.2, rtol=0, atol=2e-9)
    np.testing.assert_allclose(prob_best_normal(a, np.zeros(5)), 0.2, rtol=0, atol=1e-9)


def test_a_hopeless_arm_gets_an_upper_bound_and_never_zero() -> None:
    for p in (prob_best_beta([5000, 5600, 10], [5000, 4400, 99990]), prob_best_normal([0.0, 1.0, -50.0], [0.07, 0.07, 0.07])):
        assert 0 < p[2] < 1e-11
        assert abs(p.sum() - 1) < 5e-9
    # Pruned at 7.2 sd each: the bound of a normal is the probability of beating the best arm, which the oracle confirms.
    p = prob_best_normal([0.0, 20.0], [1.0, 1.0])
    assert p[0] == pytest.approx(special.ndtr(-20 / np.sqrt(2)), rel=1e-9)


def test_bounds_of_pruned_betas_are_above_the_truth_and_fall() -> None:
    former = 1e-16  # P at .2, where both arms still contend
    for rate in (0.22, 0.25, 0.3):
        a, b = np.array([100.0, 1e4 * rate]), np.array([900.0, 1e4 * (1 - rate)])
        p = prob_best_beta(a, b)[0]
        assert oracle_beta(a, b)[0] < p < former
        former = p


def test_probability_falls_smoothly_across_the_pruning_line() -> None:
    gaps = np.linspace(5, 40, 200)
    p = [prob_best_normal([0.0, gap], [1.0, 1.0])[0] for gap in gaps]
    assert all(later < earlier for earlier, later in pairwise(p))


def test_a_point_beats_a_spread_half_the_time() -> None:
    np.testing.assert_allclose(prob_best_normal([2.0, 2.0], [0.0, 1.0]), 0.5, atol=1e-9)
    assert prob_best_normal([1.0, 0.0], [0.0, 0.0])[0] == pytest.approx(1.0)


def test_a_large_common_mean_costs_no_digits() -> None:
    np.testing.assert_allclose(
        prob_best_normal([1e12, 1e12 + 1], [1.0, 2.0]), prob_best_normal([0.0, 1.0], [1.0, 2.0]), rtol=0, atol=1e-12
    )


def test_one_arm_is_the_best_one() -> None:
    assert prob_best_beta([3.0], [4.0]).tolist() == [1.0]
    assert prob_best_normal([0.0], [0.0]).tolist() == [1.0]


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: prob_best_beta([], []), "a"),
        (lambda: prob_best_beta([[1.0]], [[1.0]]), "a"),
        (lambda: prob_best_beta([1.0, 2.0], [1.0]), "b"),
        (lambda: prob_best_beta([0.0, 2.0], [1.0, 1.0]), "a"),
        (lambda: prob_best_beta([1.0, 2.0], [1.0, np.nan]), "b"),
        (lambda: prob_best_normal([np.inf, 2.0], [1.0, 1.0]), "mean"),
        (lambda: prob_best_normal([1.0, 2.0], [1.0, -1.0]), "sd"),
    ],
)
def test_arguments_outside_their_domain_are_named(call, name: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ArgumentError) as raised:
        call()
    assert raised.value.name == name
