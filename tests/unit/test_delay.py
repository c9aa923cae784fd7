"""Pending rewards: the lag's distribution from truncated lags, and rates that are right for young and slow arms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from allocator import ArgumentError
from allocator.delay import (
    PRIOR_LAGS,
    DelayDistribution,
    beta_of_delayed,
    delayed_samples,
    effective_units,
    lag_edges,
)
from allocator.quadrature import FloatArray
from allocator.samples import Samples

WINDOW = 1000.0
EDGES = np.concatenate([[0.0], np.geomspace(2, WINDOW, 24)])
Lags = Callable[[np.random.Generator, int], FloatArray]


def exponential(rng: np.random.Generator, units: int) -> FloatArray:
    return np.minimum(rng.exponential(150.0, units), WINDOW)


def lognormal(rng: np.random.Generator, units: int) -> FloatArray:
    return np.minimum(np.exp(rng.normal(4.0, 1.5, units)), WINDOW)


def two_points(rng: np.random.Generator, units: int) -> FloatArray:
    return np.where(rng.random(units) < 0.6, 1.0, 700.0)


TRAFFIC = [(0, 1000, 40_000), (1000, 1000, 80_000), (2000, 400, 80_000)]
LAGS: list[Lags] = [exponential, lognormal, two_points]


class World:
    """Exposures at `times` in [0, now), and what of their rewards is seen at `now`."""

    def __init__(
        self,
        rng: np.random.Generator,
        lags: Lags,
        rates: FloatArray,
        times: FloatArray,
        now: float,
        period: float,
        edges: FloatArray = EDGES,
    ) -> None:
        lag = lags(rng, len(times))
        seen = (rng.random(len(times)) < rates) & (times + lag <= now)
        periods = int(np.ceil(now / period))
        self.now, self.edges, self.starts = now, edges, np.arange(periods) * period
        self.ends = self.starts + period
        which = (times // period).astype(int)
        self.n = np.bincount(which, minlength=periods)
        self.lags = np.zeros((periods, len(edges) - 1))
        np.add.at(self.lags, (which[seen], np.searchsorted(edges[1:-1], lag[seen], side="left")), 1)
        self.rewards = float(seen.sum())

    def delay(self) -> DelayDistribution:
        return DelayDistribution.estimate(self.lags, self.edges, self.starts, self.ends, self.now)


@pytest.mark.parametrize("lags", LAGS)
@pytest.mark.parametrize("period", [20.0, 1000.0])
def test_the_distribution_is_found_though_long_lags_are_cut_off(lags: Lags, period: float) -> None:
    """After 2.4 windows, traffic and reward rate both growing; the histogram of the lags seen is off."""
    rng = np.random.default_rng(int(period))
    times = np.concatenate([rng.uniform(start, start + long, n) for start, long, n in TRAFFIC])
    world = World(rng, lags, 0.1 + 0.1 * (times // 1000), times, 2400.0, period)
    truth = (lags(rng, 200_000)[:, None] <= EDGES[1:]).mean(axis=0)
    found = world.delay()
    bins = 0.04 if lags is two_points else 0.0  # 700 s is not the middle of its bin, from 587 s to 766 s
    assert found.cdf[1:] == pytest.approx(truth, abs=0.01 + bins)
    assert found.cdf[-1] == 1.0
    assert found.lags == world.rewards
    naive = world.lags.sum(axis=0).cumsum() / world.rewards
    assert np.abs(naive - truth).max() > 0.03


def test_the_product_limit_by_hand() -> None:
    """Three periods of one instant, aged 3, 2 and 1, and bins of one second: Lynden-Bell's estimator of whole risk sets."""
    lags = [[4, 3, 1], [2, 2, 0], [5, 0, 0]]
    found = DelayDistribution.estimate(lags, [0, 1, 2, 3], [0, 1, 2], [0, 1, 2], now=3)
    m = PRIOR_LAGS
    third = 1 - 1 / (8 + m)  # only the oldest could show a lag of 2 to 3: one of its eight
    second = third * (1 - 5 / (7 + 4 + m))
    first = second * (1 - 11 / (11 + m))
    assert found.cdf == pytest.approx([first, second, third, 1.0], rel=1e-12)


