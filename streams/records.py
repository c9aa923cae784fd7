"""Every record on the wire, as a typed struct: decoded, checked and described (JSON Schema) from this one place.

Unknown fields are ignored; a missing, ill-typed or out-of-domain one raises `msgspec.ValidationError`, whose text names the
field and goes into the dead letter. `Weights` and `Experiment` live in `allocator`, the pure package that makes them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from allocator.experiment import Experiment, Status
from allocator.readout import ArmState, MetricState
from allocator.versions import VersionUnits
from allocator.weights import PPM, Weights

__all__ = [
    "COUNTERS",
    "PPM",
    "ArmState",
    "Cell",
    "Change",
    "Changed",
    "Decision",
    "Experiment",
    "Exposure",
    "MetricState",
    "Partial",
    "Reward",
    "VersionUnits",
    "Weights",
    "encode",
]

Id = Annotated[str, Meta(min_length=1, max_length=512)]
EventId = Annotated[str, Meta(min_length=1, max_length=128, description="unique among the unit's events of its kind")]
Time = Annotated[float, Meta(ge=0, lt=1e11, description="seconds since the epoch")]
Propensity = Annotated[float, Meta(ge=1e-6, le=1, description="probability with which the served arm was chosen")]

encode = msgspec.json.Encoder().encode


class Exposure(Struct, gc=False, kw_only=True):
    """A unit was served an arm. Key of the record: the unit."""

    experiment: Id
    unit: Id
    arm: Id
    propensity: Propensity
    ts: Time
    exposure_id: EventId
    weights_version: Annotated[int, Meta(ge=0)] = 0
    segment: str | None = None
    holdback: bool = False
    covariates: dict[str, Any] = {}


class Reward(Struct, gc=False, kw_only=True):
    """An observed value of one metric for a unit. Key of the record: the unit.

    A later `ts` under the same `reward_id` corrects the value. Without `experiment` the reward counts in every experiment
    that declares the metric and exposed the unit.
    """

    unit: Id
    metric: Id
    value: float
    ts: Time
    reward_id: EventId
    experiment: Id | None = None
    exposure_id: str | None = None


class Changed(Struct, frozen=True, kw_only=True):
    """One field of a spec before and after: `path` as in ``metrics.latency.direction``, None where it was or is absent."""

    path: str
    before: Any = None
    after: Any = None


class Change(Struct, frozen=True, kw_only=True):
    """One change of an experiment's spec, written in one transaction with the spec itself. Key of the record: the experiment."""

    experiment: str
    revision: Annotated[int, Meta(ge=1, description="that the change made")]
    status: Annotated[Status, Meta(description="after the change")]
    kind: Literal["new", "changed"]
    ts: Annotated[float, Meta(description="seconds since the epoch, by the clock of whoever made it")]
    by: Annotated[str, Meta(description="who made it, as they say")]
    why: Annotated[str, Meta(description="in their words; empty if they gave no reason")] = ""
    changes: Annotated[list[Changed], Meta(description="empty in a new experiment, whose spec is all new")] = []
    spec_hash: Annotated[str, Meta(description="of the spec after the change, as decisions name it")] = ""


class Cell(Struct, array_like=True, frozen=True, gc=False):
    """What is known of one arm in one segment, held back or not, in one period."""

    segment: str
    arm: str
    holdback: bool
    sums: list[int]
    """Moments, see `allocator.moments`."""
    lags: list[dict[int, int]] = []
    """By metric: how many rewards came how late, by bin of `allocator.delay.lag_edges`, those without any left out. Of units that
    train the allocation; an estimate's input, which corrections do not take back."""


COUNTERS = -1
"""The period of a partial that carries counters instead of a cell: they are not kept by period."""


class Partial(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one join partition has counted of a cell so far, or its counters of an experiment. The newest replaces all before it.

    Only what changed is published anew, so that the cost follows the traffic and not the number of arms, segments and periods.
    Newest is the one with the largest (`epoch`, `seq`). A larger epoch replaces whatever the partition has published under a
    smaller one, other cells too.
    """

    experiment: str
    partition: int
    period: int
    seq: int
    """Number of the commit that published it."""
    cell: Cell | None = None
    """None under the period `COUNTERS`."""
    counters: dict[str, int] = {}
    """Events of the experiment by outcome, cumulative; only under the period `COUNTERS`."""
    event_ts: float = 0.0
    """Newest `ts` among the events counted so far, for lag in seconds."""
    phase: int = 1
    """Of the experiment, see `allocator.phases`; counters are of all phases."""
    epoch: int = 0
    """When the partition's state was begun, in milliseconds since the epoch: later after its changelog was lost."""
    read_until: float = 0.0
    """Event time that the partition has read rewards up to; only under the period `COUNTERS`, 0 if none. Exposures do not count
    here: one that was not read yet is not in the sums, nor are its rewards."""
    versions: list[VersionUnits] = []
    """Units by the newest weights versions, see `allocator.versions`; only under the period `COUNTERS`."""
    older_versions: VersionUnits | None = None
    """All before them together, under the version of the latest exposure."""


class Decision(Struct, frozen=True, kw_only=True):
    """The audit record behind one publication of weights: of an experiment, or of one of its segments."""

    experiment: str
    segment: str | None = None
    version: int
    ts: float
    reason: str
    policy: str
    arms: list[ArmState]
    steps: dict[str, list[int]]
    """Shares in ppm after each step, in order: policy, floor, shift, ...; the last one is published."""
    inputs: dict[str, int]
    counters: dict[str, int]
    spec_hash: str
