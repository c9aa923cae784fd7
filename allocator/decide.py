"""From moments to the next weights: the one decision the product makes, as a pure function.

1. Posteriors of every metric from the moments.
2. What the shares should be:
   - stopped: the fallback arm gets all. Paused: the previous shares stay. One arm: it gets all.
   - running: the policy's weights; while any arm has fewer than `warmup` units, the even split in their place;
     a. floor: f + (1 - K f) w;
     b. dead-band: if no arm would change by more than it, the previous shares stay;
     c. maximum shift: from the previous shares towards the target, until the first arm has changed by that much.
     The dead-band judges the change that is wanted, not the one that is allowed, or a maximum shift below it would freeze the
     shares for ever. The floor comes before the maximum shift: an arm below it (new, or the floor was raised) is lifted at once.
     Without previous weights there is nothing to shift from, and the target is published as it is.
3. Whole ppm by largest remainder.
4. Publish on any change a router must know of, and in time to renew the lease.

When the list of arms changed, those that remain keep their shares in proportion and new ones enter at the floor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
from xxhash import xxh64_hexdigest, xxh64_intdigest

from allocator.constraints import lifted, limited, to_ppm, to_shares, with_floor
from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.moments import Moments
from allocator.objective import Objective
from allocator.policies import Context, policy_of
from allocator.posterior import Posteriors, posteriors_of
from allocator.quadrature import FloatArray
from allocator.readout import ArmState, MetricState
from allocator.weights import PPM, Gate, Holdback, WeightedArm, Weights

__all__ = ["Decision", "decide", "renew_at", "spec_hash"]

Ppm = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What `decide` concludes.

    Parameters
    ----------
    weights : the next publication; `inputs` is left to the caller.
    arms : readouts in the spec's order.
    steps : shares in ppm after each step, in order; the last one is in `weights`.
    reason : one sentence: what moved what, or why nothing moved.
    publish : whether routers need `weights`; else the previous publication still serves.
    settled : whether the shares are where the data wants them; False while the maximum shift holds them back, so that
        deciding again moves them further without any new data.
    """

    weights: Weights
    arms: tuple[ArmState, ...]
    steps: dict[str, list[int]]
    reason: str
    publish: bool
    settled: bool


@dataclass(slots=True)
class _Path:
    """Shares on their way from the policy to publication."""

    steps: dict[str, Ppm] = field(default_factory=dict)
    reason: str = ""

    def step(self, name: str, ppm: Ppm, reason: str = "") -> _Path:
        self.steps[name] = ppm
        self.reason = reason or self.reason
        return self

    @property
    def ppm(self) -> Ppm:
        return next(reversed(self.steps.values()))


def decide(experiment: Experiment, moments: Evidence | Mapping[str, Moments], previous: Weights | None, now: float) -> Decision:
    """The next weights of an experiment. The same arguments give the same bits.

    Parameters
    ----------
    moments : what trains the allocation (held-back units do not), with segments and periods for the policies that ask for them;
        or arm id → moments of all its units, an absent arm having none. Metrics are in the order of ``experiment.metrics``.
    previous : the last published weights, None before the first.
    now : seconds since the epoch.

    Raises
    ------
    SpecError : the policy is unknown or its parameters are wrong; `load_experiment` refuses such a spec.
    """
    arms, metrics = experiment.arm_ids, len(experiment.metrics)
    evidence = moments if isinstance(moments, Evidence) else Evidence.of_arms(arms, metrics, moments)
    per_arm = evidence.total
    posteriors = {name: posteriors_of(metric, j, arms, per_arm) for j, (name, metric) in enumerate(experiment.metrics.items())}
    context = Context(
        objective=Objective.of(experiment),
        evidence=evidence,
        metrics=posteriors,
        control=arms.index(experiment.control),
        segment=None,
        now=now,
        period_s=experiment.period_s,
    )
    path = _shares(experiment, [m.n for m in per_arm], posteriors[experiment.objective], context, previous)
    weights = _weights(experiment, path.ppm, path.reason, previous, now)
    changed = previous is None or _changed(previous, weights)
    due = previous is not None and now >= renew_at(experiment, previous)
    if due and not changed:
        weights = msgspec.structs.replace(weights, reason=f"lease renewed; {path.reason}")
    return Decision(
        weights=weights,
        arms=_readouts(experiment, per_arm, posteriors, path.ppm),
        steps={name: list(ppm) for name, ppm in path.steps.items()},
        reason=weights.reason,
        publish=changed or due,
        settled=path.steps.get("shift") in (None, path.steps.get("floor")),
    )


def renew_at(experiment: Experiment, previous: Weights) -> float:
    """When unchanged weights are published again: a third of the lease after they were, which leaves two tries."""
    return previous.valid_until - experiment.lease_s * 2 / 3


def spec_hash(experiment: Experiment) -> str:
    """16 hex digits of the xxh64 of the spec's JSON without status and revision."""
    fields = msgspec.to_builtins(experiment)
    del fields["status"], fields["revision"]
    return xxh64_hexdigest(msgspec.json.encode(fields))


# -- shares ----------------------------------------------------------------------------------------------------------------------


def _shares(experiment: Experiment, n: Sequence[int], objective: Posteriors, context: Context, previous: Weights | None) -> _Path:
    """Step 2 of the module's docstring."""
    arms, path = experiment.arm_ids, _Path()
    if experiment.status == "stopped":
        all_to = tuple(PPM if arm == experiment.fallback else 0 for arm in arms)
        return path.step("stopped", all_to, f"stopped: all traffic to {experiment.fallback}")
    if len(arms) == 1:
        return path.step("one arm", (PPM,), f"{arms[0]} is the only arm")
    even = np.full(len(arms), 1 / len(arms))
    start = None if previous is None else _start(experiment, previous)
    if experiment.status == "paused":
        return path.step("paused", to_ppm(even) if start is None else start, "paused: weights held")
    cold = [k for k, units in enumerate(n) if units < experiment.constraints.warmup]
    if cold:
        wanted, why = even, _warm_up(experiment, n, cold)
        path.step("warm-up", to_ppm(even))
    else:
        wanted, why = policy_of(experiment.policy).weights(objective, context), _leader(arms, objective)
        path.step("policy", to_ppm(wanted))
    return _constrain(experiment, path, wanted, why, start)


