"""What stands from an experiment's former decisions: the one thing besides the evidence that the next decision follows.

It is part of the published weights, so it outlives every worker as the versions do. Routers need not read it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

__all__ = ["Action", "Breach", "Standing"]

Action = Literal["alert", "freeze", "cap", "evict", "stop"]


class Breach(Struct, frozen=True, kw_only=True):
    """A guardrail that an arm has broken, and what is done about it until a person overrules it.

    Parameters
    ----------
    metric, arm : which guardrail, and whose.
    action : what is done about it.
    version : of the weights that were the first to obey it.
    ts : when, in seconds since the epoch.
    units : the arm's units by then.
    estimate : of the arm's difference from control, in the metric's unit.
    bound : the confidence bound of that which had passed the tolerance.
    """

    metric: str
    arm: str
    action: Action
    version: Annotated[int, Meta(ge=1)]
    ts: float
    units: int
    estimate: float
    bound: float


class Standing(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the next decision of an experiment starts from, besides the shares.

    Parameters
    ----------
    stage : the place of the stage in force, 0 in an experiment without stages.
    stage_since : when it was entered, in seconds since the epoch; 0 in an experiment without stages.
    stage_units : units of all arms by then.
    stage_ppm : its enrolment, in parts per million. The published one is 0 while the schedule lets nobody in.
    breaches : those that stand, in the order in which they were found.
    phase : of the experiment, in which `stage_units` were counted.
    """

    stage: Annotated[int, Meta(ge=0)] = 0
    stage_since: float = 0.0
    stage_units: Annotated[int, Meta(ge=0)] = 0
    stage_ppm: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    breaches: tuple[Breach, ...] = ()
    phase: Annotated[int, Meta(ge=1)] = 1
