"""What must hold once everything has healed, whatever died: one checker for all schedules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from allocator.weights import Weights
from streams.records import Decision
from streams.topics import Topics
from tests.reference import Answer
from tests.workers import arm_sums, counters, read_topic

__all__ = ["differences", "unlike"]

R = TypeVar("R", Weights, Decision)


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
    topics = Topics(prefix)
    weights = [msgspec.json.decode(m.value(), type=Weights) for m in read_topic(bootstrap, topics.weights)]
    decisions = [msgspec.json.decode(m.value(), type=Decision) for m in read_topic(bootstrap, topics.decisions)]
    found += [f"{name}: no weights" for name in sorted(answer.sums.keys() - {w.experiment for w in weights})]
    return found + unlike(weights, decisions)


def unlike(weights: Iterable[Weights], decisions: Iterable[Decision], first: int = 1) -> list[str]:
    """How the two topics contradict themselves or each other: each version is on both once, in order, with the same grounds.

    `first` is the version that each experiment's records begin with.
    """
    published, audited = (_by_experiment(records) for records in (weights, decisions))
    found = [
        f"{name}: {what} versions {seen}, expected {first}, {first + 1}, {first + 2} and so on"
        for what, topic in (("weights", published), ("decisions", audited))
        for name, records in sorted(topic.items())
        if (seen := [record.version for record in records]) != list(range(first, first + len(seen)))
    ]
    for name in sorted(published.keys() | audited.keys()):
        mine, theirs = ({_grounds(record) for record in topic.get(name, [])} for topic in (published, audited))
        if apart := sorted(mine ^ theirs):
            found.append(f"{name}: (version, ts, spec hash, inputs) only in weights or only in decisions: {apart}")
    return found


def _by_experiment(records: Iterable[R]) -> dict[str, list[R]]:
    found: dict[str, list[R]] = {}
    for record in records:
        found.setdefault(record.experiment, []).append(record)
    return found


def _grounds(record: Weights | Decision) -> tuple[int, float, str, tuple[tuple[str, int], ...]]:
    return record.version, record.ts, record.spec_hash, tuple(sorted(record.inputs.items()))