def test_without_lags_all_has_arrived() -> None:
    found = DelayDistribution.estimate(np.zeros((2, 3)), [0, 1, 2, 3], [0, 10], [10, 20], now=15)
    assert found.cdf.tolist() == [1.0] * 4
    assert effective_units([[5, 7]], [0, 10], [10, 20], 15, found).tolist() == [12.0]


def test_beyond_the_greatest_age_nothing_is_claimed() -> None:
    found = DelayDistribution.estimate([[30, 20, 0, 0]], [0, 1, 2, 3, 4], [0], [0], now=2)
    assert found.cdf[2:].tolist() == [1.0, 1.0, 1.0]
    assert found.cdf[1] == pytest.approx(1 - 20 / (50 + PRIOR_LAGS))


@pytest.mark.parametrize("lags", LAGS)
@pytest.mark.parametrize("period", [50.0, 1000.0])
def test_a_younger_arm_is_not_punished(lags: Lags, period: float) -> None:
    """Same rate, same lags; `young` came one window later. F is estimated from both together."""
    rng, now, runs, rate = np.random.default_rng(1), 2300.0, 60, 0.2
    fair, naive = np.empty((runs, 2)), np.empty((runs, 2))
    for run in range(runs):
        times = [rng.uniform(0, 2000, 4000), rng.uniform(1000, now, 4000)]
        arms = [World(rng, lags, np.full(4000, rate), t, now, period) for t in times]
        delay = DelayDistribution.estimate(arms[0].lags + arms[1].lags, EDGES, arms[0].starts, arms[0].ends, now)
        rewards, n = np.array([arm.rewards for arm in arms]), np.stack([arm.n for arm in arms])
        fair[run] = rewards / effective_units(n, arms[0].starts, arms[0].ends, now, delay)
        naive[run] = rewards / 4000
    assert naive[:, 1].mean() < rate * 0.95
    assert naive[:, 1].mean() < naive[:, 0].mean()
    error = fair.std(axis=0) / np.sqrt(runs)
    assert np.all(np.abs(fair.mean(axis=0) - rate) < 3 * error + 0.01 * rate)  # bins that are linear within cost a little


def test_a_slower_arm_is_not_punished_when_lags_are_known_by_arm() -> None:
    rng, now, runs = np.random.default_rng(2), 1500.0, 60
    fair, pooled = np.empty((runs, 2)), np.empty((runs, 2))
    for run in range(runs):
        arms = [World(rng, lags, np.full(4000, 0.2), rng.uniform(0, now, 4000), now, 100.0) for lags in (lognormal, two_points)]
        lags, n = np.stack([arm.lags for arm in arms]), np.stack([arm.n for arm in arms])
        rewards = np.array([arm.rewards for arm in arms])
        for out, h in ((fair, lags), (pooled, lags.sum(axis=0))):
            delay = DelayDistribution.estimate(h, EDGES, arms[0].starts, arms[0].ends, now)
            out[run] = rewards / effective_units(n, arms[0].starts, arms[0].ends, now, delay)
    error = fair.std(axis=0) / np.sqrt(runs)
    assert np.all(np.abs(fair.mean(axis=0) - 0.2) < 3 * error + 0.002)
    assert pooled.mean(axis=0) @ [1, -1] > 0.02  # one F for both still favours the quick one


def test_the_edges_offered_are_fine_enough_for_smooth_lags() -> None:
    rng, edges = np.random.default_rng(5), lag_edges(WINDOW)
    for lags in (exponential, lognormal):
        times = rng.uniform(0, 2400, 200_000)
        world = World(rng, lags, np.full(200_000, 0.2), times, 2400.0, 100.0, edges)
        truth = (lags(rng, 200_000)[:, None] <= edges[1:]).mean(axis=0)
        assert world.delay().cdf[1:] == pytest.approx(truth, abs=0.01)
        fair = world.rewards / effective_units([world.n], world.starts, world.ends, world.now, world.delay())
        assert fair[0] == pytest.approx(0.2, rel=0.015)