def _constrain(experiment: Experiment, path: _Path, wanted: FloatArray, why: str, start: Ppm | None) -> _Path:
    """Steps 2a to 2c and 3."""
    rules = experiment.constraints
    target = with_floor(wanted, rules.floor)
    path.step("floor", to_ppm(target), why)
    if start is None:
        return path.step("floor", path.ppm, f"first weights; {why}")
    above_floor = min(start) >= rules.floor * PPM - 1  # rounding to whole ppm may have taken one
    largest = max(abs(to - at) for to, at in zip(path.ppm, start, strict=True))
    if above_floor and largest <= rules.dead_band * PPM:
        if "warm-up" in path.steps:
            return path.step("dead-band", start, why)
        held = f"held: the largest change, {_percent(largest / PPM)}, is within the dead-band {_percent(rules.dead_band)}"
        return path.step("dead-band", start, held)
    shares = to_shares(start)
    if not above_floor:
        shares = lifted(shares, rules.floor)
        path.step("lift", to_ppm(shares))
    path.step("shift", to_ppm(limited(shares, target, rules.max_shift)))
    if largest > rules.max_shift * PPM:
        return path.step("shift", path.ppm, f"{why}; moved by at most {_percent(rules.max_shift)}")
    return path.step("shift", path.ppm, f"{why}; moved by {_percent(largest / PPM)}")


def _start(experiment: Experiment, previous: Weights) -> Ppm | None:
    """The shares to move from: the previous ones, fitted to a changed list of arms; None if no arm with a share remains."""
    shares = {arm.id: arm.ppm for arm in previous.arms}
    kept = tuple(shares.get(arm, 0) for arm in experiment.arm_ids)
    if experiment.arm_ids == tuple(shares):
        return kept
    if not any(kept):
        return None
    remaining = to_shares(kept)
    return to_ppm(lifted(remaining / remaining.sum(), experiment.constraints.floor))


def _warm_up(experiment: Experiment, n: Sequence[int], cold: Sequence[int]) -> str:
    fewest = min(cold, key=lambda k: n[k])
    others = f", and {len(cold) - 1} more short of it" if len(cold) > 1 else ""
    return f"warm-up: {experiment.arm_ids[fewest]} has {n[fewest]} of {experiment.constraints.warmup} units{others}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _leader(arms: Sequence[str], objective: Posteriors) -> str:
    p = objective.prob_best()
    first = int(np.argmax(p))
    return f"{arms[first]} leads: P(best) {p[first]:.2f}"


# -- the record and the readouts -------------------------------------------------------------------------------------------------


def _weights(experiment: Experiment, ppm: Ppm, reason: str, previous: Weights | None, now: float) -> Weights:
    name = experiment.experiment
    arms = zip(experiment.arm_ids, ppm, strict=True)
    return Weights(
        experiment=name,
        version=1 if previous is None else previous.version + 1,
        status=experiment.status,
        arms=tuple(WeightedArm(arm, share, _seed(name, "arm", arm)) for arm, share in arms),
        enrolment=Gate(round(experiment.enrolment * PPM), _seed(name, "enrolment")),
        holdback=Holdback(round(experiment.holdback * PPM), _seed(name, "holdback"), experiment.control),
        valid_until=now + experiment.lease_s,
        fallback=experiment.fallback,
        policy=experiment.policy.name,
        reason=reason,
        spec_hash=spec_hash(experiment),
        ts=now,
    )


def _seed(*names: str) -> int:
    """32 bits of the names: no arm's seed depends on another arm. '/' is in no name, so no two lists of names look alike."""
    return xxh64_intdigest("/".join(names).encode()) & 0xFFFF_FFFF


def _changed(previous: Weights, weights: Weights) -> bool:
    """Whether routers would act on `weights` otherwise than on `previous`, or the spec behind them is another."""
    return (
        weights.arms != previous.arms
        or weights.status != previous.status
        or weights.enrolment != previous.enrolment
        or weights.holdback != previous.holdback
        or weights.fallback != previous.fallback
        or weights.spec_hash != previous.spec_hash
    )


def _readouts(
    experiment: Experiment, moments: Sequence[Moments], posteriors: Mapping[str, Posteriors], ppm: Ppm
) -> tuple[ArmState, ...]:
    per_metric = {name: _metric_readouts(moments, found) for name, found in posteriors.items()}
    p_best = posteriors[experiment.objective].prob_best().tolist()
    arms = []
    for k, arm in enumerate(experiment.arm_ids):
        metrics = {name: readouts[k] for name, readouts in per_metric.items()}
        on = metrics[experiment.objective]
        state = ArmState(id=arm, n=on.n, mean=on.mean, interval=on.interval, p_best=p_best[k], ppm=ppm[k], metrics=metrics)
        arms.append(state)
    return tuple(arms)


def _metric_readouts(moments: Sequence[Moments], posteriors: Posteriors) -> list[MetricState]:
    known = np.isfinite(posteriors.mean).tolist()
    return [
        MetricState(n=m.n, mean=mean if sure else None, interval=(low, high) if sure else None)
        for m, mean, (low, high), sure in zip(
            moments, posteriors.mean.tolist(), posteriors.interval().tolist(), known, strict=True
        )
    ]
