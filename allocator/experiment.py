"""An experiment as everything but its owner sees it: checked, with every default filled in.

`allocator.spec` makes one from what the owner wrote. On the wire durations are seconds under the spec's own names.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field
from xxhash import xxh64_hexdigest

from allocator.guardrail import Guardrail
from allocator.namespaces import Namespace
from allocator.ramp import Stage, Word
from allocator.schedule import Schedule
from allocator.segments import OTHER_SEGMENT, SegmentRule

__all__ = [
    "OTHER_SEGMENT",
    "Aggregate",
    "Arm",
    "Constraints",
    "Covariate",
    "Derived",
    "Direction",
    "Experiment",
    "Metric",
    "MetricType",
    "Missing",
    "Policy",
    "Prior",
    "Status",
    "derived_kind",
]

Status = Literal["draft", "running", "paused", "promoted", "stopped", "archived"]
MetricType = Literal["binary", "value", "count"]
Direction = Literal["up", "down"]
Aggregate = Literal["sum", "max", "last"]
Missing = Literal["zero", "excluded"]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(gt=0, description="seconds; a spec file may say 100ms, 10m, 7d")]


class Arm(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One alternative; `params` is any JSON, handed to whoever serves the arm with each assignment."""

    id: Name
    params: dict[str, Any] = {}


class Prior(Struct, frozen=True, kw_only=True):
    """What is known of a metric before the first unit: as if so many units of that mean had been seen.

    None is filled in by type, see `allocator.prior`: mean and sd are then those of all arms' units together.
    """

    units: Annotated[float, Meta(gt=0, description="what it is worth; None: one event of a count")] | None = None
    mean: Annotated[float, Meta(description="in the metric's own unit")] | None = None
    sd: Annotated[float, Meta(gt=0, description="of one unit's value; a binary metric has none")] | None = None
    origin: Annotated[str, Meta(description="where the numbers were borrowed, such as `exp-0 × 0.2`; for people")] | UnsetType = (
        field(default=UNSET, name="from")
    )


class Metric(Struct, frozen=True, kw_only=True):
    """What a reward measures, and how a unit's rewards become one number.

    A unit without a reward has the value 0, or with `missing` excluded is left out of the mean. `aggregate` says what several
    rewards of one unit make: their sum, their maximum, or the last by time. `cap` winsorises what they make, so a unit's value. A
    binary metric takes 0 and 1 and its maximum. The default prior is weak: a uniform one of a rate; of a value, one unit like all
    arms' units together; of a count, one event at their rate.
    """

    type: MetricType = "binary"
    direction: Direction = "up"
    window_s: Seconds = field(default=86400.0, name="window")
    resolution: Annotated[float, Meta(gt=0, description="values are rounded to a multiple of this, once")] = 1e-6
    aggregate: Aggregate = "sum"
    cap: Annotated[float | None, Meta(description="a unit's value beyond it, in size, counts as this; null: none")] = None
    cap_quantile: Annotated[
        float | None,
        Meta(description="from 0.5 to below 1: where the cap is from, or is to be; `cap: {quantile: 0.99}` in a file"),
    ] = None
    missing: Annotated[Missing, Meta(description="what a unit without a reward is: the value 0, or not in the mean")] = "zero"
    prior: Annotated[Prior | None, Meta(description="of every arm; None is the default of the metric's type")] = None
    arm_priors: Annotated[dict[Name, Prior], Meta(description="of single arms, in place of `prior`")] = {}


class Derived(Struct, frozen=True, kw_only=True):
    """A metric that is never observed but made of others, which may be derived too: a weighted sum, a ratio, or a product.

    It is a function of their means, see `allocator.metric_tree`. Exactly one of the three is set.
    """

    sum: Annotated[dict[Name, float] | UnsetType, Meta(description="metric to its weight")] = UNSET
    ratio: Annotated[tuple[Name, Name] | UnsetType, Meta(description="numerator, denominator")] = UNSET
    product: Annotated[tuple[Name, Name] | UnsetType, Meta(description="of the means of two metrics")] = UNSET
    direction: Direction = "up"
    prior: Annotated[Prior | None, Meta(description="of every arm, as of a value metric")] = None