def moving(period: float, runs: int = 40) -> tuple[FloatArray, FloatArray]:
    """Relative bias of two equal arms of which the second's share goes from .1 to .9, with delays and naively."""
    rng, now, rate = np.random.default_rng(3), 900.0, 0.2
    fair, naive = np.empty((runs, 2)), np.empty((runs, 2))
    for run in range(runs):
        times = rng.uniform(0, now, 20_000)
        second = rng.random(20_000) < 0.1 + 0.8 * times / now
        arms = [World(rng, exponential, np.full(len(t), rate), t, now, period) for t in (times[~second], times[second])]
        delay = DelayDistribution.estimate(arms[0].lags + arms[1].lags, EDGES, arms[0].starts, arms[0].ends, now)
        rewards, n = np.array([arm.rewards for arm in arms]), np.stack([arm.n for arm in arms])
        fair[run] = rewards / effective_units(n, arms[0].starts, arms[0].ends, now, delay)
        naive[run] = rewards / n.sum(axis=1)
    return fair.mean(axis=0) / rate - 1, naive.mean(axis=0) / rate - 1


def test_arms_are_fair_while_shares_move_if_periods_are_an_eighth_of_the_window() -> None:
    fair, naive = moving(WINDOW / 8)
    assert fair == pytest.approx([0, 0], abs=0.02)
    assert naive @ [1, -1] > 0.1  # the arm favoured last has most that is pending


def test_periods_as_long_as_the_window_are_too_long_while_shares_move() -> None:
    fair, _ = moving(WINDOW)
    assert fair @ [1, -1] > 0.1


def test_mature_periods_may_be_put_together() -> None:
    """What is older than the window is one row, however it was divided."""
    rng, now = np.random.default_rng(4), 4300.0
    world = World(rng, exponential, np.full(20_000, 0.2), rng.uniform(0, now, 20_000), now, 100.0)
    apart, old = world.delay(), world.ends <= now - WINDOW
    lags = np.concatenate([world.lags[old].sum(axis=0, keepdims=True), world.lags[~old]])
    starts, ends = (np.concatenate([[at], v[~old]]) for at, v in ((0, world.starts), (now - WINDOW, world.ends)))
    together = DelayDistribution.estimate(lags, EDGES, starts, ends, now)
    assert together.cdf == pytest.approx(apart.cdf, rel=1e-12)
    n = np.concatenate([[world.n[old].sum()], world.n[~old]])
    assert effective_units([n], starts, ends, now, together) == pytest.approx(
        effective_units([world.n], world.starts, world.ends, now, apart), rel=1e-12
    )


def test_once_all_is_mature_it_is_the_naive_rate() -> None:
    delay = DelayDistribution.known([0, 1, 10], [0.1, 0.7, 1.0])
    found = effective_units([[3, 5], [2, 0]], [0.1, 20], [20, 40.7], 50.7, delay)
    assert found.tolist() == [8.0, 2.0]


PERIODS = [(0, 100, 130), (0, 100, 60), (0, 30, 31), (50, 50, 57), (0, 1e-9, 4), (10, 20, 5), (0, 1e7, 2e6)]


@pytest.mark.parametrize("start, end, now", PERIODS)
def test_a_period_counts_as_the_mean_over_its_exposures(start: float, end: float, now: float) -> None:
    delay = DelayDistribution.known([0, 3, 10, 60], [0.2, 0.5, 0.6, 1.0])
    ages = np.maximum(now - np.linspace(start, max(min(end, now), start), 400_001), 0.0)
    found = float(delay.arrived([start], [end], now)[0])
    assert found == pytest.approx(float(delay.at(ages).mean()), abs=2e-5)


def test_the_age_of_one_instant() -> None:
    delay = DelayDistribution.known([0, 3, 10], [0.2, 0.5, 1.0])
    assert delay.at([-1.0, 0.0, 1.5, 3.0, 6.5, 10.0, 99.0]).tolist() == pytest.approx([0, 0.2, 0.35, 0.5, 0.75, 1, 1])


