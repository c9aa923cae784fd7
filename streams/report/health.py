"""Health checks in the report: a section, and of what is broken alarms, which decide the verdict."""

from __future__ import annotations

from collections.abc import Iterable

from allocator.health import STATES, HealthCheck
from allocator.verdict import Alarm
from streams.report.inputs import Inputs
from streams.report.record import Section

__all__ = ["health", "health_alarms"]

OF_THE_WEIGHTS = "weights"
"""The check that `allocator.verdict.lease_alarms` makes, too."""


def health(inputs: Inputs) -> Section | None:
    """Every check, the worst first."""
    checks = sorted(inputs.health, key=lambda check: -STATES.index(check.state))
    if not checks:
        return None
    counts = {state: sum(check.state == state for check in checks) for state in reversed(STATES)}
    return Section(
        title="Health",
        summary=", ".join(f"{n} {state}" for state, n in counts.items() if n),
        columns=["check", "state", "found"],
        rows=[[check.name, check.state, check.sentence] for check in checks],
        method="counters against fixed thresholds; sample ratio, shares by version and reward rate are tests, valid at any time",
    )


def health_alarms(name: str, checks: Iterable[HealthCheck]) -> list[Alarm]:
    """Of the checks that are broken."""
    return [
        Alarm(check.name, check.sentence, f"allocator health {name} shows every check")
        for check in checks
        if check.state == "broken" and check.name != OF_THE_WEIGHTS
    ]
