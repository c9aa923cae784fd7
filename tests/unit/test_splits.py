"""What a spec's traffic gives a comparison."""

from __future__ import annotations

from typing import Any

import pytest

from allocator import Experiment, SpecError, load_experiment
from allocator.inference import Split, splits_of, usable_share


def spec(**fields: Any) -> Experiment:
    return load_experiment(
        {"experiment": "chat", "arms": ["a", "b", "c"], "control": "b", "metrics": {"click": "binary"}, **fields}
    )


def names_and_shares(*splits: Split) -> list[tuple[str, tuple[str, ...], tuple[float, ...]]]:
    return [(split.name, split.arms, tuple(round(share, 9) for share in split.shares)) for split in splits]


def test_enrolled_and_not_held_back() -> None:
    assert usable_share(spec()) == 1
    assert usable_share(spec(enrolment=0.5, holdback=0.1)) == pytest.approx(0.45)


@pytest.mark.parametrize("field,fields", [("enrolment", {"enrolment": 0}), ("holdback", {"holdback": 1})])
def test_no_usable_traffic_is_an_error_of_its_field(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError) as error:
        usable_share(spec(**fields))
    assert error.value.path == field


def test_a_policy_that_moves_traffic_lies_between_the_even_split_and_the_floor() -> None:
    third = round(1 / 3, 9)
    assert names_and_shares(*splits_of(spec(constraints={"floor": 0.05}))) == [
        ("even split", ("b", "a", "c"), (third, third, third)),
        ("at the floor", ("b", "any other"), (0.05, 0.05)),
    ]
    assert names_and_shares(*splits_of(spec(arms=["a", "b"], constraints={"floor": 0.05})))[1:] == [
        ("at the floor", ("b", "a"), (0.95, 0.05))
    ]


def test_without_room_at_the_floor_there_is_the_even_split_alone() -> None:
    assert [split.name for split in splits_of(spec(constraints={"floor": 0}))] == ["even split"]
    assert [split.name for split in splits_of(spec(constraints={"floor": 1 / 3}))] == ["even split"]


def test_a_fixed_policy_has_its_shares_after_the_floor() -> None:
    fixed = {"name": "fixed", "shares": {"a": 1, "b": 3, "c": 0}}
    assert names_and_shares(*splits_of(spec(policy=fixed, constraints={"floor": 0.1}))) == [
        ("fixed split", ("b", "a", "c"), (0.625, 0.275, 0.1))
    ]
    assert names_and_shares(*splits_of(spec(policy=fixed, constraints={"floor": 0}))) == [
        ("fixed split", ("b", "a"), (0.75, 0.25))
    ]
    [even] = splits_of(spec(policy="fixed"))
    assert even.shares == pytest.approx((1 / 3, 1 / 3, 1 / 3))


@pytest.mark.parametrize("shares", [{"a": 1, "b": 0, "c": 1}, {"a": 0, "b": 1, "c": 0}])
def test_a_fixed_policy_must_serve_control_and_another_arm(shares: dict[str, float]) -> None:
    with pytest.raises(SpecError) as error:
        splits_of(spec(policy={"name": "fixed", "shares": shares}, constraints={"floor": 0}))
    assert error.value.path == "policy.shares"


def test_one_arm_has_nothing_to_compare() -> None:
    with pytest.raises(SpecError) as error:
        splits_of(spec(arms=["b"]))
    assert error.value.path == "arms"
