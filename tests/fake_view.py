"""A worker that needs no Kafka: what it shows is made up but looks like a real one's. For the tests of the web surface."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec

from allocator.experiment import Experiment
from allocator.health import HealthCheck, worst
from allocator.spec import load_experiment
from allocator.standing import Breach
from streams.records import ArmState, Change, Decision, MetricState
from streams.web.view import (
    ArmShare,
    ExperimentDetail,
    ExperimentHealth,
    ExperimentSummary,
    HistoryPoint,
    StageRow,
    rows_of,
)

__all__ = ["FakeView", "Story", "digits", "waiting"]

COUNTERS = {
    "exposures.applied": 20_412, "exposures.repeated": 0, "exposures.duplicate": 402, "exposures.crossover": 0,
    "exposures.dead": 3,
    "rewards.applied": 38_950, "rewards.duplicate": 811, "rewards.waiting": 214, "rewards.late": 12, "rewards.unmatched": 0,
    "rewards.excluded": 0, "rewards.dead": 0,
}  # fmt: skip


class Story:
    """One experiment: its spec and all its decisions so far, oldest first."""

    def __init__(
        self,
        spec: dict[str, Any],
        decisions: list[Decision],
        counters: dict[str, int] | None = None,
        stage: StageRow | None = None,
    ) -> None:
        self.stage = stage
        self.experiment: Experiment = load_experiment(spec)
        self.decisions = decisions
        self.counters = counters or {}
        self.breaches: list[Breach] = []
        self.checks = [HealthCheck("sample ratio", "unknown", None, "no unit yet")]

    @property
    def name(self) -> str:
        return self.experiment.experiment

    def summary(self) -> ExperimentSummary:
        last, spec = (self.decisions[-1] if self.decisions else None), self.experiment
        return ExperimentSummary(
            name=self.name,
            status=spec.status,
            version=last.version if last else 0,
            policy=spec.policy.name,
            objective=spec.objective,
            control=spec.control,
            ts=last.ts if last else None,
            valid_until=last.ts + spec.lease_s if last else None,
            arms=[ArmShare(arm.id, arm.ppm) for arm in last.arms] if last else [ArmShare(arm, 0) for arm in spec.arm_ids],
        )

    def detail(self) -> ExperimentDetail:
        summary = self.summary()
        states = self.decisions[-1].arms if self.decisions else [unknown(arm) for arm in self.experiment.arm_ids]
        arms, metrics = rows_of(states)
        return ExperimentDetail(
            name=self.name,
            spec=msgspec.to_builtins(self.experiment),
            status=summary.status,
            version=summary.version,
            ts=summary.ts,
            valid_until=summary.valid_until,
            reason=self.decisions[-1].reason if self.decisions else "",
            arms=arms,
            metrics=metrics,
            counters=self.counters,
            events_read=sum(self.counters.values()),
            lag_records=0,
            lag_seconds=0.4 if self.decisions else None,
            partitions=4,
            stage=self.stage,
            breaches=self.breaches,
        )


class FakeView:
    """A `View` over stories. `elsewhere` maps the names of experiments that another worker owns to its URL, or to None."""

    def __init__(self, *stories: Story, elsewhere: dict[str, str | None] | None = None) -> None:
        self.stories = {story.name: story for story in stories}
        self.elsewhere = elsewhere or {}
        self.not_ready = ""
        self.told: dict[str, list[Change]] = {}

    def ready(self) -> tuple[bool, str]:
        return not self.not_ready, self.not_ready

    def experiments(self) -> list[ExperimentSummary]:
        return [story.summary() for story in self.stories.values()]

    def detail(self, name: str) -> ExperimentDetail | None:
        return None if name in self.elsewhere or name not in self.stories else self.stories[name].detail()

    def owner_url(self, name: str) -> str | None:
        return self.elsewhere.get(name)

    def known(self, name: str) -> bool:
        return name in self.stories or name in self.elsewhere

    def health(self, name: str) -> ExperimentHealth | None:
        if name in self.elsewhere or name not in self.stories:
            return None
        checks = self.stories[name].checks
        return ExperimentHealth(name=name, state=worst(checks), ts=0.0, checks=checks)

    def decisions(self, name: str, limit: int) -> list[Decision]:
        return self.stories[name].decisions[::-1][:limit]

    def changes(self, name: str) -> list[Change]:
        return self.told.get(name, [])

    def history(self, name: str) -> list[HistoryPoint]:
        return [HistoryPoint.of(decision) for decision in self.stories[name].decisions]


def digits(now: float, decisions: int = 60, rates: Sequence[tuple[str, float]] = (), name: str = "digits") -> Story:
    """Traffic moves to the best of several classifiers, one decision a second, the last one at `now`."""
    arms = dict(rates or [("naive_bayes", 0.81), ("tree", 0.84), ("logistic", 0.93), ("knn", 0.965), ("svm", 0.981)])
    spec = {
        "experiment": name,
        "arms": list(arms),
        "metrics": {"correct": "binary", "latency_ms": {"type": "value", "direction": "down"}},
        "objective": "correct",
        "owner": "recognition team",
    }
    dice = random.Random(7)
    n, hits = dict.fromkeys(arms, 0), dict.fromkeys(arms, 0)
    ppm = dict.fromkeys(arms, 1_000_000 // len(arms))
    told = []
    for i in range(decisions):
        for arm, rate in arms.items():
            units = 350 * ppm[arm] // 1_000_000
            n[arm] += units
            hits[arm] += sum(dice.random() < rate for _ in range(units))
        best = p_best(hits, n, dice)
        leader = max(arms, key=best.__getitem__)
        for arm in arms:
            wanted = 20_000 + round((1_000_000 - 20_000 * len(arms)) * best[arm])
            ppm[arm] += max(-60_000, min(60_000, wanted - ppm[arm])) // 2
        ppm[leader] += 1_000_000 - sum(ppm.values())
        told.append(
            Decision(
                experiment=name,
                version=i + 1,
                ts=now - (decisions - 1 - i),
                reason=f"{leader} leads: P(best) {best[leader]:.2f}; moved by at most 6 %",
                policy="thompson",
                arms=[state(arm, n[arm], hits[arm], best[arm], ppm[arm], 3.0 + 4 * j) for j, arm in enumerate(arms)],
                steps={"floor": list(ppm.values())},
                inputs={"0": i, "1": i},
                counters={},
                spec_hash="5f2b8c1d9e3a4670",
            )
        )
    return Story(spec, told, dict(COUNTERS))


def waiting(name: str = "chat", status: str = "running") -> Story:
    """An experiment that nobody has sent an event for."""
    spec = {"experiment": name, "arms": ["small", "large"], "metrics": {"thumbs_up": "binary"}, "status": status}
    return Story(spec, [])


def p_best(hits: dict[str, int], n: dict[str, int], dice: random.Random) -> dict[str, float]:
    """Share of 200 draws from the Beta posteriors in which each arm is first."""
    wins = dict.fromkeys(n, 0)
    for _ in range(200):
        wins[max(n, key=lambda arm: dice.betavariate(1 + hits[arm], 1 + n[arm] - hits[arm]))] += 1
    return {arm: count / 200 for arm, count in wins.items()}


def state(arm: str, n: int, hits: int, best: float, ppm: int, latency: float) -> ArmState:
    mean = (1 + hits) / (2 + n)
    margin = 1.96 * (mean * (1 - mean) / (3 + n)) ** 0.5
    interval = (max(0.0, mean - margin), min(1.0, mean + margin))
    spread = 2.0 / (1 + n) ** 0.5
    metrics = {
        "correct": MetricState(n=n, mean=mean, interval=interval),
        "latency_ms": MetricState(n=n, mean=latency, interval=(latency - spread, latency + spread)),
    }
    return ArmState(id=arm, n=n, mean=mean, interval=interval, p_best=best, ppm=ppm, metrics=metrics)


def unknown(arm: str) -> ArmState:
    return ArmState(id=arm, n=0, mean=None, interval=None, p_best=0.5, ppm=0)
