"""Policies by the name a spec uses, and by ``package.module:Class`` for an owner's own.

Nothing here imports what a spec names: a package outside decides that it may run in this process, imports the class and
`register`s it (`streams.own_policies` does so for specs that come from the command line or from Kafka). From then on it is a
policy like any other. Where it cannot be imported its name is registered as `Absent`: the spec stays valid, for another worker
may have the class, and decisions hold the weights there are.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from allocator.errors import AllocatorError, ArgumentError, PolicyError, SpecError
from allocator.evidence import Evidence
from allocator.experiment import Arm, Experiment, Metric
from allocator.experiment import Policy as PolicySpec
from allocator.policies.constrained import Constrained
from allocator.policies.discounted import DiscountedThompson
from allocator.policies.epsilon_greedy import EpsilonGreedy
from allocator.policies.exp3_ix import Exp3IX
from allocator.policies.exploration_sampling import ExplorationSampling
from allocator.policies.fixed import Fixed
from allocator.policies.linear_thompson import LinearThompson
from allocator.policies.per_segment import PerSegment
from allocator.policies.protocol import Choice, Context, Policy
from allocator.policies.sliding_window import SlidingWindowThompson
from allocator.policies.thompson import Thompson
from allocator.policies.top_two import TopTwoThompson
from allocator.policies.track_and_stop import TrackAndStop
from allocator.posterior import Posteriors
from allocator.quadrature import FloatArray

__all__ = ["POLICIES", "Absent", "chosen", "per_segment", "policy_of", "register"]

POLICIES: dict[str, type[Policy]] = {
    "thompson": Thompson,
    "top-two-thompson": TopTwoThompson,
    "exploration-sampling": ExplorationSampling,
    "track-and-stop": TrackAndStop,
    "discounted-thompson": DiscountedThompson,
    "sliding-window-thompson": SlidingWindowThompson,
    "per-segment": PerSegment,
    "linear-thompson": LinearThompson,
    "constrained": Constrained,
    "epsilon-greedy": EpsilonGreedy,
    "exp3-ix": Exp3IX,
    "fixed": Fixed,
}
"""What every installation has."""

SUM_WITHIN = 1e-6
"""How far from 1 the weights of an owner's own policy may sum; they are put right by dividing."""


@dataclass(frozen=True, slots=True)
class Absent:
    """Stands for a policy that is not to be had in this process."""

    per_segment: ClassVar[bool] = True
    """For all that is known here it is; the weights of segments are then held like the others."""
    name: str
    why: str

    def weights(self, posteriors: Posteriors, context: Context | None = None) -> FloatArray:
        """PolicyError."""
        raise PolicyError(self.name, self.why, "a class this process can import")


_registered: dict[str, type[Policy] | Absent] = {}


def register(name: str, policy: type[Policy] | Absent) -> None:
    """Make a class known under ``package.module:Class``, or say that it is not to be had. The last word counts.

    Raises
    ------
    ArgumentError : `name` has no colon, or the class is no frozen dataclass with a method `weights`.
    """
    if ":" not in name:
        raise ArgumentError("name", name, "package.module:Class")
    if not isinstance(policy, Absent) and not _is_policy(policy):
        raise ArgumentError("policy", policy, "a frozen dataclass with a method weights(posteriors, context=None)")
    _registered[name] = policy


def policy_of(spec: PolicySpec, arms: Sequence[str] = (), context: Context | None = None) -> Policy:
    """The policy a spec names, with its parameters.

    Parameters
    ----------
    arms : names of the experiment's arms; when given, the policy is tried on them once, without data.
    context : of the trial; without it the arms have a single binary metric and no segments.

    Raises
    ------
    SpecError : no policy of that name, no such parameter, a parameter outside its domain, or a trial without usable weights.
    """
    found = POLICIES.get(spec.name) or _registered.get(spec.name)
    if found is None:
        expected = "a class that was registered" if ":" in spec.name else f"a policy: {_nearest(spec.name, POLICIES)}"
        raise SpecError("policy.name", spec.name, expected)
    if isinstance(found, Absent):
        return found
    _check_names(spec, dataclasses.fields(found))  # type: ignore[arg-type]  # every policy is a dataclass
    try:
        policy = found(**spec.params)
        if arms:
            context = context or _trial(arms)
            chosen(policy, spec.name, context.posteriors(), context)
    except ArgumentError as error:
        raise SpecError(f"policy.{error.name}", error.value, error.expected) from error
    except PolicyError as error:
        raise SpecError("policy.name", spec.name, f"{error.expected}; without data it gave {error.found}") from error
    except TypeError as error:  # such as a text where a number belongs
        raise SpecError("policy", spec.params, f"parameters of the right types; {error}") from error
    return policy


def per_segment(spec: PolicySpec) -> bool:
    """Whether the policy a spec names is to be asked for every segment."""
    return bool(getattr(POLICIES.get(spec.name) or _registered.get(spec.name), "per_segment", False))


def chosen(policy: Policy, name: str, posteriors: Posteriors, context: Context) -> Choice:
    """What the policy answers, if that is a distribution over the arms.

    Raises
    ------
    ArgumentError : a parameter does not go with these arms or this objective.
    PolicyError : any exception of an owner's own class, or an answer that is no distribution.
    """
    try:
        choose = getattr(policy, "choose", None)
        choice = Choice(policy.weights(posteriors, context)) if choose is None else choose(posteriors, context)
    except AllocatorError:
        raise
    except Exception as error:  # an owner's class may raise anything, and one experiment must not end the others'
        raise PolicyError(name, f"{type(error).__name__}: {error}", "weights, whatever the data") from error
    weights = choice.weights
    shape = (len(posteriors.arms),)
    if not isinstance(weights, np.ndarray) or weights.shape != shape or weights.dtype != np.float64:
        raise PolicyError(name, _shown(weights), f"an array of floats of shape {shape}")
    if not (np.all(weights >= 0.0) and abs(float(weights.sum()) - 1.0) <= SUM_WITHIN):  # nan is not >= 0
        raise PolicyError(name, _shown(weights), "finite numbers of at least 0 that sum to 1")
    return choice


def _check_names(spec: PolicySpec, fields: Sequence[dataclasses.Field[Any]]) -> None:
    known = [field.name for field in fields]
    for name, value in spec.params.items():
        if name not in known:
            expected = f"a parameter of {spec.name}: {_nearest(name, known)}" if known else f"no parameters: {spec.name} has none"
            raise SpecError(f"policy.{name}", value, expected)
    for field in fields:
        if field.name not in spec.params and field.default is field.default_factory is dataclasses.MISSING:
            raise SpecError(f"policy.{field.name}", "missing", f"a value: {spec.name} cannot do without")


def _is_policy(found: Any) -> bool:
    if not (isinstance(found, type) and dataclasses.is_dataclass(found) and callable(getattr(found, "weights", None))):
        return False
    return bool(found.__dataclass_params__.frozen)  # type: ignore[attr-defined]  # every dataclass has it


def _trial(arms: Sequence[str]) -> Context:
    names = tuple(arms)
    experiment = Experiment(
        experiment="trial",
        arms=tuple(Arm(id=arm) for arm in names),
        control=names[0],
        metrics={"objective": Metric()},
        objective="objective",
        fallback=names[0],
    )
    return Context.of(experiment, Evidence(names, 1, {}), 0.0)


def _shown(weights: Any) -> str:
    text = np.array2string(weights, threshold=10) if isinstance(weights, np.ndarray) else repr(weights)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _nearest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, 1, cutoff=0.4)
    return f"one of {', '.join(known)}" + (f"; did you mean {near[0]!r}?" if near else "")
