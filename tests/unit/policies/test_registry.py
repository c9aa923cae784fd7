"""Policies by name, with errors an owner of a spec can act on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from allocator import ArgumentError, Experiment, SpecError, decide, load_experiment
from allocator.errors import PolicyError
from allocator.evidence import Evidence
from allocator.experiment import Policy
from allocator.policies import POLICIES, Context, Fixed, Thompson, TopTwoThompson, policy_of, register
from allocator.posterior import Posteriors
from tests.trained import evidence_of, sums_of


def test_every_name_makes_its_class() -> None:
    assert policy_of(Policy()) == Thompson()
    assert policy_of(Policy(name="top-two-thompson", params={"beta": 0.3})) == TopTwoThompson(0.3)
    assert policy_of(Policy(name="fixed", params={"shares": {"a": 1}}), ["a"]) == Fixed({"a": 1})
    needs = {"linear-thompson": {"features": {"s": [1]}}, "constrained": {"budgets": {"m": 1}}}
    for name, made in POLICIES.items():
        assert isinstance(policy_of(Policy(name=name, params=needs.get(name, {}))), made)


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
        ("thompson", {"temper": "hot"}, "policy.temper: 'hot': expected a number above 0, at most 1"),
        ("exploration-sampling", {"beta": 1}, "policy.beta: 1: expected no parameters: exploration-sampling has none"),
        ("linear-thompson", {}, "policy.features: 'missing': expected a value: linear-thompson cannot do without"),
        (
            "linear-thompson",
            {"features": {"pro": [1]}},
            "policy.features: .* expected declared segments: the experiment has none",
        ),
        ("constrained", {}, "policy.budgets: {}: expected at least one metric here or under floors"),
        (
            "constrained",
            {"floors": {"cost": 1}},
            "policy.floors.cost: 1: expected a limit of a metric of the experiment: objective",
        ),
        ("package.module:Unknown", {}, "policy.name: 'package.module:Unknown': expected a class that was registered"),
        ("fixed", {"shares": {"a": 1, "z": 1}}, "policy.shares: .* expected a number for each of a, b"),
    ],
)
def test_errors_say_what_to_mend(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message.replace("?", r"\?")):
        policy_of(Policy(name=name, params=params), ["a", "b"])


# -- an owner's own class --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answers:
    """Gives what it is told to give once there is data, and an even split before."""

    answer: Any

    def weights(self, posteriors: Posteriors, context: Context | None = None) -> Any:
        if context is None or not any(m.n for m in context.moments):
            return np.full(len(posteriors.arms), 1 / len(posteriors.arms))
        return eval(self.answer, {"np": np})


@dataclass
class NotFrozen:
    """Could keep state."""

    def weights(self, posteriors: Posteriors, context: Context | None = None) -> Any:
        raise NotImplementedError


OWN = "tests.own:Answers"


@pytest.fixture(autouse=True)
def _registered() -> None:
    register(OWN, Answers)


def own(answer: str) -> Experiment:
    rules = {"warmup": 0, "floor": 0, "max_shift": 1, "dead_band": 0}
    policy = {"name": OWN, "answer": answer}
    return load_experiment(
        {"experiment": "x", "arms": ["a", "b"], "metrics": {"good": "binary"}, "policy": policy, "constraints": rules}
    )


def trained(spec: Experiment) -> Evidence:
    return evidence_of(spec, {("", 0, "a"): sums_of(10, [5]), ("", 0, "b"): sums_of(10, [5])})


def test_weights_of_an_own_class_are_used() -> None:
    spec = own("np.array([0.25, 0.75])")
    decision = decide(spec, trained(spec), None, 0.0)
    assert [arm.ppm for arm in decision.weights.arms] == [250_000, 750_000]
    assert decision.failure is None


@pytest.mark.parametrize(
    "answer, why",
    [
        ("np.array([0.5, np.nan])", "[0.5 nan]: expected finite numbers of at least 0 that sum to 1"),
        ("np.array([np.inf, -np.inf])", "[ inf -inf]: expected finite numbers of at least 0 that sum to 1"),
        ("np.array([1.5, -0.5])", "[ 1.5 -0.5]: expected finite numbers of at least 0 that sum to 1"),
        ("np.array([0.5, 0.4])", "[0.5 0.4]: expected finite numbers of at least 0 that sum to 1"),
        ("np.array([1.0])", "[1.]: expected an array of floats of shape (2,)"),
        ("np.array([1, 0])", "[1 0]: expected an array of floats of shape (2,)"),
        ("[0.5, 0.5]", "[0.5, 0.5]: expected an array of floats of shape (2,)"),
        ("None", "None: expected an array of floats of shape (2,)"),
        ("{}['a']", "KeyError: 'a': expected weights, whatever the data"),
    ],
)
def test_an_unusable_answer_holds_the_previous_weights_and_says_why(answer: str, why: str) -> None:
    spec = own(answer)
    before = decide(own("np.array([0.25, 0.75])"), trained(spec), None, 0.0).weights
    decision = decide(spec, trained(spec), before, 1.0)
    assert [arm.ppm for arm in decision.weights.arms] == [250_000, 750_000]
    assert decision.reason == f"held: policy {OWN}: {why}"
    assert isinstance(decision.failure, PolicyError)
    assert list(decision.steps) == ["held"]


def test_without_previous_weights_an_unusable_answer_is_an_even_split() -> None:
    spec = own("None")
    decision = decide(spec, trained(spec), None, 0.0)
    assert [arm.ppm for arm in decision.weights.arms] == [500_000, 500_000]
    assert decision.reason.startswith(f"first weights; even split: policy {OWN}: None")


@pytest.mark.parametrize("found", [NotFrozen, dict, Answers("None"), len])
def test_only_a_frozen_dataclass_with_weights_is_a_policy(found: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^policy: .*expected a frozen dataclass"):
        register("tests.own:Wrong", found)


def test_names_of_own_classes_have_a_colon() -> None:
    with pytest.raises(ArgumentError, match=r"^name: 'mine'"):
        register("mine", Answers)
