"""The simulator as an answer to "by when is the right arm in front": its world, its horizons, and that it is the same runs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from allocator.errors import ArgumentError
from allocator.experiment import Experiment
from allocator.inference import Count, Mean, Proportion, Ratio, simulated_power
from allocator.simulate import Plan, run
from allocator.simulate.power import decisions_by, one_better, usable_units_of
from allocator.spec import load_experiment


def spec(metric: Any = "binary", **changes: Any) -> Experiment:
    return load_experiment(
        {
            "experiment": "x",
            "arms": ["a", "b", "c"],
            "metrics": {"m": metric, "n": "count"},
            "objective": "m",
            "constraints": {"warmup": 0, "max_shift": 1, "dead_band": 0},
            **changes,
        }
    )


def objective_means(experiment: Experiment, baseline: Any, effect: float) -> list[float]:
    world, _ = one_better(experiment, baseline, effect)
    return [arm[0].mean for arm in world.stages[0].rewards[0]]  # type: ignore[misc]


@pytest.mark.parametrize(
    "direction, effect, means",
    [
        ("up", 0.02, [0.1, 0.1, 0.12]),
        ("up", -0.02, [0.1, 0.08, 0.08]),
        ("down", -0.02, [0.1, 0.1, 0.08]),
        ("down", 0.02, [0.1, 0.12, 0.12]),
    ],
)
def test_one_arm_is_better_by_the_effect_whatever_its_sign(direction: str, effect: float, means: list[float]) -> None:
    found = objective_means(spec({"type": "binary", "direction": direction}), Proportion(0.1), effect)
    assert found == pytest.approx(means)


def test_rewards_are_those_of_the_baseline_and_the_other_metrics_are_nothing() -> None:
    world, sentences = one_better(spec("value", control="b", segments=["s"]), Mean(3.0, 2.0), 1.0, step_s=5.0)
    [(a, b, c)] = world.stages[0].rewards
    assert [(arm[0].mean, arm[0].sd, arm[1].mean) for arm in (a, b, c)] == [(3.0, 2.0, 0.0), (3.0, 2.0, 0.0), (4.0, 2.0, 0.0)]
    assert (world.segments, world.step_s) == (("other",), 5.0)
    assert "c is better than every other arm by the effect; these are alike." in sentences
    assert "Metrics other than m are 0." in sentences


@pytest.mark.parametrize(
    "baseline, effect, name",
    [
        (Proportion(0.1), 0.9, "effect"),
        (Proportion(0.1), 0.0, "effect"),
        (Count(2.0, 1.5), 0.1, "dispersion"),
        (Ratio(1.0, 1.0, 1.0, 1.0, 0.5), 0.1, "baseline"),
    ],
)
def test_what_cannot_be_drawn_is_named(baseline: Any, effect: float, name: str) -> None:
    with pytest.raises(ArgumentError) as raised:
        one_better(spec(), baseline, effect)
    assert raised.value.name == name


def test_units_are_those_that_are_usable() -> None:
    found = usable_units_of(spec(enrolment=0.5, holdback=0.2))
    assert (found.enrolment, found.holdback) == (1.0, 0.0)


def test_the_answer_is_read_off_the_runs_themselves() -> None:
    experiment = spec()
    world, assumptions = one_better(experiment, Proportion(0.2), 0.1)
    plan = Plan(horizon=1, batch=50, seed=4)
    answer = decisions_by(experiment, world, plan, 6, assumptions=assumptions)((100, 249, 400))
    traces = [run(experiment, world, Plan(horizon=400, batch=50, seed=4, points=8), number) for number in range(6)]
    at = [1, 3, 7]  # decisions after 100, 200 and 400 units: at 249 that of 200 is still in force
    assert answer.correct == tuple(int(sum(trace.right[i] for trace in traces)) for i in at)
    assert answer.decided_at == tuple(trace.decided_at for trace in traces)
    assert (answer.policy, answer.runs) == ("thompson", 6)
    assert set(assumptions) < set(answer.assumptions)
    assert any("one every 50 units; seed 4" in sentence for sentence in answer.assumptions)


def test_a_baseline_never_says_that_it_has_decided() -> None:
    experiment = spec()
    world, _ = one_better(experiment, Proportion(0.2), 0.1)
    answer = decisions_by(experiment, world, Plan(horizon=1, batch=50), 3, baseline="ucb1")((100,))
    assert (answer.policy, answer.decided_at) == ("ucb1", ())


def test_a_horizon_before_the_first_decision_is_refused() -> None:
    experiment = spec()
    world, _ = one_better(experiment, Proportion(0.2), 0.1)
    with pytest.raises(ArgumentError, match="horizons"):
        decisions_by(experiment, world, Plan(horizon=1, batch=50), 3)((49, 100))


def test_an_even_split_of_normal_means_is_right_as_often_as_the_formula_says() -> None:
    """Two arms, n units each, sd 1, effect d: P(correct) = Φ(d √(n / 2)); here 800 runs within three standard errors."""
    experiment = load_experiment({"experiment": "x", "arms": ["a", "b"], "metrics": {"m": {"type": "value"}}, "policy": "fixed"})
    world, _ = one_better(experiment, Mean(0.0, 1.0), 0.2)
    horizons = (50.0, 100.0, 200.0)
    found = simulated_power(decisions_by(experiment, world, Plan(horizon=1, batch=50, seed=1), 800), horizons, 0.8)
    for units, share, error in found.horizons:
        assert share == pytest.approx(0.5 * (1 + math.erf(0.2 * math.sqrt(units / 4) / math.sqrt(2))), abs=3 * error)
    assert found.total is not None
    assert found.total_error is not None
    expected = 4 * (0.8416212 / 0.2) ** 2
    assert found.total == pytest.approx(expected, abs=3 * found.total_error + 5)
    assert np.isfinite(found.total_error)