def test_each_arm_may_have_its_own_distribution() -> None:
    delay = DelayDistribution.known([0, 10], [[0.0, 1.0], [0.5, 1.0]])
    assert effective_units([[4], [4]], [0], [0], 5, delay).tolist() == [2.0, 3.0]
    assert delay.at([5.0]).tolist() == [[0.5], [0.75]]
    assert len(delay.assumptions) == 5
    assert "nor on the arm" not in delay.assumptions[0]


@pytest.mark.parametrize("s, n, effective", [(0, 10, 4.0), (3, 40, 25.0), (45, 100, 50.0), (50, 100, 50.0), (300, 1000, 600.0)])
def test_the_beta_has_the_moments_of_the_cut_off_posterior(s: int, n: int, effective: float) -> None:
    p = np.linspace(0, 1, 200_001)[1:-1]
    log = s * np.log(p) + (n - s) * np.log1p(-p * effective / n)
    density = np.exp(log - log.max())
    mean = (p * density).sum() / density.sum()
    variance = ((p - mean) ** 2 * density).sum() / density.sum()
    a, b = beta_of_delayed([s], [n], [effective])
    found = stats.beta(a[0], b[0])
    assert found.mean() == pytest.approx(mean, rel=1e-4)
    assert found.var() == pytest.approx(variance, rel=1e-3)


def test_mature_betas_are_the_usual_ones() -> None:
    a, b = beta_of_delayed([3, 0, 10**11], [10, 0, 10**12], [10, 0, 10**12])
    assert a.tolist() == [4, 1, 10**11 + 1]
    assert b.tolist() == [8, 1, 9 * 10**11 + 1]


def test_the_beta_of_a_small_rate_counts_effective_failures() -> None:
    a, b = beta_of_delayed([100], [100_000], [50_000])
    assert a[0] == pytest.approx(101, rel=2e-3)
    assert b[0] == pytest.approx(49_901, rel=2e-3)


def test_more_successes_than_can_be_mean_a_high_rate() -> None:
    a, b = beta_of_delayed([900, 5], [1000, 10], [10.0, 0.0])
    assert np.all(np.isfinite(a) & np.isfinite(b) & (a > b) & (b > 0))


@pytest.mark.parametrize("s, n, effective", [(3, 40, 25.0), (45, 100, 50.0), (300, 1000, 600.0)])
def test_samples_of_a_rate_make_the_beta(s: int, n: int, effective: float) -> None:
    units, successes = np.array([n, 10.0]), np.array([s, 2.0])
    found = delayed_samples(Samples(units, successes, np.array([5.0, 1.6])), [effective, 10.0], binary=True)
    a, b = beta_of_delayed(successes, units, [effective, 10.0])
    assert found.total + 1 == pytest.approx(a, rel=1e-12)
    assert found.n - found.total + 1 == pytest.approx(b, rel=1e-12)
    assert (found.n[1], found.total[1], found.squares[1]) == (10.0, 2.0, 1.6)  # nothing is pending: to the last bit


