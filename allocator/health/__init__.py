"""Is the experiment's working sound? Each check has a state, a figure, and a sentence that says what to do.

Pure: `Signs` is what is known, `health` judges it. Three of the checks are tests, which stay valid however often they are looked
at; together they raise a false alarm with probability `ALPHA` at most in the experiment's life. The others compare what was
counted with named thresholds. A check that lacks what it needs is unknown, and never ok.
"""

from __future__ import annotations

from collections.abc import Iterable

from allocator.health.counters import check_counters
from allocator.health.rewards import check_rewards
from allocator.health.routing import check_routing
from allocator.health.signs import ALPHA, HealthCheck, Publication, Signs, State
from allocator.health.weights import check_weights

__all__ = ["ALPHA", "STATES", "HealthCheck", "Publication", "Signs", "State", "health", "worst"]

STATES: tuple[State, ...] = ("ok", "unknown", "warn", "broken")
"""From good to bad."""


def health(signs: Signs) -> tuple[HealthCheck, ...]:
    """Every check, always the same ones in the same order."""
    return (*check_routing(signs), *check_rewards(signs), *check_counters(signs), *check_weights(signs))


def worst(checks: Iterable[HealthCheck]) -> State:
    """The worst state of any check that knows; unknown only if none does."""
    known = [check.state for check in checks if check.state != "unknown"]
    return max(known, key=STATES.index, default="unknown")
