"""Propensity checks: exact on small cases, quiet when routers do as published, and they name the version or the arm."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from allocator import ArgumentError, Moments
from allocator.inference.propensity import _log_e, check_inverse_propensities, check_versions
from allocator.moments import inverse_propensity, layout_of
from allocator.quadrature import FloatArray

ARMS = ("a", "b", "c")


def moments(logged: list[float]) -> Moments:
    """Moments of units with these logged propensities, one metric, all values 0."""
    layout, sums = layout_of(1), layout_of(1).empty()
    for p in logged:
        layout.enter(sums, inverse_propensity(p))
    return Moments(1, tuple(sums))


def served(rng: np.random.Generator, shares: FloatArray, real: FloatArray | None = None) -> list[Moments]:
    """One unit a row of `shares` (logged); arms are drawn from `real`, else from `shares`."""
    truth = shares if real is None else real
    arm = (rng.random(len(shares))[:, None] > truth.cumsum(axis=1)).sum(axis=1)
    return [moments(shares[arm == k, k].tolist()) for k in range(shares.shape[1])]


def drifting(units: int) -> FloatArray:
    """Shares of three arms that move from even to 5 %, 5 %, 90 %."""
    toward = np.linspace(0, 1, units)[:, None]
    return (1 - toward) / 3 + toward * np.array([0.05, 0.05, 0.9])


def test_the_evidence_of_two_versions_is_one_on_average() -> None:
    first, second, mean = (0.2, 0.3, 0.5), (0.7, 0.1, 0.2), 0.0
    outcomes = [counts for counts in product(range(4), repeat=3) if sum(counts) == 3]
    for one, two in product(outcomes, repeat=2):
        chance = stats.multinomial(3, first).pmf(one) * stats.multinomial(3, second).pmf(two)
        mean += chance * check_versions(ARMS, [1, 2], [one, two], [first, second], concentration=4).e
    assert mean == pytest.approx(1.0, rel=1e-12)


def test_one_bad_version_among_three_hundred_is_named() -> None:
    rng = np.random.default_rng(3)
    shares = rng.dirichlet([5, 5, 5], size=300)
    counts = np.array([rng.multinomial(2000, p) for p in shares])
    good = check_versions(ARMS, range(11, 311), counts, shares)
    assert not good.alarm
    assert good.deviating == ()
    stale = shares[200] + [0.08, -0.08, 0.0]
    counts[200] = rng.multinomial(2000, stale)
    found = check_versions(ARMS, range(11, 311), counts, shares)
    assert found.alarm
    assert [off.version for off in found.deviating] == [211]
    assert found.clearest == found.deviating[0]
    assert found.clearest.arm in {"a", "b"}
    assert found.clearest.published == shares[200][ARMS.index(found.clearest.arm)]
    assert abs(found.clearest.realised - found.clearest.published) == pytest.approx(0.08, abs=0.03)


def test_versions_stay_quiet_however_often_they_are_looked_at() -> None:
    """40 looks at 10 growing versions, level .05: at most 5 % of runs ever alarm; of a chi-square at each look, many more do."""
    rng, alarmed, peeked, runs = np.random.default_rng(4), 0, 0, 150
    limits = stats.chi2(2 * np.arange(1, 11)).isf(0.05)
    for _ in range(runs):
        shares = rng.dirichlet([3, 3, 3], size=10)
        counts = np.zeros((10, 3))
        ever = by_chi_square = False
        for look in range(40):
            version = look // 4
            counts[version] += rng.multinomial(100, shares[version])
            n, p = counts[: version + 1], shares[: version + 1]
            ever |= check_versions(ARMS, range(version + 1), n, p, alpha=0.05).alarm
            expected = n.sum(axis=1, keepdims=True) * p
            by_chi_square |= ((n - expected) ** 2 / expected).sum() > limits[version]
        alarmed += ever
        peeked += by_chi_square
    assert alarmed / runs <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)
    assert peeked / runs > 0.15


def test_a_unit_on_an_arm_without_share_is_proof() -> None:
    found = check_versions(ARMS, ["v1"], [[5, 4, 1]], [[0.5, 0.5, 0.0]])
    assert (found.alarm, found.e, found.p, found.clearest.arm) == (True, float("inf"), 0.0, "c")


@pytest.mark.parametrize("p_min", [0.1, 0.3])
def test_inverse_propensities_multiply_evidence_by_one_at_most(p_min: float) -> None:
    """Over every possible history of five units whose propensities depend on what came before."""
    mean = 0.0
    for history in product((0, 1), repeat=5):
        chance, logged, ones = 1.0, ([], []), 0
        for t, arm in enumerate(history):
            p = np.clip(0.5 + 0.15 * (2 * ones - t), p_min, 1 - p_min)
            chance *= p if arm else 1 - p
            logged[arm].append(float(p if arm else 1 - p))
            ones += arm
        mean += chance * check_inverse_propensities("ab", [moments(logged[0]), moments(logged[1])], p_min).e
    assert 0.9 < mean <= 1.0 + 1e-9


def test_inverse_propensities_are_right_while_shares_move() -> None:
    found = check_inverse_propensities(ARMS, served(np.random.default_rng(5), drifting(20_000)), 0.05)
    assert not found.alarm
    assert found.deviating == ()
    assert found.ratio == pytest.approx([1, 1, 1], abs=0.1)
    assert max(abs(z) for z in found.z) < 3
    assert found.units == 20_000


def test_a_router_that_logs_another_weights_propensities_is_found() -> None:
    """Arms are drawn from shares that moved; the even split is logged."""
    logged = np.full((20_000, 3), 1 / 3)
    found = check_inverse_propensities(ARMS, served(np.random.default_rng(6), logged, drifting(20_000)), 0.05)
    assert found.alarm
    assert set(found.deviating) == set(ARMS)
    assert found.ratio == pytest.approx([0.575, 0.575, 1.85], abs=0.03)


def test_lost_units_of_one_arm_are_found() -> None:
    rng = np.random.default_rng(7)
    whole = served(rng, np.full((60_000, 3), 1 / 3))
    kept = rng.binomial(whole[1].n, 0.9)
    found = check_inverse_propensities(ARMS, [whole[0], moments([1 / 3] * kept), whole[2]], 0.05)
    assert found.alarm
    assert found.deviating[0] == "b"  # and the others have too many
    assert found.ratio[1] == pytest.approx(0.9 * 3 / 2.9, abs=0.02)


def test_inverse_propensities_stay_quiet_however_often_they_are_looked_at() -> None:
    """2000 runs, 100 looks at 50 units each, shares of a bandit between .05 and .95: ever above 20 in at most 5 %."""
    rng, runs, looks = np.random.default_rng(8), 2000, 100
    excess, squares, walk, ever = np.zeros(runs), np.zeros(runs), np.zeros(runs), np.zeros(runs, dtype=bool)
    for _ in range(looks):
        p = 0.05 + 0.9 / (1 + np.exp(-walk))
        n = rng.binomial(50, p)
        walk += np.clip(excess, -20, 20) * 0.02 + 0.2 * rng.normal(size=runs)  # moves with the very evidence
        excess += n / p - 50
        squares += n * (1 / p - 1) ** 2 + 50 - n
        ever |= _log_e(excess, squares, 19.0) >= np.log(20)
    assert 0 < ever.mean() <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / runs)


def test_nothing_is_known_without_units() -> None:
    found = check_inverse_propensities(ARMS, [Moments.zero(1)] * 3, 0.02)
    assert (found.alarm, found.e, found.units) == (False, pytest.approx(1.0), 0)
    assert np.isnan(found.ratio).all()


def test_a_million_million_units_are_exact() -> None:
    layout, sums = layout_of(1), layout_of(1).empty()
    layout.enter(sums, 2_000_000, 10**12)
    found = check_inverse_propensities("ab", [Moments(1, tuple(sums))] * 2, 0.5)
    assert found.ratio == (1.0, 1.0)
    assert found.z == (0.0, 0.0)
    assert not found.alarm


@pytest.mark.parametrize(
    "changes, name",
    [
        ({"alpha": 0.0}, "alpha"),
        ({"concentration": 0.0}, "concentration"),
        ({"versions": []}, "versions"),
        ({"versions": [1]}, "counts"),
        ({"counts": [[1, 2], [3, 4]]}, "counts"),
        ({"counts": [1, 2, 3]}, "counts"),
        ({"shares": [0.2, 0.3, 0.5]}, "shares"),
        ({"shares": [[0.2, 0.3, 0.4]] * 2}, "shares"),
    ],
)
def test_arguments_of_versions_are_named(changes: dict[str, object], name: str) -> None:
    whole = {"arms": ARMS, "versions": [1, 2], "counts": [[1, 2, 3]] * 2, "shares": [[0.2, 0.3, 0.5]] * 2}
    with pytest.raises(ArgumentError) as raised:
        check_versions(**(whole | changes))  # type: ignore[arg-type]
    assert raised.value.name == name


@pytest.mark.parametrize(
    "changes, name",
    [
        ({"alpha": 1.0}, "alpha"),
        ({"propensity_min": 0.0}, "propensity_min"),
        ({"propensity_min": 0.3}, "propensity_min"),  # 0.25 was logged
        ({"moments": []}, "moments"),
    ],
)
def test_arguments_of_inverse_propensities_are_named(changes: dict[str, object], name: str) -> None:
    whole = {"arms": "ab", "moments": [moments([0.25]), moments([0.75])], "propensity_min": 0.25}
    with pytest.raises(ArgumentError) as raised:
        check_inverse_propensities(**(whole | changes))  # type: ignore[arg-type]
    assert raised.value.name == name
