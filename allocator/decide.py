"""From moments to the next weights: the one decision the product makes, as a pure function.

0. Guardrails: what they have found so far and what the evidence shows now (`allocator.breaches`). From here on an evicted arm is
   not in the experiment.
1. Posteriors of every metric from the moments; of the objective, what is still pending counted neither for nor against an arm
   (`allocator.pending`), if the evidence has the lags of rewards.
2. What the shares should be:
   - draft: nobody takes part, and the previous shares stay.
   - stopped: the fallback arm gets all. Paused, or frozen by a guardrail: the previous shares stay. One arm: it gets all.
   - promoted: all goes to the promoted arm, by `allocator.promotion`; breaches are obeyed as before.
   - running: the policy's weights; while any arm has fewer than `warmup` units, an even part for it in their place, and for the
     others the proportions they have: all even at the start, and an arm added later takes from each its part. What is wanted then
     goes through the constraints, in the order that `allocator.constraints` gives.
   - running, and the policy gives no usable weights: the previous shares are held, and the reason says why.
3. Whole ppm by largest remainder.
4. The share of units that take part is that of the stage in force (`allocator.stages`), but of a draft or a promoted experiment.
   Before and after the schedule nobody is enrolled, until an arm is promoted.
5. Publish on any change a router must know of, on any change of what stands, and in time to renew the lease.

The shares to move from are the previous ones as the guardrails leave them: step `guardrail`, at once, whatever the maximum shift.

When the list of arms changed, those that remain keep their shares in proportion and new ones enter at the floor.

A segment is decided in the same way, of its own moments, under two more rules. It warms up with the experiment; after that,
with fewer than `warmup` units on all arms together it follows what the policy wants for the whole experiment. And until it has
weights of its own it moves from those of the experiment, which served it so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np

from allocator.breaches import Orders, remaining, spread, under, without
from allocator.constraints import to_ppm
from allocator.errors import AllocatorError
from allocator.evidence import Evidence
from allocator.experiment import OTHER_SEGMENT, Experiment
from allocator.moments import Moments
from allocator.policies import Choice, Context, Policy, Verdict, chosen, per_segment, policy_of
from allocator.posterior import Posteriors
from allocator.promotion import promoted
from allocator.publication import differ, publication
from allocator.quadrature import FloatArray
from allocator.readout import ArmState, arm_states
from allocator.sample_ratio import sample_ratio_clean
from allocator.stages import Step, next_standing
from allocator.standing import Standing
from allocator.steps import Path, Ppm, constrain, making_room, start_of
from allocator.weights import PPM, Weights

__all__ = ["Decision", "decide", "decide_all", "renew_at", "slices_of"]


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
        or arm id → moments of all its units, an absent arm having none. Laid out as ``experiment.columns``.
    previous : the last published weights (of that segment), None before the first.
    now : seconds since the epoch.
    segment : whose weights are wanted; None for those of the whole experiment. Guardrails broken before are known of the whole
        alone: `decide_all` makes segments obey them.

    Raises
    ------
    SpecError : the policy is unknown or its parameters are wrong; `load_experiment` refuses such a spec.
    """
    arms, metrics = experiment.arm_ids, len(experiment.columns)
    evidence = moments if isinstance(moments, Evidence) else Evidence.of_arms(arms, metrics, moments)
    return _Case(experiment, evidence, previous, now).decision(segment, previous, previous)


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
    case = _Case(experiment, evidence, whole, now)
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
    """One experiment at one time: what its decisions have in common, found once.

    `spec` and `known` are of all arms; `experiment` and `evidence`, which are decided on, of those that are not evicted.
    """

    def __init__(self, experiment: Experiment, evidence: Evidence, previous: Weights | None, now: float) -> None:
        self.spec, self.known, self.previous, self.now = experiment, evidence, previous, now
        self.former = Standing() if previous is None else previous.standing
        self.orders = Orders.of(experiment, evidence, self.former, 1 if previous is None else previous.version + 1, now)
        self.experiment, self.evidence = without(experiment, evidence, self.orders.evicted)
        self.whole = _Slice.of(self.experiment, Context.of(self.experiment, self.evidence, now))

    @cached_property
    def ramp(self) -> Step:
        """What the next decision starts from, and why: the stage follows the breaches."""
        standing = msgspec.structs.replace(self.former, breaches=self.orders.breaches)
        if standing.phase != self.spec.phase:  # whose units are counted from none on
            standing = msgspec.structs.replace(standing, phase=self.spec.phase, stage_units=0)
        published_ppm = None if self.previous is None else self.previous.enrolment.ppm
        units = sum(m.n for m in self.known.total)
        return next_standing(self.spec, standing, published_ppm, units, self.now, self._ratio_clean)

    def _ratio_clean(self) -> bool:
        served = {arm.id for arm in self.previous.arms if arm.ppm} if self.previous else self.spec.arm_ids
        return sample_ratio_clean(self.spec, self.known, served)

    @cached_property
    def policy(self) -> Policy:
        return policy_of(self.experiment.policy)

    @cached_property
    def choice(self) -> Choice:
        """For the whole experiment."""
        return self._chosen(self.whole)

    def decision(self, segment: str | None, previous: Weights | None, origin: Weights | None) -> Decision:
        """The next publication after `previous`, moving from the shares of `origin`."""
        experiment = self.spec
        found = self.whole if segment is None else self._segment(segment)
        made = self._made(found, origin)
        path, choice = made.path, made.choice
        told = self._told(path.reason)
        steps = {name: spread(ppm, self.experiment.arm_ids, experiment.arm_ids) for name, ppm in path.steps.items()}
        weights = publication(
            experiment,
            segment,
            previous,
            self.now,
            ppm=steps[next(reversed(steps))],
            enrolled_ppm=self.ramp.enrolled_ppm if path.enrolled is None else path.enrolled,
            standing=self.ramp.standing,
            fallback=self.orders.fallback(experiment),
            stopped=bool(self.orders.stopped_by),
            reason=f"{self.ramp.reason}; {told}" if self.ramp.moved else told,
        )
        changed = previous is None or differ(previous, weights)
        due = previous is not None and self.now >= renew_at(experiment, previous)
        if due and not changed:
            weights = msgspec.structs.replace(weights, reason=f"lease renewed; {weights.reason}")
        shown = found.objective if choice is None or choice.posteriors is None else choice.posteriors
        return Decision(
            weights=weights,
            arms=self._states(segment, found, shown, path.ppm),
            steps={name: list(ppm) for name, ppm in steps.items()},
            reason=weights.reason,
            publish=changed or due,
            settled=path.steps.get("shift") in (None, path.target) and ("promoted" not in path.steps or path.enrolled == PPM),
            ramp=self.ramp,
            verdict=None if choice is None else choice.verdict,
            failure=made.failure,
        )

    def _told(self, reason: str) -> str:
        """What guardrails found just now comes first; what stands from before is named too."""
        orders = self.orders
        if orders.news:
            return f"{orders.news}; {reason}"
        return f"{reason}; {orders.why}" if orders.why else reason

    def _states(self, segment: str | None, found: _Slice, shown: Posteriors, ppm: Ppm) -> tuple[ArmState, ...]:
        """Readouts of all arms. Evicted ones have a share and a P(best) of 0: P(best) is among those that can get traffic."""
        metrics = found.context.metrics if segment is None else {}
        states = arm_states(found.n, shown, metrics, ppm, found.pending)
        if not self.orders.evicted:
            return states
        every = _Slice.of(self.spec, Context.of(self.spec, self.known, self.now, segment))
        nothing = [0] * len(self.spec.arms)
        all_metrics = every.context.metrics if segment is None else {}
        by_arm = {state.id: state for state in arm_states(every.n, every.objective, all_metrics, nothing, every.pending)}
        by_arm = {arm: msgspec.structs.replace(state, p_best=0.0) for arm, state in by_arm.items()}
        return tuple((by_arm | {state.id: state for state in states}).values())

    def _segment(self, segment: str) -> _Slice:
        return _Slice.of(self.experiment, Context.of(self.experiment, self.evidence, self.now, segment, self.whole.context))

    def _made(self, found: _Slice, origin: Weights | None) -> _Made:
        """Step 2 of the module's docstring."""
        experiment, path, orders = self.experiment, Path(), self.orders
        limits = orders.limits(experiment.arm_ids)
        start = self._start(path, origin, limits)
        if experiment.status == "promoted":
            path.enrolled = None if origin is None else origin.enrolment.ppm  # stages apply no longer
            if not (orders.stopped_by or orders.frozen):
                return _Made(promoted(path, experiment, start, limits))
        if experiment.status != "running" or len(experiment.arms) == 1 or orders.stopped_by or orders.frozen:
            return _Made(_at_rest(experiment, path, start, orders))
        even = np.full(len(experiment.arms), 1 / len(experiment.arms))
        if cold := [k for k, units in enumerate(self.whole.n) if units < experiment.constraints.warmup]:
            wanted = even if start is None else making_room(start, cold, experiment.constraints.floor)
            path.step("warm-up", to_ppm(wanted))
            return _Made(constrain(path, experiment, wanted, _warm_up(experiment, self.whole.n, cold), start, limits))
        try:
            choice, why = self._wanted(found, path)
        except AllocatorError as error:
            if start is not None:
                return _Made(path.step("held", start, f"held: {error}"), failure=error)
            path.step("even", to_ppm(even))
            return _Made(constrain(path, experiment, even, f"even split: {error}", None, limits), failure=error)
        return _Made(constrain(path, experiment, choice.weights, why, start, limits), choice)

    def _start(self, path: Path, origin: Weights | None, limits: FloatArray | None) -> Ppm | None:
        """The shares to move from, which breaches have changed already."""
        if origin is None:
            return None
        start = start_of(self.experiment, remaining(origin, self.orders.evicted, self.experiment.control))
        if start is not None and (self.orders.evicted or limits is not None):
            start = under(limits, start)
            path.step("guardrail", start)
        return start

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


