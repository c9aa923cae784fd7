"""Topic names of one deployment, and how each topic must be set up.

Names are ``<prefix>.<dataset>.v1``; dead letters of a topic are on ``<topic>.dlt``. Exposures and rewards are joined
partition by partition, so they must have the same number of partitions; what is read as state must be compacted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["PREFIX", "TopicSpec", "Topics"]

PREFIX = "allocator"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic as it must be. `partitions` None: as many as the sources have."""

    name: str
    compacted: bool
    partitions: int | None
    config: dict[str, str] = field(default_factory=dict)
    source: bool = False
    """Others write it, by key: its partitions can be neither made anew nor changed without losing whose they are."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The names under one prefix."""

    prefix: str = PREFIX

    def name(self, dataset: str) -> str:
        """The full name of a dataset's topic."""
        return f"{self.prefix}.{dataset}.v1"

    @property
    def exposures(self) -> str:
        return self.name("exposures")

    @property
    def rewards(self) -> str:
        return self.name("rewards")

    @property
    def experiments(self) -> str:
        return self.name("experiments")

    @property
    def changes(self) -> str:
        """Who changed which spec, when, why and how; kept for ever."""
        return self.name("changes")

    @property
    def weights(self) -> str:
        return self.name("weights")

    @property
    def decisions(self) -> str:
        return self.name("decisions")

    @property
    def partials(self) -> str:
        """Cumulative moments from the join to the allocate agent; internal."""
        return self.name("partials")

    @property
    def join_changelog(self) -> str:
        """Unit records, cells and checkpoints of the join; internal."""
        return self.name("join-changelog")

    @property
    def allocate_changelog(self) -> str:
        """Arm state, weights and checkpoints of the allocate agent; internal."""
        return self.name("allocate-changelog")

    @staticmethod
    def dead_letters(topic: str) -> str:
        """Where the unusable records of `topic` go."""
        return f"{topic}.dlt"

    @staticmethod
    def source_of(dead_letters: str) -> str:
        """The topic whose unusable records are on `dead_letters`."""
        return dead_letters.removesuffix(".dlt")

    def specs(self) -> tuple[TopicSpec, ...]:
        """Every topic the worker needs, sources first."""
        changelog = {"segment.bytes": str(64 << 20), "min.cleanable.dirty.ratio": "0.2"}
        return (
            TopicSpec(self.exposures, False, None, source=True),
            TopicSpec(self.rewards, False, None, source=True),
            TopicSpec(self.dead_letters(self.exposures), False, None),
            TopicSpec(self.dead_letters(self.rewards), False, None),
            TopicSpec(self.experiments, True, 1),
            TopicSpec(self.changes, False, 1, {"retention.ms": "-1"}),
            TopicSpec(self.weights, True, 1),
            TopicSpec(self.decisions, False, 1),
            TopicSpec(self.partials, True, None),
            TopicSpec(self.join_changelog, True, None, changelog),
            TopicSpec(self.allocate_changelog, True, None),
        )