def derived_kind(derived: Derived) -> tuple[Literal["sum", "ratio", "product"], tuple[str, ...], tuple[float, ...]]:
    """How it is made, of which metrics, and with which weights, of which only a sum has any."""
    if isinstance(derived.sum, dict):
        return "sum", tuple(derived.sum), tuple(derived.sum.values())
    if isinstance(derived.ratio, tuple):
        return "ratio", derived.ratio, ()
    return "product", derived.product or (), ()


class Covariate(Struct, frozen=True, kw_only=True):
    """A number known of a unit before it is served, as exposures carry it under the same name; see `allocator.covariates`."""

    name: Name
    resolution: Annotated[float, Meta(gt=0, description="values are rounded to a multiple of this, once")] = 1e-6


class Policy(Struct, frozen=True, kw_only=True):
    """A policy by its registered name, or ``package.module:Class`` for one of the owner's own, with its parameters."""

    name: str = "thompson"
    params: dict[str, Any] = {}


class Constraints(Struct, frozen=True, kw_only=True):
    """What the policy's weights must respect before they are published; in what order is said in `allocator.constraints`."""

    reserved: Annotated[Share, Meta(description="least share of control, whatever the policy wants")] = 0.0
    floor: Annotated[Share, Meta(description="least share of every arm")] = 0.02
    cap: Annotated[float, Meta(gt=0, le=1, description="largest share of any arm")] = 1.0
    warmup: Annotated[int, Meta(ge=0, description="units an arm needs before weights leave the even split")] = 100
    max_shift: Annotated[float, Meta(gt=0, le=1, description="largest change of an arm's share in one update")] = 0.1
    dead_band: Annotated[Share, Meta(description="changes of at most this share are not published")] = 0.01


