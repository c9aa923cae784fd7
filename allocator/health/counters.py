"""Checks of how many events came to what: shares of the counters against fixed thresholds.

No chance is involved that would need a test: a counter says what happened. A threshold says when it matters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from allocator.health.signs import HealthCheck, Signs, State

__all__ = ["EVENTS_MIN", "RULES", "ShareRule", "check_counters"]

EVENTS_MIN = 100
"""Events below which a share says nothing."""


@dataclass(frozen=True, slots=True)
class ShareRule:
    """A share of events, and when it is too large.

    Parameters
    ----------
    name : of the check.
    outcomes : whose events are counted; `of` is the kind of events they are a share of, both kinds if empty.
    warn, broken : shares above which the state is that.
    noun : what the events are, and `remedy` what to do.
    """

    name: str
    outcomes: tuple[str, ...]
    of: str
    warn: float
    broken: float
    noun: str
    remedy: str


RULES = (
    # Crossovers are kept out of the arms: what is left may differ from all. At 1 % that can hide an effect of 1 %.
    ShareRule(
        "crossovers", ("exposures.crossover",), "exposures.", 0.01, 0.1, "are of units that were served several arms",
        "assign by a unit that stays the same, log an exposure where the arm is served, and keep to one assignment a unit",
    ),
    # Late events are lost for good. 1 % is an effect's size, 10 % a broken pipeline.
    ShareRule(
        "late exposures", ("exposures.late",), "exposures.", 0.01, 0.1, "came after their window and grace",
        "bring the exposures sooner, or raise `grace`",
    ),
    ShareRule(
        "late rewards", ("rewards.late",), "rewards.", 0.01, 0.1, "came after their metric's window or their grace",
        "raise the metric's `window` if such rewards should count, or bring them sooner",
    ),
    # Some rewards overtake their exposure by a batch; where many do, exposures are delayed or lost.
    ShareRule(
        "early rewards", ("rewards.waiting",), "rewards.", 0.05, 0.5, "still wait for their unit's exposure",
        "see whether exposures are sent as soon as the arm is served, and for every unit that has rewards",
    ),
    ShareRule(
        "rewards without exposures", ("rewards.unmatched",), "rewards.", 0.1, 0.5, "are of no unit's exposure",
        "see whether exposures and rewards name the same unit, and whether the producers' clocks agree",
    ),
    # Duplicates are dropped exactly; many only cost.
    ShareRule(
        "duplicates", ("exposures.duplicate", "rewards.duplicate"), "", 0.1, 0.5, "were sent more than once",
        "nothing is counted twice; see why producers send them again, it costs reading them",
    ),
    # One dead letter is worth a look; 1 % is a producer that does it wrong.
    ShareRule(
        "dead letters", ("exposures.dead", "rewards.dead"), "", 0.0, 0.01, "could not be used",
        "allocator dlt list says why; mend the cause, then allocator dlt redrive",
    ),
    ShareRule(
        "wrong partition", ("exposures.forwarded", "rewards.forwarded"), "", 0.0, 1.0, "were not on their partition",
        "allocator doctor says which setting of the producers to change",
    ),
    ShareRule(
        "overflow", ("rewards.overflow",), "rewards.", 0.0, 0.01, "are beyond what one unit may have",
        "a unit with a thousand rewards is no user: see who sends them, or choose another unit",
    ),
)  # fmt: skip


def check_counters(signs: Signs) -> list[HealthCheck]:
    """One check for every rule."""
    return [_check(rule, signs.counters) for rule in RULES]


def _check(rule: ShareRule, counters: Mapping[str, int]) -> HealthCheck:
    found = sum(counters.get(outcome, 0) for outcome in rule.outcomes)
    total = sum(n for outcome, n in counters.items() if outcome.startswith(rule.of))
    what = rule.of.rstrip(".") or "events"
    if total < EVENTS_MIN and not (found and rule.warn == 0):
        return HealthCheck(rule.name, "unknown", None, f"{total} {what} so far, {EVENTS_MIN} say more")
    share = found / total
    state: State = "broken" if share > rule.broken and total >= EVENTS_MIN else "warn" if share > rule.warn else "ok"
    sentence = f"{found} of {total} {what} ({share:.2%}) {rule.noun}"
    return HealthCheck(
        name=rule.name, state=state, figure=share, sentence=sentence if state == "ok" else f"{sentence}: {rule.remedy}"
    )
