"""What the guardrails broken so far ask of the next weights: who stands under which action, and what that does to shares.

Breaches are found in the whole experiment and obeyed by its segments too. One stands, at the action the spec gives its guardrail
now, until a person ends it: overrules it, from when on the guardrail is an alert for that arm, or takes the guardrail or the arm
out of the spec. No data ends it: an arm without traffic has no new ones.

1. `stop`: all traffic to the fallback, and routers log no exposures. To control if it is the fallback that is out.
2. `evict`: everything is decided as if the arm were not in the spec, so it has no say in warm-up, floor and P(best), and what it
   had goes to the others in proportion. At once: neither floor nor maximum shift apply to it.
3. `cap`: the arm has no more than the guardrail's cap, at once; what is cut goes to the others in proportion.
4. `freeze`: the shares that 2 and 3 leave are held.
5. `alert`: nothing.

They act in a paused experiment too, and in a promoted one, whose arm gives its share to control if it is evicted. A stopped one
has no traffic to guard; what stood then stays written down.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from allocator.constraints import to_ppm, to_shares
from allocator.evidence import Evidence
from allocator.experiment import Experiment, Policy
from allocator.guardrail import Guardrail
from allocator.guardrails import GuardrailReading, guardrail_readings
from allocator.quadrature import FloatArray
from allocator.standing import Action, Breach, Standing
from allocator.weights import PPM, Weights

__all__ = ["DONE", "Orders", "Ppm", "action_of", "finding", "remaining", "sentence", "spread", "under", "without"]

Ppm = tuple[int, ...]
GUARDED = ("running", "paused", "promoted")
"""Statuses in which breaches are looked for and obeyed."""
DONE: dict[Action, str] = {"alert": "alert", "freeze": "frozen", "cap": "capped", "evict": "evicted", "stop": "stopped"}
"""What was done, in a word."""


@dataclass(frozen=True, slots=True, eq=False)
class Orders:
    """What stands, and what it asks for.

    Parameters
    ----------
    breaches : those that stand, in the order in which they were found.
    news : what was found just now, in a sentence; empty if nothing was.
    evicted, stopped_by : arms.
    caps : arm → largest share.
    frozen : whether weights are held.
    """

    breaches: tuple[Breach, ...] = ()
    news: str = ""
    evicted: tuple[str, ...] = ()
    stopped_by: tuple[str, ...] = ()
    caps: Mapping[str, float] = field(default_factory=dict)
    frozen: bool = False

    @classmethod
    def of(cls, experiment: Experiment, evidence: Evidence, standing: Standing, version: int, now: float) -> Orders:
        """What the former breaches and the evidence ask for.

        Parameters
        ----------
        standing : of the previous weights of the whole experiment.
        version : of the weights that are being decided.
        now : seconds since the epoch.
        """
        if experiment.status not in GUARDED:
            return cls(standing.breaches)
        kept = tuple(_kept(experiment, standing.breaches))
        if not experiment.guardrails:
            return cls(kept)
        gone = {breach.arm for breach in kept if breach.action == "evict"}
        known = {(breach.metric, breach.arm) for breach in kept}
        open_ = {(m, a) for m in experiment.guardrails for a in experiment.arm_ids if a not in gone and (m, a) not in known}
        found = guardrail_readings(experiment, evidence, among=open_, broken_only=True)
        new = tuple(_breach(reading, action_of(experiment, reading.metric, reading.arm), version, now) for reading in found)
        news = "; ".join(
            sentence(experiment.guardrails[breach.metric], breach, reading.control_mean)
            for reading, breach in zip(found, new, strict=True)
        )
        standing_now = kept + new
        return cls(
            breaches=standing_now,
            news=news,
            evicted=_arms(standing_now, "evict"),
            stopped_by=_arms(standing_now, "stop"),
            caps=_caps(experiment, standing_now),
            frozen=any(breach.action == "freeze" for breach in standing_now),
        )

    @property
    def why(self) -> str:
        """What stands and acts, in a few words; empty if nothing does."""
        return "; ".join(_word(breach) for breach in self.breaches if breach.action != "alert")

    def fallback(self, experiment: Experiment) -> str:
        """The arm for those who get none by the weights: control, where the spec's fallback is out."""
        return experiment.control if experiment.fallback in {*self.evicted, *self.stopped_by} else experiment.fallback

    def limits(self, arms: Sequence[str]) -> FloatArray | None:
        """Largest share of every arm, shape (arms,); None where no arm is capped."""
        return np.array([self.caps.get(arm, 1.0) for arm in arms]) if self.caps else None


def action_of(experiment: Experiment, metric: str, arm: str) -> Action:
    """What a guardrail does about an arm: its action, but an alert where a person has overruled it."""
    return "alert" if arm in experiment.overruled.get(metric, ()) else experiment.guardrails[metric].action


def finding(guardrail: Guardrail | None, breach: Breach, control_mean: float) -> str:
    """Such as: guardrail revenue: new is 3.1 % below control, by at least 1.4 %, 1 % is allowed.

    Parameters
    ----------
    guardrail : None where the spec has it no more.
    control_mean : of the metric, which a relative tolerance is a share of; nan where it is not known.
    """
    relative = guardrail is not None and guardrail.relative > 0
    scale = abs(control_mean) if relative and math.isfinite(control_mean) else 0.0

    def size(value: float) -> str:
        return f"{100 * abs(value) / scale:.3g} %" if scale else f"{abs(value):.4g}"

    side = "below" if breach.estimate < 0 else "above"
    found = f"guardrail {breach.metric}: {breach.arm} is {size(breach.estimate)} {side} control, by at least {size(breach.bound)}"
    if guardrail is None:
        return found
    allowed = f"{100 * guardrail.relative:.3g} %" if relative else f"{guardrail.absolute:.4g}"
    return f"{found}, {allowed}{' of its mean' if relative and not scale else ''} is allowed"


