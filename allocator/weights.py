"""The weights of one experiment as they are published: the contract with every router, in any language.

Shares are parts per million that sum to 1 000 000, in the spec's order of arms. Seeds are published, so that a router
derives nothing. `assignment` says how a unit's arm follows from them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from allocator.segments import SegmentRule
from allocator.standing import Standing

__all__ = ["PPM", "Gate", "Holdback", "Layer", "WeightedArm", "Weights", "slice_key"]

PPM = 1_000_000

Ppm = Annotated[int, Meta(ge=0, le=PPM)]
Seed = Annotated[int, Meta(ge=0, lt=2**32, description="seed of the unit's xxh64")]


class WeightedArm(Struct, frozen=True, gc=False, omit_defaults=True):
    """One arm's share, and the spec's `params` of it for whoever serves it."""

    id: str
    ppm: Ppm
    seed: Seed
    params: dict[str, Any] = {}


class Gate(Struct, frozen=True, gc=False):
    """A share of units, chosen by a hash bucket below `ppm`."""

    ppm: Ppm
    seed: Seed


class Layer(Struct, frozen=True, gc=False):
    """The part of a namespace that the experiment holds: buckets under `seed` in [from, to) of one of the ranges, in ppm."""

    name: str
    seed: Seed
    ranges: tuple[tuple[Ppm, Ppm], ...]


class Holdback(Struct, frozen=True, gc=False):
    """The share of enrolled units kept on one arm and never trained on."""

    ppm: Ppm
    seed: Seed
    arm: str


class Weights(Struct, frozen=True, kw_only=True):
    """One publication of weights.

    `version` grows by one with every publication of the experiment. After `valid_until` (seconds since the epoch) a router
    serves `fallback` and logs no exposure. `inputs` maps a join partition to the sequence number of its newest partial.
    `standing` is for the next decision. `eligibility` is a rule in JsonLogic on the unit's attributes, None for everybody;
    `segment_rule` says how a unit's segment follows from them. `status` is what a router has to know: an experiment in draft is
    paused with nobody enrolled, a promoted one is running, an archived one has no weights (`allocator.lifecycle.PUBLISHED_AS`).
    """

    experiment: str
    segment: str | None = None
    version: Annotated[int, Meta(ge=1)]
    status: Literal["running", "paused", "stopped"] = "running"
    arms: tuple[WeightedArm, ...]
    enrolment: Gate
    holdback: Holdback
    assign: Literal["rendezvous-xxh64"] = "rendezvous-xxh64"
    valid_until: float
    fallback: str
    policy: str
    reason: str
    spec_hash: str
    ts: float
    inputs: dict[str, int] = {}
    namespace: Layer | None = None
    eligibility: dict[str, Any] | None = None
    segment_rule: SegmentRule | None = None
    standing: Standing = Standing()


def slice_key(experiment: str, segment: str | None) -> str:
    """Key of the record with an experiment's weights, or with those of one of its segments. '/' is in no name."""
    return experiment if segment is None else f"{experiment}/{segment}"
