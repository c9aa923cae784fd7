"""The report as a record: every number that the page or the terminal shows, and what it rests on. `--json` prints it.

Numbers are in the metric's natural unit, shares in parts per million, times in seconds since the epoch; None is "not known", or
an interval without an end. `methods` says how the numbers of each part were found, and what that assumes.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from allocator.standing import Standing

__all__ = [
    "AlarmRow",
    "ArmRow",
    "CostRow",
    "CrossingRow",
    "Curve",
    "EffectRow",
    "InteractionRow",
    "MethodRow",
    "NoveltyRow",
    "PublicationRow",
    "Report",
    "ReversalRow",
    "Section",
    "SegmentArmRow",
    "SegmentRow",
    "SpecRow",
    "VerdictRow",
]

Number = float | None
Known = Literal["better", "worse", "unclear"]
"""What an interval says of an arm against control."""


class SpecRow(Struct, frozen=True, kw_only=True):
    """What was asked."""

    experiment: str
    owner: str
    hypothesis: str
    unit: str
    control: str
    objective: str
    policy: str
    status: str
    revision: int
    spec_hash: str
    enrolment: float
    holdback: float


class VerdictRow(Struct, frozen=True, kw_only=True):
    """What to do, see `allocator.verdict`."""

    headline: str
    kind: str
    arm: str | None
    reason: str
    rule: str
    remaining_units: Number = None
    remaining_days: Number = None
    remaining_method: str = ""
    cautions: list[str] = []


class AlarmRow(Struct, frozen=True, kw_only=True):
    """A health check that failed."""

    check: str
    found: str
    repair: str


class ArmRow(Struct, frozen=True, kw_only=True):
    """One arm on the objective; `pending` as in the decision's record."""

    id: str
    n: int
    ppm: int
    mean: Number
    interval: tuple[float, float] | None
    p_best: float
    expected_loss: Number
    pending: float


class EffectRow(Struct, frozen=True, kw_only=True):
    """One arm against control on one metric: difference, and relative lift, with intervals.

    `preliminary`: of all units so far, because no period's rewards are all in. `discovered`: called different over all rows.
    """

    metric: str
    arm: str
    against: str
    direction: str
    estimate: Number
    low: Number
    high: Number
    lift: Number
    lift_low: Number
    lift_high: Number
    alpha: float
    p_value: Number
    n: int
    known: Known
    discovered: bool
    preliminary: bool
    refusal: str
    method: str


class CostRow(Struct, frozen=True, kw_only=True):
    """What the units of an arm cost against the best arm, in the objective's unit; `arm` of the last row is None: all."""

    arm: str | None
    units: int
    held_back: bool
    estimate: Number
    most: Number


class NoveltyRow(Struct, frozen=True, kw_only=True):
    """An arm's effect on the objective by period of exposure: lists of one length."""

    arm: str
    verdict: str
    reason: str
    ts: list[float]
    effect: list[float]
    se: list[float]


class SegmentArmRow(Struct, frozen=True, kw_only=True):
    """One arm in one segment, on the objective; `effect` is against control, None for control itself; `ppm` if it has weights."""

    id: str
    n: int
    ppm: int | None
    mean: Number
    interval: tuple[float, float] | None
    p_best: float
    effect: Number
    low: Number
    high: Number
    known: Known


class SegmentRow(Struct, frozen=True, kw_only=True):
    """A segment, with its share of all units counted."""

    segment: str
    n: int
    share: float
    arms: list[SegmentArmRow]


class CrossingRow(Struct, frozen=True, kw_only=True):
    """A segment whose best arm is another one than over all, see `allocator.inference.interaction`."""

    segment: str
    arm: str
    instead_of: str
    here: Number
    elsewhere: Number
    proven: bool


class InteractionRow(Struct, frozen=True, kw_only=True):
    """An arm's effect in a segment less its effect elsewhere."""

    segment: str
    arm: str
    elsewhere: str
    estimate: Number
    low: Number
    high: Number
    e_value: Number
    discovered: bool


class ReversalRow(Struct, frozen=True, kw_only=True):
    """Two arms that change places when segments are weighed alike, see `allocator.inference.simpson`."""

    arm: str
    against: str
    pooled: float
    standardised: float


class PublicationRow(Struct, frozen=True, kw_only=True):
    """Shares as they were published, by arm."""

    ts: float
    version: int
    ppm: dict[str, int]


class Curve(Struct, frozen=True, kw_only=True):
    """The density of an arm's posterior on the objective."""

    arm: str
    x: list[float]
    y: list[float]


class MethodRow(Struct, frozen=True, kw_only=True):
    """How the numbers of a part were found, and what has to hold for them."""

    part: str
    method: str
    assumptions: list[str]


class Section(Struct, frozen=True, kw_only=True):
    """A part that is a sentence and a table: what most parts of a report are. A column that starts with ``>`` is of numbers."""

    title: str
    summary: str
    columns: list[str] = []
    rows: list[list[str]] = []
    method: str = ""
    assumptions: list[str] = []


class Report(Struct, frozen=True, kw_only=True):
    """All of it. `reason` is that of the weights in force; `units` are those that train, on all arms."""

    ts: float
    verdict: VerdictRow
    spec: SpecRow
    version: int
    published_ts: Number
    valid_until: Number
    reason: str
    units: int
    held_back_units: int
    standing: Standing
    alarms: list[AlarmRow]
    arms: list[ArmRow]
    effects: list[EffectRow]
    cost: list[CostRow]
    novelty: list[NoveltyRow]
    segments: list[SegmentRow]
    interaction: list[InteractionRow]
    interaction_reason: str
    crossings: list[CrossingRow]
    simpson: list[ReversalRow]
    simpson_reason: str
    sections: list[Section]
    history: list[PublicationRow]
    densities: list[Curve]
    counters: dict[str, int]
    methods: list[MethodRow]
