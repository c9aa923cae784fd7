"""Arms come and go while an experiment runs, and the units of the others stay where they are."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator import Experiment, Moments, Weights, decide, load_experiment
from allocator.assignment import Assigner
from allocator.moments import layout_of
from allocator.weights import PPM

UNITS = [f"u-{i}" for i in range(400)]


def experiment(arms: list[str], **changes: Any) -> Experiment:
    rules = {"floor": 0.02, "warmup": 100, "max_shift": 0.1, "dead_band": 0, **changes.pop("constraints", {})}
    return load_experiment({"experiment": "x", "arms": arms, "metrics": {"good": "binary"}, "constraints": rules, **changes})


def counted(n: int, good: int) -> Moments:
    layout, sums = layout_of(1), layout_of(1).empty()
    sums[0], sums[1], sums[layout.square[0]] = n, good, good
    sums[layout.w], sums[layout.w2] = n * 10**6, n * 10**12
    return Moments(1, tuple(sums))


def served(weights: Weights) -> dict[str, str]:
    assigner = Assigner(weights)
    return {unit: assigner.assign(unit, weights.ts).arm for unit in UNITS}


def shares(weights: Weights) -> dict[str, int]:
    return {arm.id: arm.ppm for arm in weights.arms}


def with_shares(weights: Weights, ppm: dict[str, int]) -> Weights:
    return msgspec.structs.replace(weights, arms=tuple(msgspec.structs.replace(arm, ppm=ppm[arm.id]) for arm in weights.arms))


# Whole thousands: the others' proportions are then kept to within a few parts per million, which no unit here falls into.
SHARES = st.tuples(st.integers(50, 400), st.integers(50, 400)).map(lambda ab: {"a": ab[0], "b": ab[1], "c": 1000 - sum(ab)})


@settings(max_examples=50)
@given(SHARES, st.sampled_from(["running", "paused"]))
def test_an_added_arm_takes_units_from_all_and_moves_none_between_the_others(found: dict[str, int], status: str) -> None:
    """From the first decision after it came to the end of its warm-up."""
    before = with_shares(decide(experiment(["a", "b", "c"]), {}, None, 0.0).weights, {arm: 1000 * s for arm, s in found.items()})
    spec = experiment(["a", "b", "new", "c"], status=status)
    moments = {arm: counted(1000, good) for arm, good in (("a", 100), ("b", 500), ("c", 300))}
    arms, weights = served(before), before
    for at in range(5):
        weights = decide(spec, moments, weights, float(at)).weights
        for unit, arm in served(weights).items():
            assert arm in (arms[unit], "new")
    assert shares(weights)["new"] == (250_000 if status == "running" else 20_000)


@settings(max_examples=50)
@given(SHARES)
def test_a_removed_arm_leaves_its_units_to_the_others_who_keep_theirs(found: dict[str, int]) -> None:
    before = with_shares(decide(experiment(["a", "b", "c"]), {}, None, 0.0).weights, {arm: 1000 * s for arm, s in found.items()})
    after = decide(experiment(["a", "c"], status="paused"), {}, before, 1.0).weights
    arms = served(before)
    for unit, arm in served(after).items():
        assert arm == arms[unit] or arms[unit] == "b"


def test_with_an_even_split_for_all_units_would_move_between_the_others() -> None:
    """The control of the first test: what a warm-up that is even for everybody would do to units of arms that are warm."""
    before = with_shares(decide(experiment(["a", "b", "c"]), {}, None, 0.0).weights, {"a": 50_000, "b": 800_000, "c": 150_000})
    even = decide(experiment(["a", "b", "new", "c"]), {}, None, 0.0).weights
    assert set(shares(even).values()) == {PPM // 4}
    moved = [(was, now) for was, now in zip(served(before).values(), served(even).values(), strict=True) if was != now]
    assert any(now != "new" for _, now in moved)


@pytest.mark.parametrize("floor", [0.0, 0.02, 0.2])
def test_proportions_stay_over_many_decisions_of_a_warm_up(floor: float) -> None:
    spec = experiment(["a", "b", "c"], constraints={"floor": floor})
    weights = with_shares(decide(spec, {}, None, 0.0).weights, {"a": 240_000, "b": 480_000, "c": 280_000})
    moments = {"a": counted(1000, 100), "b": counted(1000, 100)}
    for at in range(100):
        weights = decide(spec, moments, weights, float(at)).weights
    found = shares(weights)
    assert found["c"] == pytest.approx(333_333, abs=3)
    assert found["b"] / found["a"] == pytest.approx(2.0, rel=1e-4)