def _at_rest(experiment: Experiment, path: Path, start: Ppm | None, orders: Orders) -> Path:
    """Where no policy is asked."""
    arms = experiment.arm_ids
    if orders.stopped_by or experiment.status in ("stopped", "archived"):
        to = orders.fallback(experiment)
        all_to = tuple(PPM if arm == to else 0 for arm in arms)
        return path.step("stopped", all_to, f"{'' if orders.stopped_by else 'stopped: '}all traffic to {to}")
    held = under(orders.limits(arms), to_ppm(np.full(len(arms), 1 / len(arms)))) if start is None else start
    if experiment.status == "draft":
        path.enrolled = 0
        return path.step("draft", held, f"draft: every unit gets {experiment.fallback} until the experiment is started")
    if len(arms) == 1:
        return path.step("one arm", (PPM,), f"{arms[0]} is the only arm{' left' if orders.evicted else ''}")
    if experiment.status in ("running", "promoted"):
        return path.step("frozen", held, "weights held")
    return path.step("paused", held, "paused: weights held")


def _warm_up(experiment: Experiment, n: Sequence[int], cold: Sequence[int]) -> str:
    fewest = min(cold, key=lambda k: n[k])
    others = f", and {len(cold) - 1} more short of it" if len(cold) > 1 else ""
    return f"warm-up: {experiment.arm_ids[fewest]} has {n[fewest]} of {experiment.constraints.warmup} units{others}"


def _leader(arms: Sequence[str], objective: Posteriors) -> str:
    p = objective.prob_best()
    first = int(np.argmax(p))
    return f"{arms[first]} leads: P(best) {p[first]:.2f}"
