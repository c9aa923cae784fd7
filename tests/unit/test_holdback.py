"""The long-run effect of allocating: by hand on small numbers, against the truth on simulated ones."""

from __future__ import annotations

from math import inf, isnan, sqrt
from typing import Any

import msgspec
import numpy as np
import pytest

from allocator import Experiment, load_experiment
from allocator.errors import ArgumentError
from allocator.holdback import Cohorts, HoldbackEffect, holdback_effect
from allocator.moments import Moments, layout_of
from streams.allocate.totals import Totals
from streams.cli.holdback import holdback_comment
from streams.holdback import read_holdback
from streams.records import Cell, Partial

LATE = 1e9


def experiment(**changes: Any) -> Experiment:
    fields = {
        "experiment": "chat",
        "arms": ["a", "b"],
        "metrics": {"good": "binary", "revenue": {"type": "value", "resolution": 0.01, "window": "1h"}},
        "objective": "good",
        "holdback": 0.1,
        "period": "1h",
        "grace": "1h",
    }
    return load_experiment({**fields, **changes})


def cohort(good: Any, revenue: Any, weight: int = 10**6) -> Moments:
    """Units with these values of both metrics, revenue in cents, all of one weight: what it is must not matter."""
    layout, y = layout_of(2), np.array([good, revenue], dtype=np.int64)
    n, s, square = y.shape[1], [int(x) for x in y.sum(axis=1)], y @ y.T
    sums = layout.empty()
    layout.enter(sums, weight, n)
    for j in range(2):
        sums[1 + j], sums[layout.wy + j], sums[layout.w2y + j] = s[j], weight * s[j], weight**2 * s[j]
        sums[layout.w2y2 + j] = weight**2 * int(square[j, j])
        for k in range(2):
            sums[layout.cross[j][k]] = int(square[j, k])
    return Moments(2, tuple(sums))


def simulated(rng: np.random.Generator, lifts: list[float], shares: list[float], units: int) -> Cohorts:
    """A base rate that moves by period, `lifts` of the allocated, and a share held back that changes too."""
    allocated, held_back = {}, {}
    for p, (lift, share) in enumerate(zip(lifts, shares, strict=True)):
        held = int(rng.binomial(units, share))
        base = 0.2 + 0.1 * (p % 3)
        for found, n, rate in ((allocated, units - held, base + lift), (held_back, held, base)):
            good = rng.random(n) < rate
            found[p] = cohort(
                good, rng.normal(500 + 1000 * lift * (found is allocated), 200, n).round(), int(rng.integers(10**6, 10**7))
            )
    return Cohorts(allocated, held_back)


def test_one_period_by_hand() -> None:
    cohorts = Cohorts({3: cohort([1, 1, 1, 0], [0] * 4)}, {3: cohort([1, 0], [0, 0])})
    found = holdback_effect(experiment(), "good", cohorts, LATE)
    assert found.effect.estimate == pytest.approx(0.25)
    assert (found.allocated, found.held_back, found.gain) == (4, 2, pytest.approx(1.0))
    assert (found.effect.low, found.effect.high, found.gain_low, found.gain_high) == (-inf, inf, -inf, inf)
    assert "100 are demanded" in found.effect.refusal
    [period] = found.periods
    assert (period.start, period.allocated, period.held_back, period.effect) == (3 * 3600.0, 4, 2, pytest.approx(0.25))
    assert period.se == pytest.approx(sqrt((1 / 4) / 4 + (1 / 2) / 2))


def test_periods_weigh_as_their_units() -> None:
    cohorts = Cohorts(
        {0: cohort([1] * 3, [0] * 3), 1: cohort([1, 0, 0, 0, 0, 0], [0] * 6)},
        {0: cohort([0], [0]), 1: cohort([0, 1], [0] * 2)},
    )
    found = holdback_effect(experiment(), "good", cohorts, LATE)
    assert found.effect.estimate == pytest.approx((4 * 1.0 + 8 * (1 / 6 - 1 / 2)) / 12, abs=1e-6)
    assert isnan(found.periods[0].se)


def test_another_share_held_back_in_another_period_is_no_effect() -> None:
    """Means of everything would say that the allocated do better: they are fewer where everybody does badly."""
    high, low = [1] * 9 + [0], [0] * 9 + [1]
    cohorts = Cohorts(
        {0: cohort(high * 9, [0] * 90), 1: cohort(low, [0] * 10)}, {0: cohort(high, [0] * 10), 1: cohort(low * 9, [0] * 90)}
    )
    assert holdback_effect(experiment(), "good", cohorts, LATE).effect.estimate == pytest.approx(0.0, abs=1e-9)


def test_only_periods_whose_rewards_are_all_in_count() -> None:
    cohorts = Cohorts({p: cohort([1], [100]) for p in range(4)}, {p: cohort([0], [0]) for p in range(4)})
    spec = experiment()
    of_revenue = [holdback_effect(spec, "revenue", cohorts, 3600.0 * hours).allocated for hours in (2, 3, 4.5, 6, 100)]
    assert of_revenue == [0, 1, 2, 4, 4]  # an hour's window and an hour's grace after the period
    none = holdback_effect(spec, "good", cohorts, 3600.0)
    assert none.effect.refusal == "no period with units held back has all its rewards in"
    assert (none.periods, isnan(none.gain), none.gain_low, none.gain_high) == ((), True, -inf, inf)


