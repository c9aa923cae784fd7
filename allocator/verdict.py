"""What to do with an experiment now: keep going, promote an arm, stop, or repair what is broken. With the reason in one sentence.

The rules, in this order; the first that applies speaks (`RULES`). Intervals are those of the objective's difference from control,
valid at any time, for all arms together at `alpha` (each at alpha / (arms - 1)); "worth having" is a lift of `LEAST_LIFT`.

| rule | applies when | verdict |
| --- | --- | --- |
| over | the owner has stopped, archived or promoted it | stop, or promote the arm |
| health | an alarm: what the data say cannot be trusted | broken |
| stopped by a guardrail | a breach that stands has the action `stop` | stop |
| nothing left | every arm but control has been evicted | stop |
| winner | an arm's interval is above 0; choosing it gives away less than is worth having, or it is surely best | promote it |
| futility | no arm's interval reaches what is worth having | stop, on control |
| undecided | else | keep going, with the units expected to be missing |

An arm with a breach that is more than an alert can be neither promoted nor hoped for. Every breach that stands is told with its
figures: in the reason, if it is the reason, else among the cautions. A winner has to be proven against control,
since control is what it replaces; against the other arms a small expected loss (`Posteriors.expected_loss`) is enough, or two
equally good arms would run for ever. "Surely" is P(best) of at least 1 - alpha.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from allocator.breaches import finding, sentence
from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.guardrail import Guardrail
from allocator.guardrails import guardrail_readings
from allocator.inference import Estimate, Observations, differences, lifts
from allocator.metric_tree import node_of
from allocator.posterior import NormalPosteriors, Posteriors
from allocator.remaining import Remaining, remaining_units
from allocator.standardise import comparable_posteriors
from allocator.standing import Breach
from allocator.weights import Weights

__all__ = ["ALPHA", "LEAST_LIFT", "RULES", "Alarm", "Case", "Kind", "Remaining", "Verdict", "lease_alarms", "verdict"]

Kind = Literal["keep going", "promote", "stop", "broken"]

ALPHA = 0.05
LEAST_LIFT = 0.01
"""The relative lift over control that is worth having."""
DAY_S = 86400.0
ALERT = "alert"


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that makes the data, or the weights, untrustworthy: which check, what it found, what mends it."""

    check: str
    found: str
    repair: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, and why.

    Parameters
    ----------
    kind, arm : what; the arm to promote, or to stop on.
    reason : one sentence with its figures.
    rule : which row of the module's table spoke.
    remaining : of "keep going", if it can be told.
    cautions : what does not change the verdict but should be known by who acts on it.
    """

    kind: Kind
    arm: str | None
    reason: str
    rule: str
    remaining: Remaining | None
    cautions: tuple[str, ...]
    alpha: float
    method: str
    assumptions: tuple[str, ...]

    @property
    def headline(self) -> str:
        """`keep going`, `promote b`, `stop`, `broken`."""
        return f"promote {self.arm}" if self.kind == "promote" else self.kind


@dataclass(frozen=True)
class Case:
    """What the rules look at.

    Parameters
    ----------
    experiment : the spec in force.
    effects : the objective's difference from control of every other arm, with simultaneous intervals; from units whose rewards
        are in.
    posteriors : of the objective.
    units : counted, an arm; held-back ones left out.
    breaches : guardrails that were broken and stand.
    control_means : metric and arm of a breach → control's mean on that metric, beside that arm; one may be missing.
    alarms : of health checks.
    since : when the first unit came, in seconds since the epoch; None without units.
    now : seconds since the epoch.
    promoted : the arm that the owner has promoted, if any.
    ready_at : when rewards of the first units are all in.
    lifts : arm → relative lift, for the reason; an arm may be missing.
    """

    experiment: Experiment
    effects: tuple[Estimate, ...]
    posteriors: Posteriors
    units: tuple[int, ...]
    now: float
    breaches: tuple[Breach, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    since: float | None = None
    ready_at: float | None = None
    promoted: str | None = None
    lifts: Mapping[str, float] = field(default_factory=dict)
    control_means: Mapping[tuple[str, str], float] = field(default_factory=dict)
    alpha: float = ALPHA
    least_lift: float = LEAST_LIFT
    cautions: tuple[str, ...] = field(default=())

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        evidence: Evidence,
        now: float,
        weights: Weights | None = None,
        *,
        alarms: Sequence[Alarm] = (),
        cautions: Sequence[str] = (),
        alpha: float = ALPHA,
        least_lift: float = LEAST_LIFT,
    ) -> Case:
        """From what is counted and published. ArgumentError: alpha outside (0, 1)."""
        arms, name = experiment.arm_ids, experiment.objective
        observations = Observations.of(experiment, name, evidence, now)
        first = min((period for period, cells in evidence.by_period.items() if any(m.n for m in cells)), default=None)
        since = None if first is None else first * experiment.period_s
        late_s = experiment.period_s + node_of(experiment, name).window_s + experiment.grace_s
        relative = lifts(observations, experiment.control, alpha=alpha)
        breaches = () if weights is None else weights.standing.breaches
        broken = {(breach.metric, breach.arm) for breach in breaches}
        readings = guardrail_readings(experiment, evidence, among=broken) if broken else ()
        return cls(
            experiment=experiment,
            lifts={lift.arm: lift.estimate for lift in relative},
            effects=differences(observations, experiment.control, alpha=alpha / max(len(arms) - 1, 1)),
            posteriors=comparable_posteriors(experiment, evidence, now),
            units=tuple(moments.n for moments in evidence.total),
            now=now,
            promoted=None if experiment.status == "stopped" else experiment.promoted,
            breaches=breaches,
            control_means={(reading.metric, reading.arm): reading.control_mean for reading in readings},
            alarms=tuple(alarms),
            since=since,
            ready_at=None if since is None else since + late_s,
            alpha=alpha,
            least_lift=least_lift,
            cautions=tuple(cautions),
        )

    @property
    def total(self) -> int:
        """Units of all arms."""
        return sum(self.units)

    @property
    def sign(self) -> float:
        """Of a difference that is for the better."""
        return -1.0 if self.posteriors.down else 1.0

    def finding(self, breach: Breach) -> str:
        """What the guardrail found, with its figures."""
        return finding(*self._measured(breach))

    def told(self, reason: str) -> tuple[str, ...]:
        """What the guardrails have found besides, and what was done."""
        return tuple(sentence(*self._measured(breach)) for breach in self.breaches if self.finding(breach) not in reason)

    def _measured(self, breach: Breach) -> tuple[Guardrail | None, Breach, float]:
        mean = self.control_means.get((breach.metric, breach.arm), math.nan)
        return self.experiment.guardrails.get(breach.metric), breach, mean

    @cached_property
    def barred(self) -> frozenset[str]:
        """Arms with a breach that is more than an alert."""
        return frozenset(breach.arm for breach in self.breaches if breach.action != ALERT)

    @cached_property
    def gains(self) -> tuple[_Gain, ...]:
        """The effects of the arms that may win, turned so that more is better; the largest first."""
        found = [_Gain.of(effect, self.sign) for effect in self.effects if effect.arm not in self.barred]
        return tuple(sorted(found, key=lambda gain: -gain.estimate if math.isfinite(gain.estimate) else math.inf))

    @cached_property
    def worth(self) -> float:
        """The gain that is worth having, in the objective's unit; nan where control's mean is not known."""
        return self.least_lift * abs(self.control_mean)

    @property
    def control_mean(self) -> float:
        """Of the objective."""
        return float(self.posteriors.mean[self.experiment.arm_ids.index(self.experiment.control)])

    def expected_loss(self, arm: str) -> float:
        """What choosing the arm is expected to give away, a unit, against the best of those that may be chosen."""
        return float(self._choice.expected_loss()[self._choice.arms.index(arm)])

    def prob_best(self, arm: str) -> float:
        """Probability that it is the best of those that may be chosen."""
        return float(self._choice.prob_best()[self._choice.arms.index(arm)])

    @cached_property
    def _choice(self) -> Posteriors:
        """Of the arms that are not barred: by their normal limit where some are."""
        found = self.posteriors
        kept = [k for k, arm in enumerate(found.arms) if arm not in self.barred]
        if len(kept) == len(found.arms):
            return found
        return NormalPosteriors(tuple(found.arms[k] for k in kept), found.mean[kept], found.sd[kept], found.down)


@dataclass(frozen=True, slots=True)
class _Gain:
    """A difference from control, turned so that more is better."""

    arm: str
    estimate: float
    low: float
    high: float
    units: int
    refusal: str

    @classmethod
    def of(cls, effect: Estimate, sign: float) -> _Gain:
        low, high = sorted((sign * effect.low, sign * effect.high))
        return cls(effect.arm, sign * effect.estimate, low, high, effect.n, effect.refusal)

    @property
    def half(self) -> float:
        return (self.high - self.low) / 2


def verdict(case: Case) -> Verdict:
    """The first of `RULES` that applies. The same case gives the same verdict."""
    name, (kind, arm, reason, remaining) = next((name, found) for name, rule in RULES if (found := rule(case)) is not None)
    first = case.effects[0] if case.effects else None
    return Verdict(
        kind=kind,
        arm=arm,
        reason=reason,
        rule=name,
        remaining=remaining,
        cautions=(*case.told(reason), *case.cautions),
        alpha=case.alpha,
        method="no comparison: a single arm"
        if first is None
        else f"{first.method}, for all arms together at {case.alpha:g}; expected loss by {case.posteriors.method}",
        assumptions=() if first is None else tuple(dict.fromkeys((*first.assumptions, *case.posteriors.assumptions))),
    )


def lease_alarms(experiment: Experiment, weights: Weights | None, now: float) -> tuple[Alarm, ...]:
    """What the newest weights say of the worker: it renews them as long as it lives, unless the policy fails."""
    if weights is None or experiment.status not in ("running", "paused", "promoted"):
        return ()
    found = []
    if now > weights.valid_until:
        ago = f"the weights ran out {_ago(now - weights.valid_until)} ago, so that routers serve {weights.fallback}"
        found.append(Alarm("weights", ago, "start a worker, or see why it does not publish"))
    if weights.reason.startswith("held: "):
        found.append(Alarm("policy", f"it gives no weights: {weights.reason.removeprefix('held: ')}", "mend the spec's policy"))
    return tuple(found)


# -- the rules -------------------------------------------------------------------------------------------------------------------

_Found = tuple[Kind, str | None, str, Remaining | None]


def _over(case: Case) -> _Found | None:
    status: str = case.experiment.status
    if case.promoted is not None:
        return "promote", case.promoted, f"{case.promoted} has been promoted", None
    if status in ("stopped", "archived"):
        arm = case.experiment.fallback
        return "stop", arm, f"the experiment is {status}: all traffic goes to {arm}", None
    return None


def _unhealthy(case: Case) -> _Found | None:
    if not case.alarms:
        return None
    first, more = case.alarms[0], len(case.alarms) - 1
    others = f" ({more} more alarm{'s' if more > 1 else ''})" if more else ""
    return "broken", None, f"{first.check}: {first.found}; {first.repair}{others}", None


def _stopped_by_guardrail(case: Case) -> _Found | None:
    breach = next((breach for breach in case.breaches if breach.action == "stop"), None)
    if breach is None:
        return None
    return "stop", case.experiment.fallback, f"stopped by {case.finding(breach)}", None


def _nothing_left(case: Case) -> _Found | None:
    evicted = {breach.arm: breach for breach in case.breaches if breach.action in ("evict", "stop")}
    others = [arm for arm in case.experiment.arm_ids if arm != case.experiment.control]
    if not others or not all(arm in evicted for arm in others):
        return None
    first = evicted[others[0]]
    every = "every arm but control has been evicted" if len(others) > 1 else f"{others[0]} has been evicted"
    return "stop", case.experiment.control, f"{every}: {case.finding(first)}", None


def _winner(case: Case) -> _Found | None:
    for gain in case.gains:
        if gain.low > 0 and (case.expected_loss(gain.arm) < case.worth or case.prob_best(gain.arm) >= 1 - case.alpha):
            better = f"{gain.arm} is better than {case.experiment.control} on {case.experiment.objective}"
            return "promote", gain.arm, f"{better}: {_figures(case, gain)}", None
    return None


def _futile(case: Case) -> _Found | None:
    control = case.experiment.control
    if not case.gains or not all(gain.high < case.worth for gain in case.gains):
        return None
    most = max(case.gains, key=lambda gain: gain.high)
    reason = f"no arm can be worth {100 * case.least_lift:g} % more than {control} on {case.experiment.objective}"
    return "stop", control, f"{reason}: at most {most.arm}, {_figures(case, most)}", None


def _undecided(case: Case) -> _Found:
    if case.total == 0:
        return "keep going", None, "no unit has been counted yet", None
    if not case.gains:
        return "keep going", None, "there is no arm to compare with control", None
    leader = case.gains[0]
    if leader.units == 0:
        wait = "" if case.ready_at is None else f", the first are in {_ago(max(case.ready_at - case.now, 0.0))}"
        return "keep going", None, f"no unit's rewards are all in yet{wait}", None
    if not math.isfinite(leader.half):
        return "keep going", None, f"too little is known of {leader.arm}: {leader.refusal or 'its interval has no end'}", None
    if leader.low > 0:
        close = f"{leader.arm} is better than {case.experiment.control}, but another arm may be better still"
        return "keep going", None, f"{close}: choosing it now gives away {case.expected_loss(leader.arm):.3g} a unit", None
    first, nearest = (leader.arm, "") if leader.estimate > 0 else (case.experiment.control, f"{leader.arm} is nearest, ")
    reason = f"{first} leads on {case.experiment.objective}, undecided: {nearest}{_figures(case, leader)}"
    return "keep going", None, reason, _remaining(case, leader)


RULES: tuple[tuple[str, Callable[[Case], _Found | None]], ...] = (
    ("over", _over),
    ("health", _unhealthy),
    ("stopped by a guardrail", _stopped_by_guardrail),
    ("nothing left", _nothing_left),
    ("winner", _winner),
    ("futility", _futile),
    ("undecided", _undecided),
)
"""As in the module's table."""


def _remaining(case: Case, leader: _Gain) -> Remaining | None:
    rate = case.total / (case.now - case.since) if case.since is not None and case.now > case.since else None
    return remaining_units(leader.estimate, leader.half, leader.units, case.worth, rate)


def _figures(case: Case, gain: _Gain) -> str:
    """Estimate and interval of the difference in the objective's own direction, and the lift if it is known."""
    low, high = sorted((case.sign * gain.low, case.sign * gain.high))
    lift = case.lifts.get(gain.arm, math.nan)
    relative = f", a lift of {100 * lift:+.1f} %" if math.isfinite(lift) else ""
    return f"{case.sign * gain.estimate:+.3g} ({low:+.3g} to {high:+.3g}){relative}"


def _ago(seconds: float) -> str:
    for unit, size_s in (("d", DAY_S), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.0f} {unit}"
    return f"{seconds:.0f} s"
