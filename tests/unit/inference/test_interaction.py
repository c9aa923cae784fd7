"""Effects and best arms by segment: silent under no difference, loud under one, and honest about pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from allocator.errors import ArgumentError
from allocator.experiment import Metric
from allocator.inference import Observations, differences
from allocator.inference.interaction import Interaction, interaction
from allocator.moments import Moments
from allocator.spec import load_experiment
from tests.many_units import evidence_of_units
from tests.trained import sums_of

Rates = Mapping[str, Sequence[float]]
"""Segment → rate of every arm."""
BINARY = Metric(type="binary", resolution=1.0)


def drawn(
    rng: np.random.Generator, rates: Rates, units: int, periods: int = 10, shares: Mapping[str, float] | None = None
) -> dict[str, Observations]:
    """`units` a segment and period; the first arm gets the segment's share, the others the rest evenly."""
    found = {}
    for name, row in rates.items():
        arms = [chr(ord("a") + k) for k in range(len(row))]
        first = (shares or {}).get(name, 1 / len(row))
        p = [first] + [(1 - first) / (len(row) - 1)] * (len(row) - 1)
        cells = []
        for _ in range(periods):
            n = rng.multinomial(units, p)
            cells.append(
                {
                    arm: Moments(1, tuple(sums_of(int(n[k]), [int(rng.binomial(n[k], row[k]))], weight=1 / p[k])))
                    for k, arm in enumerate(arms)
                }
            )
        found[name] = Observations(BINARY, 0, tuple(arms), cells, name="clicks")
    return found


def asked(seed: int, rates: Rates, units: int = 400, **options: float) -> Interaction:
    return interaction(drawn(np.random.default_rng(seed), rates, units), "a", **options)  # type: ignore[arg-type]


def test_no_difference_raises_few_false_alarms():
    """Equal effects in four segments of unequal rates, weights that differ by segment, a look after every period."""
    rates = {"w": (0.1, 0.15, 0.1), "x": (0.3, 0.35, 0.3), "y": (0.2, 0.25, 0.2), "z": (0.5, 0.55, 0.5)}
    alarms = crossings = 0
    rng = np.random.default_rng(11)
    for _ in range(60):
        segments = drawn(rng, rates, 500, 6, {"w": 0.6, "z": 0.2})
        looks = [
            interaction({name: replace(each, periods=each.periods[:end]) for name, each in segments.items()}, "a")
            for end in range(1, 7)
        ]
        alarms += any(look.effects_differ for look in looks)
        crossings += any(look.best_differs for look in looks)
    assert alarms <= 3
    assert crossings == 0


def test_a_best_arm_that_differs_is_found_and_named():
    found = asked(1, {"heavy": (0.2, 0.3), "light": (0.2, 0.1)})
    assert found.effects_differ
    assert found.best_differs
    assert found.best == {"heavy": "b", "light": "a"}
    (contrast,) = found.contrasts  # two segments: one contrast an arm
    assert (contrast.segment, contrast.elsewhere, contrast.arm) == ("heavy", "light", "b")
    assert contrast.estimate.low < 0.2 < contrast.estimate.high
    (crossing,) = (x for x in found.crossings if x.proven)
    assert found.reason == f"the best arm differs: {crossing.arm} in {crossing.segment}, {crossing.instead_of} elsewhere"


def test_an_effect_that_differs_in_size_is_no_other_best_arm():
    found = asked(2, {"x": (0.2, 0.45), "y": (0.2, 0.25), "z": (0.2, 0.25)})
    assert found.effects_differ
    assert not found.best_differs
    assert set(found.best.values()) == {"b"}
    assert found.reason.startswith("effects differ, the best arm is not proven to: b has +0.2")
    assert " in x, " in found.reason
    assert [(x.segment, x.elsewhere) for x in found.contrasts] == [("x", "rest"), ("y", "rest"), ("z", "rest")]


def test_down_turns_the_best_arm():
    found = asked(1, {"heavy": (0.2, 0.3), "light": (0.2, 0.1)}, direction="down")
    assert found.best == {"heavy": "a", "light": "b"}
    assert found.best_differs


