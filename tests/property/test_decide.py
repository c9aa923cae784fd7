"""Laws every decision keeps, whatever the data, the rules and what was published before."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator import Experiment, Moments, Weights, decide, load_experiment
from allocator.moments import layout_of
from allocator.weights import PPM

COUNTS = st.one_of(st.sampled_from([0, 1, 2, 100, 10**6, 10**12]), st.integers(0, 5000))


@st.composite
def counts(draw: st.DrawFn) -> Moments:
    """A binary metric and a value of at most 10 steps."""
    n = draw(COUNTS)
    successes = draw(st.one_of(st.sampled_from([0, n]), st.integers(0, n)))
    per_unit = draw(st.integers(-10, 10))
    layout, sums = layout_of(2), layout_of(2).empty()
    sums[0], sums[layout.w], sums[layout.w2] = n, 10**6 * n, 10**12 * n
    sums[1] = sums[layout.square[0]] = successes
    sums[2], sums[layout.square[1]] = per_unit * n, per_unit**2 * n + draw(st.sampled_from([0, 1, 10])) * n
    return Moments(2, tuple(sums))


@st.composite
def experiments(draw: st.DrawFn, status: str | None = None) -> Experiment:
    arms = draw(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=6, unique=True))
    cap = 1 / len(arms) + draw(st.sampled_from([0, 0.5, 1])) * (1 - 1 / len(arms))
    reserved = draw(st.sampled_from([0, 0.5, 1])) * cap
    room = (1 - reserved) / (len(arms) - 1) if len(arms) > 1 else 1.0
    return load_experiment(
        {
            "experiment": "x",
            "arms": arms,
            "metrics": {
                "rate": {"type": "binary", "direction": draw(st.sampled_from(["up", "down"]))},
                "value": {"type": "value", "direction": draw(st.sampled_from(["up", "down"]))},
            },
            "objective": draw(st.sampled_from(["rate", "value"])),
            "policy": draw(st.sampled_from(["thompson", "top-two-thompson", "epsilon-greedy", "fixed"])),
            "fallback": draw(st.sampled_from(arms)),
            "status": status or draw(st.sampled_from(["running", "running", "paused", "stopped"])),
            "constraints": {
                "reserved": reserved,
                "cap": min(cap, 1.0),
                "floor": draw(st.sampled_from([0, 0.5, 1])) * draw(st.floats(0, 1)) * min(room, 1 / len(arms)),
                "warmup": draw(st.sampled_from([0, 1, 100])),
                "max_shift": draw(st.floats(0.02, 1)),
                "dead_band": draw(st.sampled_from([0, 0.01, 0.3])),
            },
        }
    )


DATA = st.dictionaries(st.sampled_from("abcdefghij"), counts())
HISTORY = st.lists(st.tuples(experiments(), DATA), min_size=1, max_size=4)


def shares(weights: Weights) -> dict[str, int]:
    return {arm.id: arm.ppm for arm in weights.arms}


def published(history: list[tuple[Experiment, dict[str, Moments]]]) -> Weights | None:
    previous: Weights | None = None
    for at, (spec, moments) in enumerate(history):
        previous = decide(spec, moments, previous, float(at)).weights
    return previous


@given(HISTORY, experiments(), DATA)
def test_shares_are_whole_and_sum_to_a_million(history: Any, spec: Experiment, moments: dict[str, Moments]) -> None:
    decision = decide(spec, moments, published(history), 10.0)
    assert tuple(shares(decision.weights)) == spec.arm_ids
    for ppm in decision.steps.values():
        assert sum(ppm) == PPM
        assert min(ppm) >= 0
    assert list(shares(decision.weights).values()) == list(decision.steps.values())[-1]
    for arm in decision.arms:
        assert 0 < arm.p_best <= 1 + 5e-9
        for found in (arm, *arm.metrics.values()):
            if found.mean is not None and found.interval is not None:
                assert all(math.isfinite(x) for x in (found.mean, *found.interval))
                assert found.interval[0] <= found.interval[1]
    assert sum(arm.p_best for arm in decision.arms) == pytest.approx(1, abs=5e-9)


@given(HISTORY, experiments("running"), DATA)
def test_every_share_keeps_its_bounds(history: Any, spec: Experiment, moments: dict[str, Moments]) -> None:
    """Floor, cap and, for the control, the reserved share."""
    rules = spec.constraints
    for previous in (None, published(history)):
        found = shares(decide(spec, moments, previous, 10.0).weights)
        assert min(found.values()) >= math.floor(rules.floor * PPM) - 1
        assert max(found.values()) <= math.ceil(rules.cap * PPM) + 1
        assert found[spec.control] >= math.floor(rules.reserved * PPM) - 1


@given(experiments("running"), DATA, DATA)
def test_no_share_moves_further_than_the_maximum_shift(spec: Experiment, before: Any, after: Any) -> None:
    previous = decide(spec, before, None, 0.0).weights
    now = decide(spec, after, previous, 1.0).weights
    moved = [abs(shares(now)[arm] - shares(previous)[arm]) for arm in spec.arm_ids]
    assert max(moved) <= spec.constraints.max_shift * PPM + 1


@given(HISTORY, experiments(), DATA)
def test_the_same_arguments_give_the_same_decision(history: Any, spec: Experiment, moments: dict[str, Moments]) -> None:
    previous = published(history)
    again = dict(reversed(moments.items()))
    assert decide(spec, moments, previous, 10.0) == decide(spec, again, previous, 10.0)


@settings(max_examples=50)
@given(experiments("running"), DATA)
def test_decisions_on_the_same_data_settle(spec: Experiment, moments: dict[str, Moments]) -> None:
    decision = decide(spec, moments, None, 0.0)
    for _ in range(2 + math.ceil(1 / spec.constraints.max_shift)):
        decision = decide(spec, moments, decision.weights, 0.0)
    assert not decision.publish


@given(experiments("running"), DATA, st.randoms(use_true_random=False))
def test_permuting_the_arms_permutes_the_weights(spec: Experiment, moments: dict[str, Moments], random: Any) -> None:
    arms = list(spec.arms)
    random.shuffle(arms)
    other = type(spec)(**{name: getattr(spec, name) for name in spec.__struct_fields__} | {"arms": tuple(arms)})
    assert other.control == spec.control
    one, two = shares(decide(spec, moments, None, 0.0).weights), shares(decide(other, moments, None, 0.0).weights)
    np.testing.assert_allclose([one[arm] for arm in spec.arm_ids], [two[arm] for arm in spec.arm_ids], atol=1.0)
