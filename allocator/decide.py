"""From moments to the next weights: the one decision the product makes, as a pure function.

1. Posteriors of every metric from the moments; of the objective, what is still pending counted neither for nor against an arm
   (`allocator.pending`), if the evidence has the lags of rewards.
2. What the shares should be:
   - stopped: the fallback arm gets all. Paused: the previous shares stay. One arm: it gets all.
   - running: the policy's weights; while any arm has fewer than `warmup` units, the even split in their place. What is wanted
     then goes through the constraints, in the order that `allocator.constraints` gives.
   - running, and the policy gives no usable weights: the previous shares are held, and the reason says why.
3. Whole ppm by largest remainder.
4. The share of units that take part is that of the stage in force (`allocator.stages`). Before and after the schedule nobody is
   enrolled.
5. Publish on any change a router must know of, or that the next decision starts from, and in time to renew the lease.

When the list of arms changed, those that remain keep their shares in proportion and new ones enter at the floor.

A segment is decided in the same way, of its own moments, under two more rules. It warms up with the experiment; after that,
with fewer than `warmup` units on all arms together it follows what the policy wants for the whole experiment. And until it has
weights of its own it moves from those of the experiment, which served it so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import msgspec
import numpy as np
from xxhash import xxh64_intdigest

from allocator.constraints import to_ppm
from allocator.errors import AllocatorError
from allocator.evidence import Evidence
from allocator.experiment import OTHER_SEGMENT, Experiment
from allocator.moments import Moments
from allocator.namespaces import seed_of
from allocator.policies import Choice, Context, Policy, Verdict, chosen, per_segment, policy_of
from allocator.posterior import Posteriors
from allocator.readout import ArmState, arm_states
from allocator.sample_ratio import sample_ratio_clean
from allocator.schedule import closed
from allocator.stages import Step, next_standing
from allocator.standing import Standing
from allocator.steps import Path, Ppm, constrain, start_of
from allocator.weights import PPM, Gate, Holdback, Layer, WeightedArm, Weights

__all__ = ["Decision", "decide", "decide_all", "renew_at", "slices_of", "spec_hash"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What `decide` concludes.

    Parameters
    ----------
    weights : the next publication; `inputs` is left to the caller.
    arms : readouts in the spec's order; those of a segment are of the objective alone.
    steps : shares in ppm after each step, in order; the last one is in `weights`.
    reason : one sentence: what moved what, or why nothing moved.
    publish : whether routers need `weights`; else the previous publication still serves.
    settled : whether the shares are where the data wants them; False while the maximum shift holds them back, so that
        deciding again moves them further without any new data.
    ramp : what became of the stages.
    verdict : whether the policy has seen enough, if it is one that says so.
    failure : why the policy gave no usable weights, so that the previous ones are held; None if it did.
    """

    weights: Weights
    arms: tuple[ArmState, ...]
    steps: dict[str, list[int]]
    reason: str
    publish: bool
    settled: bool
    ramp: Step
    verdict: Verdict | None = None
    failure: AllocatorError | None = None


def decide(
    experiment: Experiment,
    moments: Evidence | Mapping[str, Moments],
    previous: Weights | None,
    now: float,
    segment: str | None = None,
) -> Decision:
    """The next weights of an experiment, or of one of its segments. The same arguments give the same bits.

    Parameters
    ----------
    moments : what trains the allocation (held-back units do not), with segments and periods for the policies that ask for them;
        or arm id → moments of all its units, an absent arm having none. Metrics are in the order of ``experiment.metrics``.
    previous : the last published weights (of that segment), None before the first.
    now : seconds since the epoch.
    segment : whose weights are wanted; None for those of the whole experiment.

    Raises
    ------
    SpecError : the policy is unknown or its parameters are wrong; `load_experiment` refuses such a spec.
    """
    arms, metrics = experiment.arm_ids, len(experiment.metrics)
    evidence = moments if isinstance(moments, Evidence) else Evidence.of_arms(arms, metrics, moments)
    return _Case(experiment, evidence, now, previous).decision(segment, previous, previous)


def decide_all(
    experiment: Experiment, evidence: Evidence, previous: Mapping[str | None, Weights], now: float
) -> dict[str | None, Decision]:
    """The next weights of the experiment, under None, and of every segment that the policy gives weights of its own.

    Parameters
    ----------
    previous : the last published weights by segment, those of the experiment under None; without an entry before the first.

    Raises
    ------
    SpecError : as `decide`.
    """
    whole = previous.get(None)
    case = _Case(experiment, evidence, now, whole)
    decisions: dict[str | None, Decision] = {}
    for segment in slices_of(experiment):
        own = previous.get(segment)
        decisions[segment] = case.decision(segment, own, whole if own is None else own)
    return decisions


