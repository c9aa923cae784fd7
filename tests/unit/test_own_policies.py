"""A policy of the owner's own, by dotted path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from allocator import Experiment, SpecErrors, decide
from streams.experiments import decode_experiment
from streams.own_policies import load_spec, require_policy
from tests.trained import evidence_of, sums_of

MODULE = '''
from dataclasses import dataclass
import numpy as np
from allocator.errors import ArgumentError

@dataclass(frozen=True)
class Second:
    """All to the second arm."""
    share: float = 1.0
    def __post_init__(self):
        if not 0 <= self.share <= 1:
            raise ArgumentError("share", self.share, "a share")
    def weights(self, posteriors, context=None):
        rest = (1 - self.share) / (len(posteriors.arms) - 1)
        return np.array([self.share if k == 1 else rest for k in range(len(posteriors.arms))])

@dataclass(frozen=True)
class Nan:
    def weights(self, posteriors, context=None):
        return np.full(len(posteriors.arms), np.nan)

@dataclass(frozen=True)
class Moody:
    """Fails once there is data."""
    def weights(self, posteriors, context=None):
        n = sum(m.n for m in context.moments)
        return np.full(len(posteriors.arms), 1 / len(posteriors.arms)) if n == 0 else 1 / 0

class NoDataclass:
    def weights(self, posteriors, context=None):
        return None
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    name = "own_" + "".join(c if c.isalnum() else "_" for c in request.node.name)  # a module once imported stays
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def spec(policy: Any) -> dict[str, Any]:
    return {
        "experiment": "chat",
        "arms": ["a", "b"],
        "metrics": {"good": "binary"},
        "policy": policy,
        "constraints": {"warmup": 0, "floor": 0},
    }


def test_a_class_is_a_policy_like_any_other(module: str) -> None:
    experiment = load_spec(spec({"name": f"{module}:Second", "share": 0.75}))
    require_policy(experiment)
    decision = decide(experiment, {}, None, 0.0)
    assert [arm.ppm for arm in decision.weights.arms] == [250_000, 750_000]
    assert decision.weights.policy == f"{module}:Second"
    assert load_spec(msgspec.to_builtins(experiment)) == experiment


@pytest.mark.parametrize(
    "policy, message",
    [
        ({"name": "Second", "share": 2}, "policy.share: 2: expected a share"),
        ({"name": "Second", "shares": 1}, "policy.shares: .* did you mean 'share'"),
        ("Nan", "policy.name: .*Nan': expected finite numbers of at least 0 that sum to 1; without data it gave .nan nan."),
    ],
)
def test_what_is_wrong_with_it_is_said_when_it_is_loaded(module: str, policy: Any, message: str) -> None:
    named = f"{module}:{policy}" if isinstance(policy, str) else {**policy, "name": f"{module}:{policy['name']}"}
    with pytest.raises(SpecErrors, match=message):
        load_spec(spec(named))


@pytest.mark.parametrize(
    "name, why",
    [
        ("no_such_package.policies:Mine", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("json:Mine", "AttributeError: module 'json' has no attribute 'Mine'"),
        ("json:JSONDecoder", "it is not a frozen dataclass with a method weights"),
        ("json:loads:x", "it is not package.module:Class"),
    ],
)
def test_a_class_that_is_not_to_be_had_is_refused_where_specs_are_applied(name: str, why: str) -> None:
    experiment = load_spec(spec(name))
    with pytest.raises(SpecErrors, match=f"policy.name: '{name}': expected a policy that can be imported here; {why}"):
        require_policy(experiment)


def test_only_a_frozen_dataclass_will_do(module: str) -> None:
    with pytest.raises(SpecErrors, match="it is not a frozen dataclass"):
        require_policy(load_spec(spec(f"{module}:NoDataclass")))


def test_a_worker_without_the_class_counts_on_and_holds_the_weights() -> None:
    record = msgspec.json.encode(spec({"name": "no_such_package:Mine", "strength": 3}))
    experiment = decode_experiment(b"chat", record)
    before = decide(load_spec(spec({"name": "fixed", "shares": {"a": 1, "b": 3}})), {}, None, 0.0).weights
    held = decide(experiment, {}, before, 1.0)
    assert [arm.ppm for arm in held.weights.arms] == [250_000, 750_000]
    assert held.reason == (
        "held: policy no_such_package:Mine: ModuleNotFoundError: No module named 'no_such_package': "
        "expected a class this process can import"
    )
    assert held.failure is not None
    assert held.settled


def test_what_it_raises_holds_the_weights(module: str) -> None:
    experiment: Experiment = load_spec(spec(f"{module}:Moody"))
    first = decide(experiment, {}, None, 0.0).weights
    evidence = evidence_of(experiment, {("", 0, "a"): sums_of(10, [1]), ("", 0, "b"): sums_of(10, [9])})
    decision = decide(experiment, evidence, first, 1.0)
    assert decision.weights.arms == first.arms
    assert decision.reason.endswith("ZeroDivisionError: division by zero: expected weights, whatever the data")
    assert not decision.publish
