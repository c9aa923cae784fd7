"""Policies: from posteriors to unconstrained weights. One class a file, registered here under the name a spec uses."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Sequence

import numpy as np

from allocator.errors import ArgumentError, SpecError
from allocator.experiment import Policy as PolicySpec
from allocator.policies.fixed import Fixed
from allocator.policies.protocol import Context, Policy, normalise
from allocator.policies.thompson import Thompson
from allocator.policies.top_two import TopTwoThompson
from allocator.posterior import BetaPosteriors

__all__ = ["POLICIES", "Context", "Fixed", "Policy", "Thompson", "TopTwoThompson", "normalise", "policy_of"]

POLICIES: dict[str, type[Policy]] = {"thompson": Thompson, "top-two-thompson": TopTwoThompson, "fixed": Fixed}


def policy_of(spec: PolicySpec, arms: Sequence[str] = ()) -> Policy:
    """The policy a spec names, with its parameters.

    Parameters
    ----------
    arms : names of the experiment's arms; when given, the policy is tried on them once, without data.

    Raises
    ------
    SpecError : no policy of that name, no such parameter, or a parameter outside its domain.
    """
    found = POLICIES.get(spec.name)
    if found is None:
        raise SpecError("policy.name", spec.name, f"a policy: {_nearest(spec.name, POLICIES)}")
    known = [field.name for field in dataclasses.fields(found)]  # type: ignore[arg-type]  # every policy is a dataclass
    for name, value in spec.params.items():
        if name not in known:
            raise SpecError(f"policy.{name}", value, f"a parameter of {spec.name}: {_nearest(name, known)}")
    try:
        policy = found(**spec.params)
        if arms:
            policy.weights(BetaPosteriors(tuple(arms), np.ones(len(arms)), np.ones(len(arms))))
    except ArgumentError as error:
        raise SpecError(f"policy.{error.name}", error.value, error.expected) from error
    except TypeError as error:  # such as a text where a number belongs
        raise SpecError("policy", spec.params, f"parameters of the right types; {error}") from error
    return policy


def _nearest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, 1, cutoff=0.4)
    return f"one of {', '.join(known)}" + (f"; did you mean {near[0]!r}?" if near else "")