def sentence(guardrail: Guardrail | None, breach: Breach, control_mean: float) -> str:
    """`finding`, and what was done about it."""
    return f"{finding(guardrail, breach, control_mean)}: {DONE[breach.action]}"


def without(experiment: Experiment, evidence: Evidence, evicted: Sequence[str]) -> tuple[Experiment, Evidence]:
    """Both as if the evicted arms were not in the spec; a cap that the others could not keep is raised to their even split."""
    if not evicted:
        return experiment, evidence
    arms = tuple(arm for arm in experiment.arms if arm.id not in evicted)
    rules = experiment.constraints
    reduced = msgspec.structs.replace(
        experiment,
        arms=arms,
        fallback=experiment.control if experiment.fallback in evicted else experiment.fallback,
        policy=_policy(experiment.policy, experiment.arm_ids, evicted),
        constraints=msgspec.structs.replace(rules, cap=max(rules.cap, 1 / len(arms))),
    )
    fewer = Evidence(
        reduced.arm_ids,
        evidence.metrics,
        evidence.segments,
        evidence.periods,
        evidence.lags,
        evidence.all_lags,
        evidence.read_until,
    )
    return reduced, fewer


def remaining(weights: Weights, evicted: Sequence[str], control: str) -> Weights:
    """The weights without the evicted arms; what they had goes to the others in proportion, to control if these had nothing."""
    if not any(arm.id in evicted for arm in weights.arms):
        return weights
    kept = [arm for arm in weights.arms if arm.id not in evicted]
    if any(arm.ppm for arm in kept):
        shares = to_ppm(to_shares([arm.ppm for arm in kept]))
    else:
        shares = tuple(PPM if arm.id == control else 0 for arm in kept)
    arms = tuple(msgspec.structs.replace(arm, ppm=ppm) for arm, ppm in zip(kept, shares, strict=True))
    return msgspec.structs.replace(weights, arms=arms)


def spread(ppm: Ppm, among: Sequence[str], arms: Sequence[str]) -> Ppm:
    """Shares of some arms as those of all, the others having none."""
    shares = dict(zip(among, ppm, strict=True))
    return tuple(shares.get(arm, 0) for arm in arms)


def under(limits: FloatArray | None, ppm: Ppm) -> Ppm:
    """The shares with no arm above its limit; what is cut goes to the others in proportion to what they have."""
    if limits is None or all(share <= limit * PPM + 1 for share, limit in zip(ppm, limits.tolist(), strict=True)):
        return ppm
    shares = to_shares(ppm)
    over = shares > limits
    while True:  # each round limits at least one more arm; control has no limit
        free = float(shares[~over].sum())
        left = 1.0 - float(limits[over].sum())
        scaled = shares * (left / free) if free > 0 else np.where(limits >= 1.0, left / int((limits >= 1.0).sum()), shares)
        out = np.where(over, limits, scaled)
        if not np.any(more := out > limits + 1e-12):
            return to_ppm(out)
        over |= more


def _kept(experiment: Experiment, breaches: Iterable[Breach]) -> Iterable[Breach]:
    """Those that stand on, at the action that the spec gives now."""
    for breach in breaches:
        if breach.metric not in experiment.guardrails or breach.arm not in experiment.arm_ids or breach.arm == experiment.control:
            continue
        action = action_of(experiment, breach.metric, breach.arm)
        if breach.arm in experiment.overruled.get(breach.metric, ()) and breach.action != "alert":
            continue  # overruled: found anew, as an alert, if it still shows
        yield breach if action == breach.action else msgspec.structs.replace(breach, action=action)


def _breach(reading: GuardrailReading, action: Action, version: int, now: float) -> Breach:
    return Breach(
        metric=reading.metric,
        arm=reading.arm,
        action=action,
        version=version,
        ts=now,
        units=reading.units,
        estimate=reading.estimate,
        bound=reading.bound,
    )


def _word(breach: Breach) -> str:
    done = f"{DONE[breach.action]} by guardrail {breach.metric}"
    return f"{breach.arm} {done}" if breach.action in ("cap", "evict") else f"{done} ({breach.arm})"


def _arms(breaches: Iterable[Breach], action: Action) -> tuple[str, ...]:
    return tuple(dict.fromkeys(breach.arm for breach in breaches if breach.action == action))


def _caps(experiment: Experiment, breaches: Iterable[Breach]) -> dict[str, float]:
    caps: dict[str, float] = {}
    for breach in breaches:
        if breach.action == "cap":
            cap = experiment.guardrails[breach.metric].cap or 1.0
            caps[breach.arm] = min(cap, caps.get(breach.arm, 1.0))
    return caps


def _policy(policy: Policy, arms: Sequence[str], evicted: Sequence[str]) -> Policy:
    """A parameter that says something of every arm says it of the others alone."""
    params = {
        name: {arm: v for arm, v in value.items() if arm not in evicted}
        if isinstance(value, Mapping) and set(value) == set(arms)
        else value
        for name, value in policy.params.items()
    }
    return msgspec.structs.replace(policy, params=params)