def test_the_interval_excludes_0_where_p_says_so():
    for seed in range(20):
        for x in asked(seed, {"x": (0.2, 0.2), "y": (0.2, 0.255), "z": (0.3, 0.3)}).contrasts:
            assert (x.estimate.low > 0 or x.estimate.high < 0) == (x.estimate.p_value <= 0.05)  # type: ignore[operator]
            assert x.estimate.estimate == pytest.approx(x.effect - x.effect_elsewhere)


def test_allocation_that_differs_by_segment_does_no_harm():
    """The rest is pooled over segments by importance weights: raw means would see an effect that is not there."""
    rates = {"x": (0.1, 0.1), "y": (0.5, 0.5), "z": (0.3, 0.3)}
    segments = drawn(np.random.default_rng(5), rates, 2000, 10, {"x": 0.9, "y": 0.1})
    found = interaction(segments, "a")
    assert not found.effects_differ
    for x in found.contrasts:
        assert x.estimate.low < 0 < x.estimate.high
        assert abs(x.effect_elsewhere) < 0.05


def test_few_units_say_nothing():
    found = asked(1, {"x": (0.2, 0.9), "y": (0.9, 0.2)}, units=5)
    assert found.reason == "too few units by segment to tell"
    assert found.best == {"x": None, "y": None}
    assert all(x.estimate.refusal and x.estimate.p_value == 1.0 for x in found.contrasts)


def test_arguments():
    segments = drawn(np.random.default_rng(0), {"x": (0.1, 0.1), "y": (0.1, 0.1)}, 50)
    with pytest.raises(ArgumentError, match="at least two segments"):
        interaction({"x": segments["x"]}, "a")
    with pytest.raises(ArgumentError, match="control"):
        interaction(segments, "nobody")
    with pytest.raises(ArgumentError, match="periods of every other segment"):
        interaction({**segments, "y": replace(segments["y"], periods=segments["y"].periods[1:])}, "a")


def test_a_metric_made_of_others_is_read_as_it_is_made():
    """Twice a metric has twice its contrasts and the same evidence; a ratio has in every segment the effects of `differences`."""
    metrics = {"clicks": "binary", "cost": "value", "twice": {"sum": {"clicks": 2}}, "rate": {"ratio": ["clicks", "cost"]}}
    experiment = load_experiment({"experiment": "e", "arms": ["a", "b"], "metrics": metrics, "objective": "clicks"})
    rng, evidence = np.random.default_rng(3), {}
    for name, rates in {"x": (0.1, 0.3), "y": (0.3, 0.3), "z": (0.3, 0.35)}.items():
        periods = {}
        for period in range(6):
            clicks = {arm: rng.random((400, 1)) < rate for arm, rate in zip("ab", rates, strict=True)}
            periods[period] = {arm: (0.5, np.hstack([y, rng.gamma(4, 0.25, (400, 1))])) for arm, y in clicks.items()}
        evidence[name] = evidence_of_units(experiment, periods)

    def of(metric: str) -> tuple[dict[str, Observations], Interaction]:
        each = {name: Observations.of(experiment, metric, found, None) for name, found in evidence.items()}
        return each, interaction(each, "a")

    (_, once), (_, twice), (rates_of, rate) = of("clicks"), of("twice"), of("rate")
    assert once.effects_differ
    for one, other in zip(once.contrasts, twice.contrasts, strict=True):
        assert other.estimate.estimate == pytest.approx(2 * one.estimate.estimate)
        assert other.estimate.low == pytest.approx(2 * one.estimate.low)
        assert other.estimate.e_value == pytest.approx(one.estimate.e_value)
        assert other.discovered == one.discovered
    for contrast in rate.contrasts:
        (expected,) = differences(rates_of[contrast.segment], "a")
        assert contrast.effect == pytest.approx(expected.estimate)
        assert contrast.effect_elsewhere == pytest.approx(contrast.effect - contrast.estimate.estimate)
    assert rate.effects_differ
