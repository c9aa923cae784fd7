"""The sample-ratio check: exact on small cases, quiet under moving weights, and it names the arm that loses units."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from allocator import ArgumentError
from allocator.inference.multinomial import log_gain
from allocator.inference.srm import SrmState
from tests.reproduce.srm import simulate

ARMS = ("a", "b", "c")
BATCHES = [((5, 1, 2), (0.5, 0.3, 0.2)), ((1, 4, 0), (0.2, 0.7, 0.1)), ((3, 3, 3), (0.1, 0.1, 0.8))]


def state_after(batches: list[tuple[tuple[int, ...], tuple[float, ...]]], kappa: float = 10.0) -> SrmState:
    state = SrmState.start(ARMS[: len(batches[0][0])], kappa)
    for counts, shares in batches:
        state = state.update(counts, shares)
    return state


def test_no_alarm_beyond_alpha_in_2000_runs_where_a_chi_square_always_alarms() -> None:
    null = simulate(2000, seed=1)
    assert null.e_process[0] <= 0.001 + 2 * np.sqrt(0.001 / 2000)
    assert null.even_split[0] == 1.0
    assert null.expected_counts[0] > 0.005  # α is .001: peeking breaks the other chi-square


def test_a_loss_of_five_percent_in_one_arm_is_found_and_named() -> None:
    lossy = simulate(500, seed=2, loss=0.05)
    assert lossy.e_process[0] > 0.8
    assert lossy.early[0] > 0.3
    assert lossy.median_batch < 110
    assert lossy.right_arm > 0.99


def test_a_loss_is_found_among_ten_arms_too() -> None:
    """A bet on all ten at once would find 9 % of them; those on one arm each find nearly half."""
    assert simulate(300, seed=2, loss=0.05, arms=10).e_process[0] > 0.35


def test_a_deviation_of_many_arms_is_found() -> None:
    """Half of six arms get 3 % too much, half too little; no one arm is far off."""
    rng, state = np.random.default_rng(3), SrmState.start("abcdef")
    real = np.array([1.03, 0.97] * 3) / 6
    for _ in range(200):
        state = state.update(rng.multinomial(500, real), np.full(6, 1 / 6))
    assert state.result().alarm
    assert state.log_wealth.argmax() == 6  # the bet on all


@pytest.mark.parametrize("units", [1, 4, 7])
@pytest.mark.parametrize("shares", [(0.2, 0.3, 0.5), (0.01, 0.01, 0.98), (0.0, 0.4, 0.6)])
def test_a_batch_multiplies_e_by_one_on_average(units: int, shares: tuple[float, ...]) -> None:
    """Over every possible outcome, with a past that says otherwise."""
    before = state_after(BATCHES)
    mean = 0.0
    for counts in product(range(units + 1), repeat=3):
        if sum(counts) == units and (chance := stats.multinomial(units, shares).pmf(counts)) > 0:
            mean += chance * np.exp(before.update(counts, shares).log_e - before.log_e)
    assert mean == pytest.approx(1.0, rel=1e-12)


def test_the_gain_is_the_ratio_of_two_textbook_probabilities() -> None:
    counts, shares, bet = np.array([3.0, 0.0, 9.0]), np.array([0.2, 0.5, 0.3]), np.array([0.3, 0.3, 0.4])
    against = stats.dirichlet_multinomial.logpmf(counts.astype(int), 40 * bet, 12)
    promised = stats.multinomial.logpmf(counts, 12, shares)
    assert log_gain(counts, shares, 40.0, np.log(bet / shares)) == pytest.approx(against - promised, rel=1e-12)


@pytest.mark.parametrize("strength", [1e-3, 10.0, 300.0, 1e6, 1e12])
@pytest.mark.parametrize("scale", [1, 10**4, 10**9])
def test_gains_add_up_unit_by_unit_at_any_size(strength: float, scale: int) -> None:
    """log DM(n + m | a) = log DM(n | a) + log DM(m | a + n); ln Γ subtracted naively is off by 1e-3 at 1e12."""
    p = np.array([0.25, 0.75])
    n, m = scale * np.array([3.0, 8.0]), scale * np.array([2.0, 6.0])
    after = strength * p + n
    second = log_gain(m, p, after.sum(), np.log(after / after.sum() / p))
    assert log_gain(n + m, p, strength) == pytest.approx(float(log_gain(n, p, strength) + second), rel=1e-9, abs=2e-6)


def test_one_large_batch_is_enough() -> None:
    state = SrmState.start(["a", "b"]).update([500_000, 495_000], [0.5, 0.5])
    found = state.result()
    assert found.alarm
    assert found.arm == "b"
    assert found.deviation == pytest.approx(-0.01)


def test_an_arm_without_share_that_gets_a_unit_is_impossible() -> None:
    state = SrmState.start(ARMS).update([10, 10, 0], [0.5, 0.5, 0.0])
    assert not state.result().alarm
    found = state.update([10, 9, 1], [0.5, 0.5, 0.0]).update([5, 5, 5], [0.3, 0.3, 0.4]).result()
    assert (found.alarm, found.e, found.p, found.arm) == (True, float("inf"), 0.0, "c")


def test_the_loss_is_measured_right_however_the_weights_moved() -> None:
    """The plain ratio O/E says 2.3 % where 5 % is true: the arm's own loss lowers what is expected of it."""
    state = SrmState.start(["a", "b"])
    for share in (0.9, 0.9, 0.1):
        state = state.update([round(1e8 * (1 - share)), round(0.95e8 * share)], [1 - share, share])
    found = state.result()
    assert found.arm == "b"
    assert found.deviation == pytest.approx(-0.05, abs=1e-7)
    assert found.observed[1] / found.expected[1] - 1 > -0.025


