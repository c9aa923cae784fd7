"""Novelty: the right false-alarm rate, a fading effect found with what will remain of it, and no verdict without data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from allocator import ArgumentError, Moments
from allocator.inference.effects import EffectTable, effects_by_period
from allocator.inference.novelty import NoveltyResult, novelty
from allocator.quadrature import FloatArray
from tests.cells import moments_of

DAY = 86_400.0
Shape = Callable[[FloatArray], FloatArray]


def flat(age: FloatArray) -> FloatArray:
    return np.full_like(age, 0.01)


def fading(age: FloatArray) -> FloatArray:
    """A rate of .1 gains 10 %, then 2 %, with four days between."""
    return 0.002 + 0.008 * np.exp(-age / 4)


def followed(rng: np.random.Generator, shape: Shape, shared: float = 0.5, drift: float = 0.0, se: float = 0.002) -> EffectTable:
    """Eight daily cohorts seen daily until day 15; cells of a cohort correlate by `shared`; `drift` a calendar day."""
    cohort, age = (grid.ravel() for grid in np.meshgrid(np.arange(8), np.arange(14), indexing="ij"))
    seen = cohort + age < 15
    cohort, age = cohort[seen], age[seen] + 0.5
    each = se * np.sqrt(1 + age / 5)
    noise = np.sqrt(shared) * rng.normal(size=8)[cohort] + np.sqrt(1 - shared) * rng.normal(size=len(age))
    return EffectTable.of(cohort * DAY, age * DAY, shape(age) + drift * (cohort + age) + each * noise, each)


def sequential(rng: np.random.Generator, shape: Shape, periods: int = 14, se: float = 0.002) -> EffectTable:
    """One cell a day."""
    age = np.arange(periods) + 0.5
    return EffectTable.of(age * DAY, age * DAY, shape(age) + se * rng.normal(size=periods), np.full(periods, se))


def many(runs: int, table: Callable[[np.random.Generator], EffectTable], margin: float | None = None) -> list[NoveltyResult]:
    rng = np.random.default_rng(11)
    return [novelty(table(rng), margin=margin) for _ in range(runs)]


@pytest.mark.parametrize("shared", [0.0, 0.8])
def test_false_alarms_among_followed_cohorts_are_rare_as_promised(shared: float) -> None:
    results = many(600, lambda rng: followed(rng, flat, shared), margin=0.01)
    verdicts = Counter(result.verdict for result in results)
    assert (verdicts["fading"] + verdicts["learning"]) / 600 == pytest.approx(0.05, abs=2 * np.sqrt(0.05 * 0.95 / 600))
    assert verdicts["none"] > 540
    covered = np.mean([result.long_run_interval[0] <= 0.01 <= result.long_run_interval[1] for result in results])
    assert covered >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / 600)
    assert np.mean([result.cohort_p < 0.05 for result in results]) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 600)


def test_false_alarms_of_a_sequence_are_rare_as_promised() -> None:
    verdicts = Counter(result.verdict for result in many(600, lambda rng: sequential(rng, flat), margin=0.01))
    alarms = (verdicts["fading"] + verdicts["learning"]) / 600
    assert 0.01 < alarms < 0.05 + 2 * np.sqrt(0.05 * 0.95 / 600)


TABLES: list[Callable[[np.random.Generator, Shape], EffectTable]] = [
    lambda rng, shape: followed(rng, shape, shared=0.0),
    lambda rng, shape: followed(rng, shape, shared=0.8),
    sequential,
]


@pytest.mark.parametrize("table", TABLES, ids=["independent", "correlated", "sequential"])
def test_a_fading_effect_is_found_with_what_remains_of_it(table: Callable[[np.random.Generator, Shape], EffectTable]) -> None:
    results = many(150, lambda rng: table(rng, fading))
    assert np.mean([result.verdict == "fading" for result in results]) > 0.7
    covered = np.mean([result.long_run_interval[0] <= 0.002 <= result.long_run_interval[1] for result in results])
    assert covered >= 0.95 - 2 * np.sqrt(0.05 * 0.95 / 150)
    naive = np.mean([result.average_interval[0] <= 0.002 <= result.average_interval[1] for result in results])
    assert naive < 0.6  # the average still believes in the first days


def test_an_effect_that_is_learnt_is_told_from_one_that_fades() -> None:
    rng = np.random.default_rng(1)
    table = followed(rng, lambda age: 0.01 - fading(age))
    found = novelty(table)
    assert found.verdict == "learning"
    assert found.change > 0
    assert found.change_interval[0] > 0
    assert novelty(table, "down").verdict == "fading"  # of a metric where less is better
    assert found.long_run_interval[0] < 0.008 < found.long_run_interval[1]
    assert 0 < found.decay_s <= 13 * DAY


def test_exact_decay_is_recovered() -> None:
    age = np.tile(np.arange(12.0), 3)
    cohort = np.repeat(np.arange(3.0), 12)
    tau = 11 / 20 * 20 ** (8 / 15)  # one of those tried
    table = EffectTable.of(cohort, age, 5 + cohort + 3 * np.exp(-age / tau), np.ones(36))
    found = novelty(table)
    assert found.long_run == pytest.approx(6.0, rel=1e-6)
    assert found.decay_s == pytest.approx(tau)
    assert found.cohort_change == pytest.approx(2.0)


def test_drift_in_calendar_time_shows_between_cohorts() -> None:
    found = novelty(followed(np.random.default_rng(2), flat, drift=0.001, se=0.001))
    assert found.verdict == "learning"  # which is what it looks like to each cohort
    assert found.cohort_p < 0.01
    assert found.cohort_change == pytest.approx(0.007, abs=0.003)


def test_without_precision_there_is_no_verdict() -> None:
    noisy = followed(np.random.default_rng(3), flat, se=0.05)
    found = novelty(noisy)
    assert found.verdict == "not enough data"
    assert "could have been missed" in found.reason
    assert found.long_run_interval[0] < 0.01 < found.long_run_interval[1]


def test_a_small_effect_is_none_only_against_a_margin() -> None:
    table = followed(np.random.default_rng(4), lambda age: 0 * age)
    assert novelty(table).verdict == "not enough data"
    assert novelty(table, margin=0.01).verdict == "none"


@pytest.mark.parametrize(
    "cohort, age, effect",
    [
        ([], [], []),
        ([0], [1], [3]),
        ([0, 1, 2, 3], [1, 1, 2, 2], [5, 1, 3, 3]),  # two ages
        ([0, 0, 1], [1, 2, 3], [5, 5, 3]),  # as many parameters as cells
        ([0, 0, 1, 1, 2, 2], [1, 1, 2, 2, 3, 3], [5, 5, 4, 4, 3, 3]),  # no cohort seen at two ages
    ],
)
def test_what_cannot_be_fitted_is_not_enough_data(cohort: list[float], age: list[float], effect: list[float]) -> None:
    found = novelty(EffectTable.of(cohort, age, effect, np.ones(len(age))))
    assert found.verdict == "not enough data"
    assert found.p == 1.0
    if age:
        assert found.long_run == 3.0


def test_moments_by_period_give_a_table() -> None:
    """Ten periods of requests; the arm's rate of .5 gains .2 on the first day, which is gone after three."""
    rng, control, arm = np.random.default_rng(5), [], []
    for day in range(10):
        for out, share, rate in ((control, 0.7, 0.5), (arm, 0.3, 0.5 + 0.2 * np.exp(-day))):
            units = round(20_000 * share)
            out.append(moments_of((rng.random(units) < rate)[:, None], share))
    starts = np.arange(10) * DAY
    table = effects_by_period(control, arm, starts, starts + DAY, 0)
    assert not table.followed
    assert table.age_s.tolist() == (starts + DAY / 2).tolist()
    assert table.effect[0] == pytest.approx(0.2, abs=4 * table.se[0])
    assert table.se[0] == pytest.approx(np.sqrt(0.25 / 14_000 + 0.21 / 6000), rel=0.03)
    found = novelty(table)
    assert found.verdict == "fading"
    assert found.long_run_interval[0] < 0 < found.long_run_interval[1]
    assert any("look the same" in assumption for assumption in found.assumptions)


