"""Uniform boundaries: published values, and the mixtures against integration over λ."""

from __future__ import annotations

from math import exp, log

import numpy as np
import pytest
from scipy import integrate, special

from allocator import ArgumentError
from allocator.inference.boundaries import (
    bernoulli_interval,
    best_rho,
    beta_binomial_bound,
    beta_binomial_log_mixture,
    gamma_exponential_bound,
    gamma_exponential_log_mixture,
    log_threshold,
    normal_bound,
    normal_log_mixture,
    stirling_error,
)


def test_golden_values() -> None:
    """confseq 0.0.11, the package of Howard et al.: normal_mixture_bound(100, .05, 100, .05, False) and so on."""
    assert float(normal_bound(100, 0.05, best_rho(100))) == pytest.approx(30.35209, abs=5e-6)
    one_sided = best_rho(100, two_sided=False)
    assert float(gamma_exponential_bound(100, 0.05, one_sided, c=2)) == pytest.approx(33.02017, abs=5e-6)
    assert float(beta_binomial_bound(100, 0.05, best_rho(100), 0.2, 0.8)) == pytest.approx(31.4308, abs=5e-5)
    low, high = bernoulli_interval(700, 1000, 0.05, 100)
    assert (float(low), float(high)) == pytest.approx((0.651629, 0.745949), abs=1e-6)


@pytest.mark.parametrize(
    "s,v,rho,c", [(3.0, 4.0, 2.0, 1.0), (30.0, 100.0, 12.0, 2.0), (-3.0, 4.0, 0.3, 1.0), (0.5, 0.0, 1.0, 0.5)]
)
def test_the_gamma_exponential_mixture_is_an_average_over_lambda(s: float, v: float, rho: float, c: float) -> None:
    r = rho / c**2

    def density(u: float) -> float:  # of λ = u / c
        return (1 - u) ** (r - 1) * exp(-r * (1 - u))

    def wealth(u: float) -> float:
        return exp(u * s / c - (-log(1 - u) - u) * v / c**2)

    mass = integrate.quad(density, 0, 1)[0]
    average = integrate.quad(lambda u: wealth(u) * density(u), 0, 1)[0] / mass
    assert float(gamma_exponential_log_mixture(s, v, rho, c)) == pytest.approx(log(average), abs=1e-6)


def test_the_normal_mixture_is_an_average_over_lambda() -> None:
    s, v, rho = 12.0, 30.0, 4.0

    def part(x: float) -> float:
        return exp(x * s - x * x * v / 2) * exp(-x * x * rho / 2) * (rho / (2 * np.pi)) ** 0.5

    assert float(normal_log_mixture(s, v, rho)) == pytest.approx(log(integrate.quad(part, -5, 5)[0]), abs=1e-9)


def test_the_beta_binomial_mixture_is_a_likelihood_ratio() -> None:
    """g = .3, h = .7: 40 steps of .7 and 60 of -.3 have s = 10 and v = 21; under the null the odds of a rise are 3 : 7."""
    r = 5.0
    up, down, a, b = 40, 60, r / 0.7, r / 0.3
    expected = special.betaln(a + up, b + down) - special.betaln(a, b) - up * log(0.3) - down * log(0.7)
    assert float(beta_binomial_log_mixture(10.0, 21.0, r + 0.21, 0.3, 0.7)) == pytest.approx(expected)
    assert beta_binomial_log_mixture(-100.0, 21.0, r, 0.3, 0.7) == -np.inf


@pytest.mark.parametrize("v", [0.0, 1e-3, 1.0, 1e4, 1e12])
def test_bounds_solve_their_mixture(v: float) -> None:
    for c in (0.1, 1.0, 50.0):
        s = gamma_exponential_bound(v, 0.01, 3.0, c)
        assert float(gamma_exponential_log_mixture(s, v, 3.0, c)) == pytest.approx(log(100), rel=1e-6)
    assert float(normal_log_mixture(normal_bound(v, 0.01, 3.0), v, 3.0)) == pytest.approx(log(100), rel=1e-6)


def test_nothing_cancels_at_large_intrinsic_time() -> None:
    """For s << v every mixture looks normal; a one-sided one is twice as dense for λ > 0, nearly sure at large s."""
    v, rho = 1e12, 1e10
    s = 6 * (v + rho) ** 0.5
    assert float(gamma_exponential_log_mixture(s, v, rho)) == pytest.approx(
        float(normal_log_mixture(s, v, rho)) + log(2), abs=1e-3
    )


def test_no_step_below_c_can_pay() -> None:
    assert gamma_exponential_log_mixture(-1e9, 5.0, 1.0) == -np.inf


def test_stirling_error() -> None:
    x = np.array([0.01, 0.5, 1.0, 11.999, 12.0, 100.0])
    direct = special.gammaln(x) - ((x - 0.5) * np.log(x) - x + 0.5 * log(2 * np.pi))
    np.testing.assert_allclose(stirling_error(x), direct, atol=2e-13)
    assert float(stirling_error(1e12)) == pytest.approx(1 / 12e12)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0, 2.0, float("nan")])
def test_alpha_is_a_probability(alpha: float) -> None:
    with pytest.raises(ArgumentError, match="alpha"):
        log_threshold(alpha)


def test_bernoulli_interval_wants_counts() -> None:
    with pytest.raises(ArgumentError, match="successes"):
        bernoulli_interval(5, 4, 0.05, 100)
    low, high = bernoulli_interval([0, 10], [10, 10], 0.05, 100)
    assert (low[0], high[1]) == (0.0, 1.0)