def test_a_raised_alarm_stays() -> None:
    state = SrmState.start(["a", "b"], kappa=10).update([300, 100], [0.5, 0.5])
    for _ in range(200):
        state = state.update([48, 50], [0.5, 0.5])
    found = state.result()
    assert found.e < 1 / found.alpha
    assert found.alarm
    assert found.p < 0.001


def test_without_units_nothing_is_known() -> None:
    found = SrmState.start(ARMS).result()
    assert (found.alarm, found.e, found.p) == (False, pytest.approx(1.0), 1.0)
    assert np.isnan(found.deviation)


def test_partitions_multiply() -> None:
    left, right = state_after(BATCHES[:1]), state_after(BATCHES[1:])
    both = left + right
    assert both.log_wealth == pytest.approx(left.log_wealth + right.log_wealth)
    assert both.result().e == pytest.approx(float(np.exp(both.log_e)))
    assert both.observed.tolist() == state_after(BATCHES).observed.tolist()
    with pytest.raises(ArgumentError, match="other"):
        left + SrmState.start(["x", "y", "z"])


def test_many_checks_at_once_are_the_single_ones() -> None:
    together = SrmState.start(ARMS, 10.0, checks=(2,))
    for counts, shares in BATCHES:
        together = together.update([counts, (0, 0, 0)], [shares, shares])
    assert together.log_e == pytest.approx([float(state_after(BATCHES).log_e), 0.0])
    with pytest.raises(ArgumentError, match="single"):
        together.result()


@pytest.mark.parametrize(
    "counts, shares, name",
    [
        ([1, 2], [0.2, 0.3, 0.5], "counts"),
        ([1, -1, 2], [0.2, 0.3, 0.5], "counts"),
        ([1, 0.5, 2], [0.2, 0.3, 0.5], "counts"),
        ([1, float("nan"), 2], [0.2, 0.3, 0.5], "counts"),
        (3, [0.2, 0.3, 0.5], "counts"),
        ([1, 1, 2], [0.2, 0.3], "shares"),
        ([1, 1, 2], [0.2, 0.3, 0.4], "shares"),
        ([1, 1, 2], [-0.5, 0.5, 1.0], "shares"),
        ([1, 1, 2], [float("nan"), 0.5, 0.5], "shares"),
    ],
)
def test_arguments_outside_their_domain_are_named(counts: object, shares: object, name: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        SrmState.start(ARMS).update(counts, shares)  # type: ignore[arg-type]
    assert raised.value.name == name


@pytest.mark.parametrize("alpha", [0.0, 1.0, float("nan")])
def test_alpha_is_a_probability(alpha: float) -> None:
    with pytest.raises(ArgumentError, match="alpha"):
        SrmState.start(ARMS).result(alpha)


@pytest.mark.parametrize("arms, kappa, name", [((), 1.0, "arms"), (("a", "a"), 1.0, "arms"), (ARMS, 0.0, "kappa")])
def test_a_check_needs_arms_and_a_bet(arms: tuple[str, ...], kappa: float, name: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        SrmState.start(arms, kappa)
    assert raised.value.name == name
