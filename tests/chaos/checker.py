"""What must hold once everything has healed, whatever died: one checker for all schedules."""

from __future__ import annotations

import msgspec

from allocator.weights import Weights
from streams.topics import Topics
from tests.reference import Answer
from tests.workers import arm_sums, counters, read_topic

__all__ = ["differences"]


def differences(bootstrap: str, prefix: str, answer: Answer) -> list[str]:
    """Everything the topics say otherwise than the generator, a sentence each; empty when all is exact."""
    found = []
    counted, expected = counters(bootstrap, prefix), {k: n for k, n in answer.counters.items() if n}
    if counted != expected:
        found.append(f"counters {counted}, expected {expected}")
    sums = arm_sums(bootstrap, prefix)
    found += [
        f"{name}: sums {sums.get(name)}, expected {answer.sums.get(name)}"
        for name in sorted(answer.sums.keys() | sums.keys())
        if sums.get(name) != answer.sums.get(name)
    ]
    versions: dict[str, list[int]] = {name: [] for name in answer.sums}
    for message in read_topic(bootstrap, Topics(prefix).weights):
        weights = msgspec.json.decode(message.value(), type=Weights)
        versions.setdefault(weights.experiment, []).append(weights.version)
    found += [
        f"{name}: weights versions {seen}, expected 1, 2, 3 and so on"
        for name, seen in sorted(versions.items())
        if not seen or seen != list(range(1, len(seen) + 1))
    ]
    return found
