"""Every e-process has expectation at most 1 under its hypothesis, exactly, whatever the allocation learns.

Four units with binary rewards and an allocation that depends on the last unit have 4^4 histories. The expectation over them is a
sum, not a simulation.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from allocator.inference import bernoulli, empirical_bernstein
from allocator.inference.period_sums import PeriodSums
from allocator.inference.pseudo_outcomes import Contrast
from allocator.quadrature import FloatArray

UNITS = 4
LEAST = 0.1
HISTORIES = np.array(list(itertools.product(range(4), repeat=UNITS)))
ARM, REWARD = HISTORIES // 2, (HISTORIES % 2).astype(float)
shares = st.floats(LEAST, 1 - LEAST)


@dataclass(frozen=True)
class Rule:
    """Rates of each arm at each unit; the share of arm 1 at first, and after each (arm, reward)."""

    rates: list[list[float]]
    first: float
    after: list[float]

    def propensities(self) -> FloatArray:
        """Of the arm that each unit of each history got."""
        of_arm_1 = np.concatenate([np.full((len(HISTORIES), 1), self.first), np.array(self.after)[HISTORIES[:, :-1]]], axis=1)
        return np.where(ARM == 1, of_arm_1, 1 - of_arm_1)

    def rates_met(self) -> FloatArray:
        return np.array(self.rates)[np.arange(UNITS), ARM]

    def probabilities(self) -> FloatArray:
        rate = self.rates_met()
        return np.asarray((self.propensities() * np.where(REWARD == 1, rate, 1 - rate)).prod(axis=1))


rates = st.one_of(st.sampled_from([0.0, 1.0, 0.5]), st.floats(1e-6, 1 - 1e-6))
drifting = st.builds(
    Rule,
    st.lists(st.lists(rates, min_size=2, max_size=2), min_size=UNITS, max_size=UNITS),
    shares,
    st.lists(shares, min_size=4, max_size=4),
)
steady = st.builds(
    Rule,
    st.lists(rates, min_size=2, max_size=2).map(lambda pair: [pair] * UNITS),
    shares,
    st.lists(shares, min_size=4, max_size=4),
)
periods = st.sampled_from([(1, 1, 1, 1), (2, 2), (1, 3), (4,)])


def sums_of(rule: Rule, lengths: tuple[int, ...]) -> PeriodSums:
    """Shape (histories, periods, 2)."""
    w = 1 / rule.propensities()
    starts = np.cumsum((0, *lengths[:-1]))

    def summed(values: FloatArray) -> FloatArray:
        by_arm = np.stack([np.where(arm == ARM, values, 0.0) for arm in (0, 1)], axis=2)
        return np.asarray(np.add.reduceat(by_arm, starts, axis=1))

    y = REWARD
    values = (np.ones_like(y), y, y * y, w, w * w, w * y, w * w * y, w * w * y * y)
    return PeriodSums(*map(summed, values), present=np.ones(2, dtype=bool))


def at_most_one(rule: Rule, log_e: FloatArray) -> bool:
    """`log_e` has shape (histories, looks, columns)."""
    return bool(np.all(np.einsum("h,hlc->lc", rule.probabilities(), np.exp(log_e)) <= 1 + 1e-9))


@given(drifting, periods, st.sampled_from([None, LEAST]), st.sampled_from([Contrast(), Contrast(0), Contrast.of_control(0)]))
def test_pseudo_outcomes_under_drift(rule: Rule, lengths: tuple[int, ...], least: float | None, contrast: Contrast) -> None:
    found = empirical_bernstein.of_contrast(sums_of(rule, lengths), contrast, least)
    means = np.cumsum(np.array(rule.rates), axis=0) / np.arange(1, UNITS + 1)[:, None]
    truth = contrast.signed(means[np.cumsum(lengths) - 1])
    assert at_most_one(rule, found.log_e(truth))
    for side, sign in ((found.above, 1), (found.below, -1)):
        for kind in side:
            assert at_most_one(rule, kind.log_e(sign * truth))


@given(steady, periods)
def test_own_units(rule: Rule, lengths: tuple[int, ...]) -> None:
    found = empirical_bernstein.of_own_units(sums_of(rule, lengths))
    assert at_most_one(rule, found.log_e(np.array(rule.rates[0])))


@given(steady)
def test_beta_mixtures(rule: Rule) -> None:
    sums = sums_of(rule, (1,) * UNITS)
    s, f = np.cumsum(sums.y, axis=1), np.cumsum(sums.n - sums.y, axis=1)
    each = bernoulli.log_e(s, f, np.array(rule.rates[0]))
    possible = rule.probabilities() > 0  # what cannot happen refutes a rate of 0 or 1
    each = np.where(possible[:, None, None], each, 0.0)
    assert at_most_one(rule, each)
    assert at_most_one(rule, each.sum(axis=2, keepdims=True))


@given(shares, st.lists(shares, min_size=4, max_size=4), rates)
def test_equal_rates(first: float, after: list[float], rate: float) -> None:
    rule = Rule([[rate, rate]] * UNITS, first, after)
    sums = sums_of(rule, (1,) * UNITS)
    s, f = np.cumsum(sums.y, axis=1), np.cumsum(sums.n - sums.y, axis=1)
    assert at_most_one(rule, bernoulli.log_e_equal(s[..., :1], f[..., :1], s[..., 1:], f[..., 1:]))


def test_the_enumeration_would_notice_a_scale_that_is_too_small() -> None:
    """Steps of -w m reach -5 here; a mixture that believes they end at -1 gains on average."""
    rule = Rule([[0.9, 0.9]] * UNITS, 0.2, [0.2] * 4)
    above, _ = empirical_bernstein.augmented(sums_of(rule, (1,) * UNITS), Contrast(), LEAST, 1.0)
    truth = np.array([0.9, 0.9])
    assert at_most_one(rule, above.log_e(truth))
    assert not at_most_one(rule, empirical_bernstein.Evidence(above.n, above.total, above.squares, 1.0, 1.0).log_e(truth))
