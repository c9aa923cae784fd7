"""What health checks are made of, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from msgspec import Struct

from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.standing import Standing
from allocator.versions import VersionTable

__all__ = ["ALPHA", "TESTS", "HealthCheck", "Publication", "Signs", "State"]

State = Literal["ok", "warn", "broken", "unknown"]

ALPHA = 0.001
"""Probability that any check made of chance ever raises a false alarm in an experiment's whole life, however often it is looked
at: small, because thousands of experiments are looked at for months, and enough data come by."""
TESTS = 3
"""Checks that have a level: sample ratio, shares by version, reward rate. Each gets ALPHA / TESTS (Bonferroni)."""


class HealthCheck(Struct, frozen=True):
    """One thing looked at.

    Parameters
    ----------
    name : of the check.
    state : ok; warn: look at it; broken: do not act on the numbers before it is mended; unknown: too little is known.
    figure : what was found as one number, None if there is none; the sentence says of what.
    sentence : what was found and, unless that is well, what to do.
    """

    name: str
    state: State
    figure: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Publication:
    """One version of the weights as it was published: `ppm` by arm, `ts` in seconds since the epoch.

    `held`: the policy gave no usable weights, and the reason says why.
    """

    version: int
    ts: float
    ppm: Mapping[str, int]
    reason: str = ""
    held: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """All that is known of an experiment's working at one moment.

    Parameters
    ----------
    experiment, evidence : the spec, and what trains its allocation.
    counters : events by outcome, as ``exposures.applied``.
    versions : units by weights version.
    publications : of the experiment as a whole, oldest first; as far back as is known.
    now : seconds since the epoch.
    event_ts : newest event time counted, none beyond the log's time; 0 before the first.
    valid_until : when the newest weights run out; None before the first.
    standing : what stands from former decisions.
    """

    experiment: Experiment
    evidence: Evidence
    counters: Mapping[str, int]
    versions: VersionTable = field(default_factory=VersionTable)
    publications: Sequence[Publication] = ()
    now: float
    event_ts: float = 0.0
    valid_until: float | None = None
    standing: Standing = field(default_factory=Standing)

    @property
    def units(self) -> int:
        """Units of all arms that train the allocation."""
        return sum(m.n for m in self.evidence.total)