def test_samples_of_values_have_the_mean_and_the_error_of_what_arrived() -> None:
    """95 % intervals of two arms, half of one's rewards pending, cover a mean of 3 in 95 % of 2000 runs."""
    rng, runs, n, share = np.random.default_rng(6), 2000, 400, np.array([0.5, 0.9])
    y = rng.gamma(2.0, 1.5, size=(runs, 2, n)) * (rng.random((runs, 2, n)) < share[:, None])
    covered = np.zeros(2)
    for of_run in y:
        mean = of_run.mean()
        squares = ((of_run - of_run.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
        samples = Samples(np.full(2, float(n)), (of_run - mean).sum(axis=1), squares, mean)
        found = delayed_samples(samples, share * n, binary=False)
        assert found.origin == 0.0
        error = np.sqrt(found.squares) / found.n
        covered += np.abs(found.total / found.n - 3.0) < 1.96 * error
    assert covered / runs == pytest.approx([0.95, 0.95], abs=0.02)


@pytest.mark.parametrize("binary", [True, False])
def test_samples_of_nothing(binary: bool) -> None:
    zero = np.zeros(2)
    found = delayed_samples(Samples(np.array([0.0, 7.0]), zero, zero), [0.0, 0.0], binary=binary)
    assert found.n.tolist() == [0.0, 0.0]
    assert found.total.tolist() == [0.0, 0.0]
    assert found.squares.tolist() == [0.0, 0.0]


def test_edges_for_lags() -> None:
    found = lag_edges(86_400.0)
    assert found[[0, -1]].tolist() == [0.0, 86_400.0]
    assert len(found) == 28
    assert found[1] == pytest.approx(86_400 / 2**13)
    assert found[2:] / found[1:-1] == pytest.approx(np.full(26, np.sqrt(2)))


NONE = Samples(np.zeros(1), np.zeros(1), np.zeros(1))
ONE = DelayDistribution.known([0, 10], [0.0, 1.0])


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: DelayDistribution.known([1, 2], [0, 1]), "edges"),
        (lambda: DelayDistribution.known([0, 2, 2], [0, 0.5, 1]), "edges"),
        (lambda: DelayDistribution.known([0], [1]), "edges"),
        (lambda: DelayDistribution.known([0, float("inf")], [0, 1]), "edges"),
        (lambda: DelayDistribution.known([0, 1], [0, 0.9]), "cdf"),
        (lambda: DelayDistribution.known([0, 1, 2], [0.5, 0.4, 1]), "cdf"),
        (lambda: DelayDistribution.known([0, 1], [-0.1, 1]), "cdf"),
        (lambda: DelayDistribution.known([0, 1], [0, 0.5, 1]), "cdf"),
        (lambda: DelayDistribution.estimate([[1, 2]], [0, 1], [0], [1], 2), "lags"),
        (lambda: DelayDistribution.estimate([[-1]], [0, 1], [0], [1], 2), "lags"),
        (lambda: DelayDistribution.estimate([[float("nan")]], [0, 1], [0], [1], 2), "lags"),
        (lambda: effective_units([[1]], [0], [-1], 5, ONE), "ends"),
        (lambda: effective_units([[1]], [0], [1, 2], 5, ONE), "ends"),
        (lambda: effective_units([1], [0], [1], 5, ONE), "n"),
        (lambda: effective_units([[1, 2]], [0], [1], 5, ONE), "n"),
        (lambda: effective_units([[1]], [0], [1], 5, DelayDistribution.known([0, 1], [[0, 1], [0, 1]])), "n"),
        (lambda: beta_of_delayed([3], [2], [1]), "successes"),
        (lambda: beta_of_delayed([1], [2], [3]), "effective_n"),
        (lambda: delayed_samples(NONE, [0.0, 0.0], binary=True), "effective_n"),
        (lambda: delayed_samples(NONE, [1.0], binary=False), "effective_n"),
        (lambda: lag_edges(0.0), "window_s"),
        (lambda: lag_edges(float("inf")), "window_s"),
        (lambda: lag_edges(1.0, 0), "bins"),
    ],
)
def test_arguments_outside_their_domain_are_named(call: Callable[[], object], name: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        call()
    assert raised.value.name == name


def test_an_arm_with_few_lags_follows_all_arms_and_one_with_many_its_own() -> None:
    edges, at = [0, 1, 2, 3], ([0.0], [10.0], 100.0)
    quick, slow = [[5000, 5000, 0]], [[0, 5000, 5000]]
    found = DelayDistribution.by_arm([quick, slow, [[0, 0, 1]]], edges, *at)
    assert found.cdf[0] == pytest.approx([0.5, 0.5, 1, 1], abs=0.01)
    assert found.cdf[1] == pytest.approx([0, 0, 0.5, 1], abs=0.01)
    together = DelayDistribution.estimate(np.sum([quick, slow], axis=0), edges, *at)
    assert found.cdf[2, 1:3] == pytest.approx(together.cdf[1:3], abs=0.2)
    assert found.cdf[2, 0] == found.cdf[2, 1], "a first bin is as good as at once"
    with pytest.raises(ArgumentError, match="arms, periods, bins"):
        DelayDistribution.by_arm(quick, edges, *at)
