"""Builds events and folds them without Kafka: what the tests of the join share."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from allocator.experiment import Experiment
from allocator.moments import layout_of
from allocator.spec import load_experiment
from streams.join.cells import CellName
from streams.join.decode import Events
from streams.join.fold import Fold
from streams.join.outcomes import Outcome, label
from streams.join.sweep import Sweep
from streams.records import Exposure, Reward
from streams.state.store import escape

__all__ = ["Partition", "events_of", "experiment", "exposure", "reward", "take_anyhow"]


def experiment(name: str = "chat", **changes: object) -> Experiment:
    """A small spec; `changes` replace its fields."""
    spec = {"experiment": name, "arms": ["a", "b"], "metrics": {"thumbs_up": "binary"}, "objective": "thumbs_up", **changes}
    return load_experiment(spec)


def exposure(unit: str = "u", arm: str = "a", ts: float = 1000.0, **fields: object) -> Exposure:
    """An exposure in `chat` with propensity ½."""
    given = {"experiment": "chat", "propensity": 0.5, "exposure_id": f"x-{unit}-{ts}", **fields}
    return Exposure(unit=unit, arm=arm, ts=ts, **given)


def reward(unit: str = "u", value: float = 1.0, ts: float = 1001.0, **fields: object) -> Reward:
    """A thumbs_up in `chat`."""
    given = {"metric": "thumbs_up", "experiment": "chat", "reward_id": f"r-{unit}-{ts}", **fields}
    return Reward(unit=unit, value=value, ts=ts, **given)


def events_of(items: Sequence[Exposure] | Sequence[Reward]) -> Events:
    """The batch that decoding their records would give."""
    mark = max((item.ts for item in items), default=0.0)
    return Events([item.unit.encode() for item in items], list(items), [b""] * len(items), list(range(len(items))), [], mark)


@dataclass
class Partition:
    """A join partition in memory: a fold and a dict for its store."""

    experiments: Iterable[Experiment] = field(default_factory=lambda: [experiment()])

    def __post_init__(self) -> None:
        self.stored: dict[bytes, bytes] = {}
        self.restart()

    def scan_from(self, key: bytes) -> Iterator[tuple[bytes, bytes]]:
        """As of the store: a view of the moment it was called."""
        return iter(sorted((k, v) for k, v in self.stored.items() if k >= key))

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """As of the store."""
        return [self.stored.get(key) for key in keys]

    def restart(self) -> None:
        """Forget everything but the store, as a killed worker does."""
        self.fold = Fold()
        self.fold.set_experiments({e.experiment: e for e in self.experiments})
        self.sweep = Sweep(self)
        self.fold.restore(lambda prefix: iter(sorted((k, v) for k, v in self.stored.items() if k.startswith(prefix))))

    def chunk(self, *events: Exposure | Reward, sweep: int = 0) -> Partition:
        """Fold the events as one chunk, in one batch of each topic; `sweep` records are looked at first."""
        exposures = events_of([e for e in events if isinstance(e, Exposure)])
        return self.take([exposures], [events_of([e for e in events if isinstance(e, Reward)])], sweep=sweep)

    def take(self, exposures: Sequence[Events], rewards: Sequence[Events], sweep: int = 0) -> Partition:
        """Fold the batches as one chunk and store what changed."""
        horizon_s = max(plan.horizon_s for plan in chain.from_iterable(self.fold.phases.values()))
        self.fold.evict(self.sweep.stale(self.fold.watermark, horizon_s, sweep) if sweep else [])
        units = {key for batch in [*exposures, *rewards] for key in batch.keys}
        self.fold.begin({unit: self.stored.get(escape(unit)) for unit in units})
        for batch in exposures:
            self.fold.exposures(batch)
        for batch in rewards:
            self.fold.rewards(batch)
        keys, values, _ = self.fold.end()
        for key, value in zip(keys, values, strict=True):
            if value is None:
                self.stored.pop(key, None)
            else:
                self.stored[key] = value
        return self

    def moments(self) -> dict[CellName, list[int]]:
        """Sums of every cell that has any."""
        cells = self.fold.cells
        return {name: list(sums) for name, sums in zip(cells.names, cells.sums, strict=True) if any(sums)}

    def counters(self) -> dict[str, int]:
        """Events by outcome over all experiments, zeros left out."""
        total: dict[str, int] = {}
        for counts in self.fold.counts.values():
            for i, n in enumerate(counts):
                if n:
                    total[label(Outcome(i))] = total.get(label(Outcome(i)), 0) + n
        return total

    def contradictions(self) -> list[str]:
        """What is impossible about the sums, if anything is."""
        found = []
        for name, sums in self.moments().items():
            metrics = len(next(e for e in self.experiments if e.experiment == name.experiment).columns)
            reason = layout_of(metrics).contradiction(sums)
            if reason:
                found.append(f"{name}: {reason}")
        return found


def take_anyhow(partition: Partition, exposures: Sequence[Events], rewards: Sequence[Events], rng: random.Random) -> Partition:
    """Fold both logs, batch by batch in their order. How they are interleaved, where chunks end, when the worker dies and how
    far the sweep has come is chance."""
    xs, rs = list(exposures), list(rewards)
    often = rng.choice([1, 3, 100])
    while xs or rs:
        n, m = (rng.choice([0, 0, 1, often]) for _ in range(2))
        partition.take(xs[:n], rs[:m], sweep=rng.choice([0, 0, 1, 100]))
        del xs[:n], rs[:m]
        if rng.random() < 0.3:
            partition.restart()  # the next walk begins at once, too
    return partition
