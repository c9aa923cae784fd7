"""P(best), P(beats) and expected loss against plain quadrature (`tests.quadrature_oracle`), and against closed forms."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from scipy import special

from allocator import ArgumentError, prob_best_beta, prob_best_normal
from allocator.quadrature import Betas, Gammas, Normals, Students, contest, prob_best_gamma, prob_best_t
from tests.quadrature_oracle import betas, gammas, normals, students

Floats = npt.NDArray[np.float64]


@pytest.mark.parametrize("arms", [2, 3, 9])
@pytest.mark.parametrize("n", [0, 1, 10, 100, 1e4, 1e6, None])
@pytest.mark.parametrize("rate", [0.0005, 0.05, 0.5, 0.97])
def test_betas_agree_with_the_oracle(arms: int, n: float | None, rate: float) -> None:
    """Units alike in size, or from 1 to a million an arm; priors worth little and leaning far to one side are the hardest."""
    rng = np.random.default_rng([arms, 7 if n is None else int(n), int(rate * 10_000)])
    units = np.round((10 ** rng.uniform(0, 6, arms) if n is None else n) * rng.uniform(0.02, 2.0, arms))
    rates = np.clip(rate + 1.5 * np.sqrt(rate * (1 - rate) / (units + 1)) * rng.normal(size=arms), 0, 1)
    successes = rng.binomial(units.astype(int), rates)
    for prior_a, prior_b in ((1.0, 1.0), (0.5, 0.5), (0.02, 1.98), (0.1, 0.1)):
        a, b = prior_a + successes, prior_b + units - successes
        p = prob_best_beta(a, b)
        np.testing.assert_allclose(p, betas(a, b).prob_best(), rtol=0, atol=2e-10)
        assert abs(p.sum() - 1) < 5e-9


@pytest.mark.parametrize("n", [1e2, 1e7, None])
def test_a_hundred_betas_agree_with_the_oracle(n: float | None) -> None:
    rng = np.random.default_rng(1)
    units = 10 ** rng.uniform(2, 7, 100) if n is None else np.full(100, n)
    a = units * 0.1 + np.sqrt(units * 0.09) * rng.normal(size=100)
    a, b = np.maximum(a, 1.0), units - a + 2.0
    np.testing.assert_allclose(prob_best_beta(a, b), betas(a, b).prob_best(), rtol=0, atol=2e-10)


@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("arms", [2, 5, 20, 60])
def test_other_families_agree_with_the_oracle(arms: int, spread: float) -> None:
    rng = np.random.default_rng([arms, int(spread)])
    mean, scale, dof = rng.normal(size=arms), np.exp(spread * rng.normal(size=arms)), 10 ** rng.uniform(0.4, 6, arms)
    alpha = np.exp(3 + spread * rng.normal(size=arms))
    beta = alpha * np.exp(-0.3 * mean)
    for found, plain in (
        (prob_best_normal(mean, scale), normals(mean, scale)),
        (prob_best_t(mean, scale, dof), students(mean, scale, dof)),
        (prob_best_gamma(alpha, beta), gammas(alpha, beta)),
    ):
        np.testing.assert_allclose(found, plain.prob_best(), rtol=0, atol=2e-10)
        assert abs(found.sum() - 1) < 5e-9


@pytest.mark.parametrize("seed", range(6))
def test_losses_and_wins_over_the_control_agree_with_the_oracle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    arms = int(rng.integers(2, 8))
    mean, scale, dof = rng.normal(size=arms), 10 ** rng.uniform(-2, 0.5, arms), 10 ** rng.uniform(0.6, 4, arms)
    a, b = 10 ** rng.uniform(-0.5, 3, (2, arms))
    for family, plain, own_mean in (
        (Betas(a, b), betas(a, b), a / (a + b)),
        (Gammas(a, b), gammas(a, b), a / b),
        (Normals(mean, scale), normals(mean, scale), mean),
        (Students(mean, scale, dof), students(mean, scale, dof), mean),
    ):
        found, loss = contest(family), plain.expected_loss()
        np.testing.assert_allclose(found.expected_loss(own_mean), loss, rtol=0, atol=1e-8 * loss.max())
        for control in range(arms):
            beats = plain.prob_beats(control)
            beats[control] = 0.5
            np.testing.assert_allclose(found.prob_beats(control), beats, rtol=0, atol=1e-9)


def test_the_expected_loss_of_two_normals_has_a_closed_form() -> None:
    mean, sd = np.array([1.0, 1.3]), np.array([0.2, 0.1])
    apart, spread = mean[1] - mean[0], float(np.hypot(*sd))
    by_worse = apart * special.ndtr(apart / spread) + spread * np.exp(-((apart / spread) ** 2) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(contest(Normals(mean, sd)).expected_loss(mean), [by_worse, by_worse - apart], rtol=0, atol=1e-11)


def test_the_least_is_the_best_of_what_is_mirrored() -> None:
    mean, sd = np.array([1.0, 1.3, -2.0]), np.array([0.2, 0.1, 1.0])
    up, down = contest(Normals(mean, sd)), contest(Normals(-mean, sd), down=True)
    np.testing.assert_allclose(down.prob_best, up.prob_best, rtol=1e-9)
    np.testing.assert_allclose(down.expected_loss(mean), up.expected_loss(mean), rtol=1e-9)
    np.testing.assert_allclose(down.prob_beats(1), up.prob_beats(1), rtol=1e-9)
    a, b = np.array([3.0, 40.0, 2e4]), np.array([9.0, 70.0, 9e4])
    np.testing.assert_allclose(contest(Betas(a, b), down=True).prob_best, prob_best_beta(b, a), rtol=1e-9)


@pytest.mark.parametrize(
    "family",
    [
        Betas(np.array([1e5, 1.0, 2e5]), np.array([9e5, 9999.0, 8e5])),
        Gammas(np.array([1e5, 1.0, 2e5]), np.array([1e6, 1e4, 1e6])),
        Normals(np.array([0.1, 1e-4, 0.2]), np.array([0.001, 0.001, 0.001])),
        Students(np.array([0.1, 1e-4, 0.2]), np.array([0.001, 0.001, 0.001]), np.array([1e3, 1e3, 1e3])),
    ],
)
@pytest.mark.parametrize("down", [False, True])
def test_an_arm_that_cannot_win_has_a_bound_and_loses_its_distance(family, down: bool) -> None:  # type: ignore[no-untyped-def]
    mean = np.array([0.1, 1e-4, 0.2])
    found = contest(family, down)
    best = 1 if down else 2
    assert 0 < found.prob_best[0] < 1e-14
    np.testing.assert_allclose(found.expected_loss(-mean if down else mean), np.abs(mean - mean[best]), rtol=0, atol=1e-12)
    assert found.prob_beats(0).tolist() == ([0.5, 1.0, 0.0] if down else [0.5, 0.0, 1.0])


def test_a_point_beside_wide_posteriors_costs_a_few_panels() -> None:
    mean, sd = np.array([0.0, 0.0, 0.3]), np.array([0.0, 1.0, 1e-6])
    p = prob_best_normal(mean, sd)
    assert p[1] == pytest.approx(special.ndtr(-0.3), abs=1e-9)
    assert p.sum() == pytest.approx(1, abs=1e-9)


def test_a_far_arm_does_not_make_points_of_the_others() -> None:
    near = prob_best_normal([0.0, 1.0], [1.0, 1.0])
    np.testing.assert_allclose(prob_best_normal([0.0, 1.0, -1e15], [1.0, 1.0, 1.0])[:2], near, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["alike", "mixed", "points"])
def test_a_thousand_arms(kind: str) -> None:
    rng = np.random.default_rng(3)
    units = {"alike": np.full(1000, 1e3), "mixed": 10 ** rng.uniform(0, 9, 1000), "points": np.full(1000, 1e12)}[kind]
    a = np.maximum(0.1 * units + np.sqrt(0.09 * units) * rng.normal(size=1000), 1.0)
    b = 10.0 * units - a
    found = contest(Betas(a, b))
    assert found.prob_best.min() > 0
    assert found.prob_best.sum() == pytest.approx(1, abs=5e-9)
    loss = found.expected_loss(a / (a + b))
    assert np.all(np.isfinite(loss) & (loss >= 0))
    beats = found.prob_beats(int(found.prob_best.argmax()))
    assert np.all((beats >= 0) & (beats <= 1))


@pytest.mark.parametrize("n", [1e7, 1e9])
def test_many_units_lose_no_digits_that_matter(n: float) -> None:
    a = n * 0.05 + np.sqrt(n * 0.05) * np.array([0.0, 0.4, -1.0, 1.1])
    p = prob_best_beta(a, n - a)
    np.testing.assert_allclose(p, betas(a, n - a).prob_best(), rtol=0, atol=1e-7)


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
    former = 1e-21  # P at .22, where both arms still contend
    for rate in (0.23, 0.25, 0.3):
        a, b = np.array([100.0, 1e4 * rate]), np.array([900.0, 1e4 * (1 - rate)])
        p = prob_best_beta(a, b)[0]
        assert betas(a, b).prob_best()[0] < p < former
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
        (lambda: prob_best_normal([1.0, 2.0], [1.0, np.nan]), "sd"),
        (lambda: prob_best_gamma([1.0, 2.0], [1.0, 0.0]), "beta"),
        (lambda: prob_best_gamma([1.0, np.inf], [1.0, 1.0]), "alpha"),
        (lambda: prob_best_t([np.nan], [1.0], [1.0]), "mean"),
        (lambda: prob_best_t([1.0], [np.inf], [1.0]), "scale"),
        (lambda: prob_best_t([1.0], [1.0], [0.0]), "dof"),
        (lambda: prob_best_t([1.0], [1.0], [1.0, 2.0]), "dof"),
        (lambda: contest(Normals(np.zeros(2), np.ones(2))).prob_beats(2), "control"),
    ],
)
def test_arguments_outside_their_domain_are_named(call, name: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ArgumentError) as raised:
        call()
    assert raised.value.name == name
