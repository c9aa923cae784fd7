"""Policies by name, with errors an owner of a spec can act on."""

from __future__ import annotations

from typing import Any

import pytest

from allocator import SpecError
from allocator.experiment import Policy
from allocator.policies import Fixed, Thompson, TopTwoThompson, policy_of


def test_every_name_makes_its_class() -> None:
    assert policy_of(Policy()) == Thompson()
    assert policy_of(Policy(name="top-two-thompson", params={"beta": 0.3})) == TopTwoThompson(0.3)
    assert policy_of(Policy(name="fixed", params={"shares": {"a": 1}}), ["a"]) == Fixed({"a": 1})


@pytest.mark.parametrize(
    "name, params, message",
    [
        ("thomson", {}, "policy.name: 'thomson': expected a policy: one of .*; did you mean 'thompson'?"),
        ("top-two", {}, "did you mean 'top-two-thompson'?"),
        (
            "top-two-thompson",
            {"betta": 0.3},
            "policy.betta: 0.3: expected a parameter of top-two-thompson: one of beta; did you mean 'beta'?",
        ),
        ("top-two-thompson", {"beta": 3}, "policy.beta: 3: expected a number above 0, at most 1"),
        ("thompson", {"temper": "hot"}, "policy: {'temper': 'hot'}: expected parameters of the right types"),
        ("fixed", {"shares": {"a": 1, "z": 1}}, "policy.shares: .* expected a number for each of a, b"),
    ],
)
def test_errors_say_what_to_mend(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message.replace("?", r"\?")):
        policy_of(Policy(name=name, params=params), ["a", "b"])