def slices_of(experiment: Experiment) -> tuple[str | None, ...]:
    """What gets weights of its own: the experiment (None) and, if its policy is for that, each segment and all others as one."""
    if experiment.segments and per_segment(experiment.policy):
        return (None, *experiment.segments, OTHER_SEGMENT)
    return (None,)


def renew_at(experiment: Experiment, previous: Weights) -> float:
    """When unchanged weights are published again: a third of the lease after they were, which leaves two tries."""
    return previous.valid_until - experiment.lease_s * 2 / 3


def spec_hash(experiment: Experiment) -> str:
    """16 hex digits of the spec as it is but for status and revision; found once an experiment object."""
    return experiment.spec_hash


@dataclass(slots=True)
class _Slice:
    """The experiment or one of its segments."""

    context: Context
    n: list[int]
    """Units an arm."""
    objective: Posteriors

    @classmethod
    def of(cls, experiment: Experiment, context: Context) -> _Slice:
        objective = context.metrics.get(experiment.objective)
        return cls(context, [m.n for m in context.moments], context.posteriors() if objective is None else objective)

    @property
    def pending(self) -> list[float] | None:
        """Units an arm of which the objective is still to come."""
        return None if self.context.pending is None else self.context.pending.of_arms(self.n)


class _Case:
    """One experiment at one time: what its decisions have in common, found once."""

    def __init__(self, experiment: Experiment, evidence: Evidence, now: float, previous: Weights | None) -> None:
        self.experiment, self.evidence, self.now, self.previous = experiment, evidence, now, previous
        self.whole = _Slice.of(experiment, Context.of(experiment, evidence, now))

    @cached_property
    def ramp(self) -> Step:
        """What stands from now on, and why: the stage follows the breaches."""
        previous = self.previous
        standing = Standing() if previous is None else previous.standing
        published_ppm = None if previous is None else previous.enrolment.ppm
        return next_standing(self.experiment, standing, published_ppm, sum(self.whole.n), self.now, self._ratio_clean)

    def _ratio_clean(self) -> bool:
        served = {arm.id for arm in self.previous.arms if arm.ppm} if self.previous else self.experiment.arm_ids
        return sample_ratio_clean(self.experiment, self.evidence, served)

    @cached_property
    def policy(self) -> Policy:
        return policy_of(self.experiment.policy)

    @cached_property
    def choice(self) -> Choice:
        """For the whole experiment."""
        return self._chosen(self.whole)

    def decision(self, segment: str | None, previous: Weights | None, origin: Weights | None) -> Decision:
        """The next publication after `previous`, moving from the shares of `origin`."""
        experiment = self.experiment
        found = self.whole if segment is None else self._segment(segment)
        made = self._made(found, origin)
        path, choice = made.path, made.choice
        if self.ramp.moved:
            path.reason = f"{self.ramp.reason}; {path.reason}"
        weights = _weights(experiment, segment, path, self.ramp, previous, self.now)
        changed = previous is None or _changed(previous, weights)
        due = previous is not None and self.now >= renew_at(experiment, previous)
        if due and not changed:
            weights = msgspec.structs.replace(weights, reason=f"lease renewed; {weights.reason}")
        shown = found.objective if choice is None or choice.posteriors is None else choice.posteriors
        return Decision(
            weights=weights,
            arms=arm_states(found.n, shown, found.context.metrics if found is self.whole else {}, path.ppm, found.pending),
            steps={name: list(ppm) for name, ppm in path.steps.items()},
            reason=weights.reason,
            publish=changed or due,
            settled=path.steps.get("shift") in (None, path.target),
            ramp=self.ramp,
            verdict=None if choice is None else choice.verdict,
            failure=made.failure,
        )

    def _segment(self, segment: str) -> _Slice:
        return _Slice.of(self.experiment, Context.of(self.experiment, self.evidence, self.now, segment, self.whole.context))

    def _made(self, found: _Slice, origin: Weights | None) -> _Made:
        """Step 2 of the module's docstring."""
        experiment, path = self.experiment, Path()
        start = None if origin is None else start_of(experiment, origin)
        if experiment.status != "running" or len(experiment.arms) == 1:
            return _Made(_at_rest(experiment, path, start))
        even = np.full(len(experiment.arms), 1 / len(experiment.arms))
        if cold := [k for k, units in enumerate(self.whole.n) if units < experiment.constraints.warmup]:
            path.step("warm-up", to_ppm(even))
            return _Made(constrain(path, experiment, even, _warm_up(experiment, self.whole.n, cold), start))
        try:
            choice, why = self._wanted(found, path)
        except AllocatorError as error:
            if start is not None:
                return _Made(path.step("held", start, f"held: {error}"), failure=error)
            path.step("even", to_ppm(even))
            return _Made(constrain(path, experiment, even, f"even split: {error}", None), failure=error)
        return _Made(constrain(path, experiment, choice.weights, why, start), choice)

    def _wanted(self, found: _Slice, path: Path) -> tuple[Choice, str]:
        """What the policy wants, and why. Raises what `chosen` raises."""
        units, warmup, arms = sum(found.n), self.experiment.constraints.warmup, self.experiment.arm_ids
        if found is not self.whole and units < warmup:
            choice = self.choice
            path.step("pooled", to_ppm(choice.weights))
            return choice, f"{units} of {warmup} units in the segment: as the whole experiment"
        choice = self.choice if found is self.whole else self._chosen(found)
        path.step("policy", to_ppm(choice.weights))
        why = _leader(arms, choice.posteriors or found.objective)
        return choice, f"{why}; {choice.note}" if choice.note else why

    def _chosen(self, found: _Slice) -> Choice:
        return chosen(self.policy, self.experiment.policy.name, found.objective, found.context)