def test_periods_that_say_nothing_are_left_out() -> None:
    some = moments_of([[0], [100], [50]], 0.5)
    same = moments_of([[7], [7]], 0.5)
    table = effects_by_period([some, Moments.zero(1), same], [some, some, same], [0, 10, 20], [10, 20, 30], 0, 0.01)
    assert table.cohort_s.tolist() == [5.0]
    assert table.effect.tolist() == [0.0]
    assert len(effects_by_period([], [], [], [], 0).effect) == 0


ONE = EffectTable.of([0], [0], [0], [1])


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda: EffectTable.of([0, 1], [0], [0, 1], [1, 1]), "age_s"),
        (lambda: EffectTable.of([0], [0], [float("nan")], [1]), "effect"),
        (lambda: EffectTable.of([0], [0], [0], [0]), "se"),
        (lambda: novelty(ONE, alpha=0), "alpha"),
        (lambda: novelty(ONE, margin=0), "margin"),
        (lambda: effects_by_period([Moments.zero(1)], [], [0], [1], 0), "arm"),
        (lambda: effects_by_period([Moments.zero(1)], [Moments.zero(1)], [], [1], 0), "starts"),
        (lambda: effects_by_period([Moments.zero(1)], [Moments.zero(1)], [0], [1, 2], 0), "ends"),
    ],
)
def test_arguments_outside_their_domain_are_named(call: Callable[[], object], name: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        call()
    assert raised.value.name == name