def test_a_period_without_one_of_the_cohorts_is_left_out() -> None:
    cohorts = Cohorts(
        {0: cohort([1], [0]), 1: cohort([1], [0]), 2: Moments.zero(2)},
        {1: cohort([0], [0]), 2: cohort([0], [0]), 3: cohort([0], [0])},
    )
    found = holdback_effect(experiment(), "good", cohorts, LATE)
    assert [period.start for period in found.periods] == [3600.0]
    assert (found.allocated, found.held_back) == (1, 1)
    assert cohorts.units == (2, 3)


@pytest.mark.parametrize("metric,truth", [("good", 0.06), ("revenue", 0.6)])
def test_the_truth_is_covered_while_base_effect_and_holdback_move(metric: str, truth: float) -> None:
    """200 runs: the interval at the end misses the mean effect in at most 5 % of them, and is of use."""
    rng = np.random.default_rng(6)
    lifts, shares = [0.0, 0.06, 0.12], [0.3, 0.1, 0.05]
    found = [holdback_effect(experiment(), metric, simulated(rng, lifts, shares, 2000), LATE) for _ in range(200)]
    assert mean_of(found) == pytest.approx(truth, abs=0.2 * truth)
    assert sum(not each.effect.low <= truth <= each.effect.high for each in found) <= 10
    widths = [each.effect.high - each.effect.low for each in found]
    assert max(widths) < 4 * truth
    for each in found[:3]:
        assert each.gain == pytest.approx(each.effect.estimate * each.allocated)
        assert each.gain_low == pytest.approx(each.effect.low * each.allocated)


def mean_of(found: list[HoldbackEffect]) -> float:
    return float(np.mean([each.effect.estimate for each in found]))


def test_what_it_rests_on_is_said() -> None:
    found = holdback_effect(experiment(), "good", Cohorts({0: cohort([1], [0])}, {0: cohort([0], [0])}), LATE)
    assert (found.effect.metric, found.effect.arm, found.effect.against) == ("good", "as allocated", "held back")
    assert "by the period's units" in found.effect.method.replace("weighted ", "")
    assert found.effect.anytime
    assert any("hash that knows nothing" in each for each in found.effect.assumptions)
    assert found.gain_assumptions
    with pytest.raises(ArgumentError, match="one of good, revenue"):
        holdback_effect(experiment(), "goods", Cohorts({}, {}), LATE)


def test_only_what_every_unit_counts_in_has_an_effect() -> None:
    metrics = {"good": "binary", "latency": {"type": "value", "missing": "excluded"}, "oec": {"sum": {"good": 1}}}
    tree = experiment(metrics=metrics, objective="oec")
    assert isnan(holdback_effect(tree, "good", Cohorts({}, {}), LATE).effect.estimate)
    for name in ("latency", "oec"):
        with pytest.raises(ArgumentError, match="an observed metric whose missing units count as zero"):
            holdback_effect(tree, name, Cohorts({}, {}), LATE)


# -- as it is shown --------------------------------------------------------------------------------------------------------------


def partials(period: int, allocated: Moments, held_back: Moments) -> list[Partial]:
    cells = [Cell("", "b", False, list(allocated.sums)), Cell("", "a", True, list(held_back.sums))]
    return [Partial(experiment="chat", partition=0, period=period, seq=1, cell=cell) for cell in cells]


def test_the_state_is_what_json_can_say() -> None:
    totals = Totals()
    assert read_holdback(experiment(holdback=0), totals, LATE) is None
    empty = read_holdback(experiment(), totals, LATE)
    assert empty is not None
    assert (empty.allocated, empty.held_back, list(empty.metrics)) == (0, 0, ["good", "revenue"])
    assert (empty.metrics["good"].effect, empty.metrics["good"].interval, empty.metrics["good"].gain) == (None, None, None)
    rng = np.random.default_rng(1)
    cohorts = simulated(rng, [0.1, 0.1], [0.2, 0.2], 5000)
    for p in cohorts.allocated:
        for partial in partials(p, cohorts.allocated[p], cohorts.held_back[p]):
            totals.replace(partial)
    found = read_holdback(experiment(holdback=0), totals, LATE)  # nobody is held back any more, and what was counted stays
    assert found is not None
    assert (found.allocated, found.held_back) == cohorts.units
    good = msgspec.json.decode(msgspec.json.encode(found))["metrics"]["good"]
    assert good["interval"][0] < good["effect"] < good["interval"][1]
    assert good["gain"] == pytest.approx(good["effect"] * good["allocated"])
    assert [period["allocated"] for period in good["periods"]] == [m.n for m in cohorts.allocated.values()]
    lines = holdback_comment(experiment(), found)
    assert lines[0] == f"# holdback: {found.held_back} units held back on a, {found.allocated} allocated"
    assert lines[1].startswith("#   good: +0.")
    assert (
        holdback_comment(experiment(), empty)[1]
        == "#   good: no effect to tell yet: no period with units held back has all its rewards in"
    )
    assert holdback_comment(experiment(), None) == []
