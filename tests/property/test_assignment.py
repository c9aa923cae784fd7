"""Laws of assignment: it is the published rule, it is sticky, and enrolment only adds."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from allocator.assignment import Assigner, _hashes_below, assign
from allocator.weights import PPM, Gate, Holdback, Layer, WeightedArm, Weights
from tests.vectors.make_assignment import NOW, reference

seeds = st.integers(0, 2**32 - 1)
ppms = st.integers(0, PPM)
units = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


@st.composite
def shares(draw: st.DrawFn, arms: int) -> list[int]:
    """Parts per million of `arms` arms, some of them 0."""
    cuts = sorted(draw(st.lists(ppms, min_size=arms - 1, max_size=arms - 1)))
    return [right - left for left, right in zip([0, *cuts], [*cuts, PPM], strict=True)]


@st.composite
def weights(draw: st.DrawFn) -> Weights:
    count = draw(st.integers(1, 6))
    names = [f"arm-{i}" for i in range(count)]
    return Weights(
        experiment="chat",
        version=draw(st.integers(1, 2**40)),
        status=draw(st.sampled_from(["running", "running", "paused", "stopped"])),
        arms=tuple(WeightedArm(name, ppm, draw(seeds)) for name, ppm in zip(names, draw(shares(count)), strict=True)),
        enrolment=Gate(draw(st.just(PPM) | ppms), draw(seeds)),
        holdback=Holdback(draw(st.just(0) | ppms), draw(seeds), draw(st.sampled_from(names))),
        valid_until=NOW + draw(st.sampled_from([-1.0, 0.0, 60.0])),
        fallback=draw(st.sampled_from(names)),
        namespace=draw(
            st.none() | st.builds(Layer, st.just("home-page"), seeds, st.lists(st.tuples(ppms, ppms), max_size=3).map(tuple))
        ),
        policy="thompson",
        reason="drawn",
        spec_hash="0",
        ts=NOW,
    )


def with_shares(weights: Weights, ppm: list[int]) -> Weights:
    arms = tuple(msgspec.structs.replace(arm, ppm=share) for arm, share in zip(weights.arms, ppm, strict=True))
    return msgspec.structs.replace(weights, arms=arms, status="running", valid_until=NOW + 60, namespace=None)


@given(weights(), units)
def test_assignment_is_the_published_rule(weights: Weights, unit: str) -> None:
    expected: dict[str, Any] = reference(msgspec.to_builtins(weights), unit)
    found = msgspec.to_builtins(assign(weights, unit, NOW))
    assert {field: found[field] for field in expected} == expected


@given(weights(), units, ppms, ppms)
def test_raising_enrolment_never_changes_an_enrolled_unit(weights: Weights, unit: str, one: int, other: int) -> None:
    less, more = sorted((one, other))
    seed = weights.enrolment.seed
    before = assign(msgspec.structs.replace(weights, enrolment=Gate(less, seed)), unit, NOW)
    after = assign(msgspec.structs.replace(weights, enrolment=Gate(more, seed)), unit, NOW)
    if before.enrolled:
        assert after == before


@given(st.data(), weights())
def test_units_move_only_to_arms_that_gained_on_the_one_they_leave(data: st.DataObject, weights: Weights) -> None:
    old = [arm.ppm for arm in weights.arms]
    new = data.draw(shares(len(old)))
    before, after = Assigner(with_shares(weights, old)), Assigner(with_shares(weights, new))
    place = {arm.id: i for i, arm in enumerate(weights.arms)}
    for i in range(30):
        x, y = place[before.assign(f"u-{i}", NOW).arm], place[after.assign(f"u-{i}", NOW).arm]
        assert x == y or new[y] * old[x] > new[x] * old[y]


@given(weights(), units)
def test_an_assignment_is_a_function_of_weights_unit_and_time(weights: Weights, unit: str) -> None:
    assigner = Assigner(weights)
    assert assigner.assign(unit, NOW) == Assigner(weights).assign(unit, NOW) == assigner.assign(unit, NOW)


@given(weights(), st.text() | st.integers() | st.none() | st.binary())
def test_assigning_never_raises_and_always_names_an_arm(weights: Weights, unit: Any) -> None:
    found = Assigner(weights).assign(unit, NOW)
    assert found.arm in {arm.id for arm in weights.arms}
    assert 0 < found.propensity <= 1


@given(ppms, st.integers(0, 2**64 - 1))
def test_the_threshold_on_the_hash_is_the_bucket_rule(ppm: int, h: int) -> None:
    assert (h < _hashes_below(ppm)) == ((h * PPM) >> 64 < ppm)