@dataclass(frozen=True, slots=True)
class _Made:
    """Where the shares went, and what the policy had to do with it."""

    path: Path
    choice: Choice | None = None
    failure: AllocatorError | None = None


def _at_rest(experiment: Experiment, path: Path, start: Ppm | None) -> Path:
    """Where no policy is asked."""
    arms = experiment.arm_ids
    if experiment.status == "stopped":
        all_to = tuple(PPM if arm == experiment.fallback else 0 for arm in arms)
        return path.step("stopped", all_to, f"stopped: all traffic to {experiment.fallback}")
    if len(arms) == 1:
        return path.step("one arm", (PPM,), f"{arms[0]} is the only arm")
    return path.step("paused", to_ppm(np.full(len(arms), 1 / len(arms))) if start is None else start, "paused: weights held")


def _warm_up(experiment: Experiment, n: Sequence[int], cold: Sequence[int]) -> str:
    fewest = min(cold, key=lambda k: n[k])
    others = f", and {len(cold) - 1} more short of it" if len(cold) > 1 else ""
    return f"warm-up: {experiment.arm_ids[fewest]} has {n[fewest]} of {experiment.constraints.warmup} units{others}"


def _leader(arms: Sequence[str], objective: Posteriors) -> str:
    p = objective.prob_best()
    first = int(np.argmax(p))
    return f"{arms[first]} leads: P(best) {p[first]:.2f}"


# -- the record ------------------------------------------------------------------------------------------------------------------


def _weights(
    experiment: Experiment, segment: str | None, path: Path, ramp: Step, previous: Weights | None, now: float
) -> Weights:
    name = experiment.experiment
    arms = zip(experiment.arms, path.ppm, strict=True)
    shut = None if experiment.status == "stopped" else closed(experiment.schedule, now)
    return Weights(
        experiment=name,
        segment=segment,
        version=1 if previous is None else previous.version + 1,
        status=experiment.status,
        arms=tuple(WeightedArm(arm.id, share, _seed(name, "arm", arm.id), arm.params) for arm, share in arms),
        enrolment=Gate(0 if shut else ramp.enrolled_ppm, _seed(name, "enrolment")),
        holdback=Holdback(round(experiment.holdback * PPM), _seed(name, "holdback"), experiment.control),
        valid_until=now + experiment.lease_s,
        fallback=experiment.fallback,
        policy=experiment.policy.name,
        reason=f"{shut}; {path.reason}" if shut else path.reason,
        spec_hash=spec_hash(experiment),
        ts=now,
        standing=ramp.standing if segment is None else Standing(),
        namespace=_layer(experiment),
        eligibility=experiment.eligibility,
        segment_rule=experiment.segment_rule,
    )


def _layer(experiment: Experiment) -> Layer | None:
    namespace = experiment.namespace
    return None if namespace is None else Layer(namespace.name, seed_of(namespace.name), namespace.places)


@lru_cache(maxsize=100_000)
def _seed(*names: str) -> int:
    """32 bits of the names: no arm's seed depends on another arm. '/' is in no name, so no two lists of names look alike.

    The same for every segment: a unit keeps its arm where the segment's weights allow it.
    """
    return xxh64_intdigest("/".join(names).encode()) & 0xFFFF_FFFF


def _changed(previous: Weights, weights: Weights) -> bool:
    """Whether routers would act on `weights` otherwise than on `previous`, or the spec behind them or what stands is another."""
    return (
        weights.arms != previous.arms
        or weights.status != previous.status
        or weights.enrolment != previous.enrolment
        or weights.holdback != previous.holdback
        or weights.fallback != previous.fallback
        or weights.spec_hash != previous.spec_hash
        or weights.standing != previous.standing
    )
