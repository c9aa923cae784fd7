"""What befalls the workers in a soak: short episodes drawn from a seed. At the end of each, all have been started again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from tests.chaos.schedule import (
    DISKS,
    Action,
    CutOff,
    Kill,
    KillBroker,
    Mend,
    Pause,
    Ready,
    Resume,
    Start,
    StartBroker,
    Stop,
)

__all__ = ["Episode", "Kind", "episodes"]

COMMITTED = (("join-changelog", 1), ("join-changelog", 1), ("weights", 0), ("weights", 1), ("decisions", 1))
"""Where in a commit: batches of that dataset that are on the broker."""


class Kind(StrEnum):
    """What happens, as the report says it."""

    KILLED_IN_COMMIT = "killed in a commit"
    KILLED_WORKING = "killed while working"
    KILLED_STARTING = "killed while starting"
    STOPPED = "stopped and started"
    FROZEN = "frozen in a commit"
    REFUSED = "connection refused"
    SILENT = "connection silent"
    BROKER_KILLED = "broker killed"


WEIGHTS = {
    Kind.KILLED_IN_COMMIT: 6,
    Kind.KILLED_WORKING: 3,
    Kind.KILLED_STARTING: 3,
    Kind.STOPPED: 2,
    Kind.FROZEN: 2,
}
"""How often, against each other."""
OUTAGES = {Kind.REFUSED: 1, Kind.SILENT: 1, Kind.BROKER_KILLED: 1}


@dataclass(frozen=True, slots=True)
class Episode:
    """`kills` counts the kill -9 of workers among the actions."""

    kind: Kind
    actions: tuple[Action, ...]

    @property
    def kills(self) -> int:
        return sum(isinstance(action, Kill) for action in self.actions)


def episodes(rng: random.Random, workers: int, session_s: float, *, outages: bool) -> Iterator[Episode]:
    """Without end. `outages`: the broker may be killed, and each worker has a proxy that can be cut. `session_s` is theirs."""
    weights = WEIGHTS | (OUTAGES if outages else {})
    while True:
        (kind,) = rng.choices(list(weights), list(weights.values()))
        yield Episode(kind, tuple(_actions(kind, rng, rng.randrange(workers), session_s)))


def _actions(kind: Kind, rng: random.Random, worker: int, session_s: float) -> Iterator[Action]:
    gap_s, disk = rng.uniform(0.2, 3.0), rng.choice(DISKS)
    match kind:
        case Kind.KILLED_IN_COMMIT:
            dataset, batches = rng.choice(COMMITTED)
            yield Kill(after_s=gap_s, worker=worker, disk=disk, batches=batches, dataset=dataset)
        case Kind.KILLED_WORKING:
            yield Kill(after_s=gap_s, worker=worker, disk=disk)
        case Kind.KILLED_STARTING:
            yield Kill(after_s=gap_s, worker=worker, disk=disk)
            yield Kill(after_s=rng.uniform(0.5, 4.0), worker=worker, disk=rng.choice(DISKS))
        case Kind.STOPPED:
            yield Ready(worker=worker)
            yield Stop(after_s=gap_s, worker=worker)
            yield Start(after_s=rng.uniform(0.0, 2 * session_s), worker=worker)
        case Kind.FROZEN:
            dataset, batches = rng.choice(COMMITTED)
            yield Pause(after_s=gap_s, worker=worker, batches=batches, dataset=dataset)
            yield Resume(after_s=rng.uniform(0.2, 3 * session_s), worker=worker)
        case Kind.REFUSED | Kind.SILENT:
            yield CutOff(after_s=gap_s, worker=worker, how="refuse" if kind == Kind.REFUSED else "silence")
            yield Mend(after_s=rng.uniform(0.5, 4 * session_s))
        case Kind.BROKER_KILLED:
            yield KillBroker(after_s=gap_s)
            yield StartBroker(after_s=rng.uniform(0.0, 2 * session_s))
