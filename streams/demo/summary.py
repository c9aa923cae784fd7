"""What a play of the matrix came to: the arithmetic of the demo's last words. Pure.

On the rows that were played, routed once each, the accuracy earned is compared with what even traffic would have earned in
expectation, with each model alone, and with the best of them in hindsight. The events sent are compared with the outcomes
the worker counted, and the units it counted for each arm with the requests served.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, to_builtins

from streams.holdback import HoldbackState
from streams.records import ArmState

__all__ = ["Accuracy", "Events", "Played", "State", "Summary", "summarise"]


class Played(Struct, kw_only=True):
    """What the player did; lists are in the order of the matrix's models."""

    requests: int = 0
    served: list[int]
    """Requests routed to each model."""
    earned: list[int]
    """Of those, how many it answered right."""
    right: list[int]
    """How many of all requests played each model would have answered right."""
    exposures: int = 0
    """Records sent, the doubled ones included."""
    rewards: int = 0
    doubled: int = 0
    """Records sent twice on purpose."""
    early: int = 0
    """Requests whose rewards were sent before their exposure, on purpose."""
    undelivered: int = 0
    """Records that never reached the broker."""
    seconds: float = 0.0

    @classmethod
    def nothing(cls, models: int) -> Played:
        """Before the first request."""
        return cls(served=[0] * models, earned=[0] * models, right=[0] * models)


class State(Struct, kw_only=True):
    """What the worker says of the experiment: the part of ``/api/experiments/{name}`` that the demo needs."""

    version: int = 0
    reason: str = ""
    arms: list[ArmState] = []
    counters: dict[str, int] = {}
    holdback: HoldbackState | None = None


class Accuracy(Struct, frozen=True, kw_only=True):
    """Shares of right answers, each in [0, 1]."""

    earned: float
    uniform: float
    alone: dict[str, float]
    best: str
    """The best single model in hindsight."""
    captured: float | None
    """Which share of the way from even traffic to the best model alone was earned; None if there is no way to go."""

    @property
    def hindsight(self) -> float:
        """The best model's accuracy."""
        return self.alone[self.best]


class Events(Struct, frozen=True, kw_only=True):
    """Records sent, what became of each, and in which respects the two differ."""

    sent: dict[str, int]
    outcomes: dict[str, int]
    differences: list[str]

    @property
    def add_up(self) -> bool:
        """Whether every record sent is in one outcome and every request in its arm."""
        return not self.differences


class Summary(Struct, frozen=True, kw_only=True):
    """The whole result."""

    matrix: str
    played: Played
    accuracy: Accuracy
    events: Events
    arms: list[ArmState]
    version: int

    def builtins(self) -> dict[str, Any]:
        """The summary as JSON types, for programs."""
        played, accuracy = self.played, self.accuracy
        return {
            "data": self.matrix,
            "requests": played.requests,
            "seconds": round(played.seconds, 3),
            "accuracy": {
                "earned": accuracy.earned,
                "uniform": accuracy.uniform,
                "alone": accuracy.alone,
                "hindsight_best": {"model": accuracy.best, "accuracy": accuracy.hindsight},
                "captured": accuracy.captured,
            },
            "events": {
                "sent": self.events.sent,
                "outcomes": self.events.outcomes,
                "add_up": self.events.add_up,
                "differences": self.events.differences,
            },
            "weights": {"version": self.version, "ppm": {arm.id: arm.ppm for arm in self.arms}},
            "arms": to_builtins(self.arms),
        }


def summarise(matrix: str, models: Sequence[str], played: Played, state: State) -> Summary:
    """Compare what was played with what the worker counted.

    Raises
    ------
    ZeroDivisionError : nothing was played.
    """
    return Summary(
        matrix=matrix,
        played=played,
        accuracy=accuracy_of(models, played),
        events=events_of(models, played, state),
        arms=state.arms,
        version=state.version,
    )


def accuracy_of(models: Sequence[str], played: Played) -> Accuracy:
    """Shares over the requests played. Even traffic earns, in expectation, the mean of the models' accuracies."""
    alone = {model: right / played.requests for model, right in zip(models, played.right, strict=True)}
    best = max(models, key=alone.__getitem__)
    earned, uniform = sum(played.earned) / played.requests, sum(alone.values()) / len(alone)
    gap = alone[best] - uniform
    return Accuracy(
        earned=earned, uniform=uniform, alone=alone, best=best, captured=(earned - uniform) / gap if gap > 0 else None
    )


def events_of(models: Sequence[str], played: Played, state: State) -> Events:
    """Each kind of record must be counted as often as it was sent, and each arm must have the units it was served."""
    sent = {"exposures": played.exposures, "rewards": played.rewards}
    differences = []
    for kind, number in sent.items():
        counted = counted_of(state.counters, kind)
        if counted != number:
            differences.append(f"{kind}: {number:,} sent, {counted:,} counted")
    if played.undelivered:
        differences.append(f"{played.undelivered:,} records never reached the broker")
    units = {arm.id: arm.n for arm in state.arms}
    for model, number in zip(models, played.served, strict=True):
        if units.get(model, 0) != number:
            differences.append(f"{model}: {number:,} requests served, {units.get(model, 0):,} units in its arm")
    return Events(sent=sent, outcomes=dict(state.counters), differences=differences)


def counted_of(counters: Mapping[str, int], kind: str) -> int:
    """Records of one kind over all their outcomes."""
    return sum(number for name, number in counters.items() if name.startswith(f"{kind}."))
