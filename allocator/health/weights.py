"""Checks of the weights themselves: are they in force, do they follow the data, did they leave the other arms too early?"""

from __future__ import annotations

from allocator.durations import rough_duration
from allocator.health.signs import HealthCheck, Signs
from allocator.weights import PPM

__all__ = ["COLLAPSE_SHARE", "COLLAPSE_UNITS", "HELD_S", "check_weights"]

HELD_S = 600.0
"""How long a policy may fail before that is more than a passing fault: some hundred updates."""
COLLAPSE_SHARE = 0.9
"""An arm with more than this leaves too little for the others to be compared."""
COLLAPSE_UNITS = 200
"""Units that an arm should have before another one may get `COLLAPSE_SHARE`: of a rate of 5 %, it shows ten successes by then."""


def check_weights(signs: Signs) -> list[HealthCheck]:
    """``weights`` and ``early collapse``."""
    return [_in_force(signs), _collapse(signs)]


def _in_force(signs: Signs) -> HealthCheck:
    if signs.valid_until is None:
        return HealthCheck("weights", "unknown", None, "none are published yet")
    left_s = signs.valid_until - signs.now
    fallback = signs.experiment.fallback
    if left_s < 0:
        sentence = (
            f"ran out {rough_duration(-left_s)} ago: routers serve {fallback}; start a worker, or see why it does not publish"
        )
        return HealthCheck("weights", "broken", left_s, sentence)
    if not signs.publications or not signs.publications[-1].held:
        return HealthCheck("weights", "ok", left_s, f"in force for another {rough_duration(left_s)}")
    held_s = signs.now - _held_since(signs)
    why = signs.publications[-1].reason
    sentence = f"held for {rough_duration(held_s)}, because the policy gives none: {why}; mend the policy or its parameters"
    return HealthCheck("weights", "broken" if held_s > HELD_S else "warn", held_s, sentence)


def _held_since(signs: Signs) -> float:
    """When the first of the newest publications that are all held was made."""
    since = signs.now
    for publication in reversed(signs.publications):
        if not publication.held:
            break
        since = publication.ts
    return since


def _collapse(signs: Signs) -> HealthCheck:
    arms = signs.experiment.arm_ids
    if not signs.publications or len(arms) < 2:
        why = "no weights are published yet" if not signs.publications else "there is one arm"
        return HealthCheck("early collapse", "unknown", None, why)
    ppm = signs.publications[-1].ppm
    largest = max(arms, key=lambda arm: ppm.get(arm, 0))
    share = ppm.get(largest, 0) / PPM
    said = f"{largest} has the largest share, {share:.1%}"
    if share <= COLLAPSE_SHARE or signs.experiment.status != "running" or signs.experiment.policy.name == "fixed":
        return HealthCheck("early collapse", "ok", share, said)
    breached = {breach.arm for breach in signs.standing.breaches}
    units = {arm: m.n for arm, m in zip(signs.evidence.arms, signs.evidence.total, strict=True) if arm != largest}
    early = {arm: n for arm, n in units.items() if n < COLLAPSE_UNITS and arm not in breached}
    if not early:
        return HealthCheck("early collapse", "ok", share, said)
    fewest = min(early, key=lambda arm: early[arm])
    sentence = (
        f"{said}, while {fewest} has {early[fewest]} units: too few to tell; raise constraints.warmup or constraints.floor, "
        "and see whether the prior is stronger than meant"
    )
    return HealthCheck("early collapse", "warn", share, sentence)