class Experiment(Struct, frozen=True, kw_only=True, dict=True):  # dict: for what is derived once and kept
    """A checked spec. Build it with `load_experiment`, which fills in the defaults."""

    experiment: Name
    arms: tuple[Arm, ...]
    control: Annotated[Name, Meta(description="the arm every other one is compared with")]
    metrics: Annotated[dict[str, Metric], Meta(description="those that are observed, in the order of the moments")]
    derived: Annotated[dict[str, Derived], Meta(description="metrics made of others; may change in a run")] = {}
    objective: Annotated[str, Meta(description="the metric that traffic follows, observed or derived")]
    guardrails: Annotated[dict[str, Guardrail], Meta(description="by metric: how much worse than control an arm may be")] = {}
    overruled: Annotated[
        dict[str, tuple[Name, ...]],
        Meta(description="by guardrail: arms it only alerts for; written by `allocator overrule`, kept when a spec is applied"),
    ] = {}
    covariates: Annotated[
        tuple[Covariate, ...], Meta(description="numbers on exposures that explain the metrics, for CUPED")
    ] = ()
    policy: Policy = Policy()
    constraints: Constraints = Constraints()
    fallback: Annotated[Name, Meta(description="served to units that take no part, and to all when weights have expired")]
    unit: Annotated[str, Meta(description="what is randomised: user, session, request")] = "unit"
    segments: Annotated[tuple[str, ...], Meta(description="counted apart; any other is counted as `other`")] = ()
    segment_rule: Annotated[
        SegmentRule | None,
        Meta(description="how routers find a unit's segment; written as `segments: {attribute: …, values: …}`"),
    ] = None
    namespace: Annotated[Namespace | None, Meta(description="units shared with other experiments; None: all units")] = None
    eligibility: Annotated[
        dict[str, Any] | None, Meta(description="JsonLogic on the unit's attributes, evaluated by routers; None: everybody")
    ] = None
    schedule: Annotated[Schedule | None, Meta(description="when units are enrolled; None: always")] = None
    enrolment: Annotated[Share, Meta(description="share of units that take part; with stages that of the last one")] = 1.0
    stages: Annotated[tuple[Stage, ...], Meta(description="a ramp of enrolment, see `allocator.stages`")] = ()
    holdback: Annotated[Share, Meta(description="share of them kept on control, which trains nothing")] = 0.0
    period_s: Annotated[
        Seconds,
        Meta(
            description="moments are kept by periods of exposure time, in seconds; at most an eighth of the objective's window, "
            "for pending rewards to be allowed for within 1 %. By default an eighth of the shortest window, from 1h to 1d"
        ),
    ] = field(default=86400.0, name="period")
    publish_interval_s: Annotated[Seconds, Meta(description="least seconds between two publications")] = field(
        default=1.0, name="publish_interval"
    )
    lease_s: Annotated[Seconds, Meta(description="seconds for which published weights may be served")] = field(
        default=60.0, name="lease"
    )
    clock_skew_s: Annotated[Seconds, Meta(description="seconds a reward may claim to be before its exposure")] = field(
        default=5.0, name="clock_skew"
    )
    grace_s: Annotated[Seconds, Meta(description="seconds after its window that an event may still arrive")] = field(
        default=3600.0, name="grace"
    )
    owner: str = ""
    hypothesis: str = ""
    status: Status = "running"
    word: Annotated[Word | None, Meta(description="the last word of a person about the stages; not from a spec file")] = None
    promoted: Annotated[Name | None, Meta(description="the arm that was promoted; set by `allocator promote`")] = None
    phase: Annotated[int, Meta(ge=1, description="one more with each change of what is summed; not from a spec file")] = 1
    since: Annotated[float, Meta(ge=0, description="when the phase began, in seconds since the epoch; 0 in the first")] = 0.0
    earlier: Annotated[tuple[Experiment, ...], Meta(description="the spec as it was at the end of each phase before")] = ()
    revision: Annotated[int, Meta(ge=1)] = 1

    @cached_property
    def arm_ids(self) -> tuple[str, ...]:
        """Arm names in their fixed order."""
        return tuple(arm.id for arm in self.arms)

    @cached_property
    def metric_names(self) -> tuple[str, ...]:
        """Names of observed metrics in the order of the moments."""
        return tuple(self.metrics)

    def direction_of(self, metric: str) -> Direction:
        """Which way is good, of an observed or a derived metric."""
        return (self.metrics.get(metric) or self.derived[metric]).direction

    @cached_property
    def reported(self) -> dict[str, int]:
        """Metric whose missing units are excluded → place in the moments of the indicator that a unit has a value."""
        excluded = [name for name, metric in self.metrics.items() if metric.missing == "excluded"]
        return {name: len(self.metrics) + k for k, name in enumerate(excluded)}

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """What the moments count of a unit, in their order: the observed metrics, the indicators of `reported`, the covariates,
        and the indicator that a unit lacks one."""
        covariates = [f"{covariate.name}:covariate" for covariate in self.covariates]
        return (
            *self.metrics,
            *(f"{name}:reported" for name in self.reported),
            *covariates,
            *([":lacking"] if covariates else []),
        )

    @cached_property
    def covariate_places(self) -> tuple[int, ...]:
        """Places in the moments of the covariates and of the indicator that a unit lacks one; none without covariates."""
        count = len(self.columns)
        return tuple(range(count - len(self.covariates) - 1, count)) if self.covariates else ()

    @cached_property
    def spec_hash(self) -> str:
        """16 hex digits of the xxh64 of the spec's JSON without what is not from a spec file: status, phases, revision, …."""
        fields = msgspec.to_builtins(self)
        for owned in ("status", "promoted", "word", "phase", "since", "earlier", "revision"):
            del fields[owned]
        return xxh64_hexdigest(msgspec.json.encode(fields))
