"""What a worker shows: the `View` it implements, and the JSON it answers with.

Every method of `View` is called on the worker's event loop once a second and open page, so it reads memory and returns at once.
Times are seconds since the epoch, shares are parts per million, means and intervals are in the metric's natural units.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from msgspec import Struct

from allocator.stages import Step
from allocator.standing import Breach
from streams.health import ExperimentHealth
from streams.holdback import HoldbackState
from streams.records import ArmState, Change, Decision, Experiment, Weights

__all__ = [
    "ArmRow",
    "ArmShare",
    "ExperimentDetail",
    "ExperimentHealth",
    "ExperimentSummary",
    "HistoryPoint",
    "MetricRow",
    "StageRow",
    "View",
    "rows_of",
]


class ArmShare(Struct, frozen=True):
    """One arm's share of the newest weights."""

    id: str
    ppm: int


class ArmRow(Struct, frozen=True, kw_only=True):
    """One arm on the objective: units, posterior mean, 95 % interval, probability of being best, share, units still pending."""

    id: str
    n: int
    mean: float | None
    interval: tuple[float, float] | None
    p_best: float
    ppm: int
    pending: float = 0.0


class MetricRow(Struct, frozen=True, kw_only=True):
    """One arm on one metric: units, posterior mean, 95 % interval."""

    id: str
    n: int
    mean: float | None
    interval: tuple[float, float] | None


class StageRow(Struct, frozen=True, kw_only=True):
    """The stage in force. `number` counts from 1, `since` is when it was entered.

    `state` is that of the last decision by the table in `allocator.stages`, `waits_for` what it waits for or, after a change,
    why.
    """

    number: int
    of: int
    name: str
    enrolment_ppm: int
    since: float
    state: str
    waits_for: str

    @classmethod
    def of_step(cls, experiment: Experiment, step: Step) -> StageRow | None:
        """None without stages, or before one was entered."""
        standing = step.standing
        if not standing.stage_since or standing.stage >= len(experiment.stages):
            return None
        return cls(
            number=standing.stage + 1,
            of=len(experiment.stages),
            name=experiment.stages[standing.stage].name,
            enrolment_ppm=step.enrolled_ppm,
            since=standing.stage_since,
            state=step.state,
            waits_for=step.reason,
        )


class ExperimentSummary(Struct, frozen=True, kw_only=True):
    """A line in the list of experiments. `version` 0, `ts` and `valid_until` None: no weights yet."""

    name: str
    status: str
    version: int
    policy: str
    objective: str
    control: str
    ts: float | None
    valid_until: float | None
    arms: list[ArmShare]

    @classmethod
    def of(cls, experiment: Experiment, weights: Weights | None) -> ExperimentSummary:
        """What the spec and the newest weights say; every worker has read both."""
        ppm = {arm.id: arm.ppm for arm in weights.arms} if weights else dict.fromkeys(experiment.arm_ids, 0)
        return cls(
            name=experiment.experiment,
            status=experiment.status,
            version=weights.version if weights else 0,
            policy=experiment.policy.name,
            objective=experiment.objective,
            control=experiment.control,
            ts=weights.ts if weights else None,
            valid_until=weights.valid_until if weights else None,
            arms=[ArmShare(arm, share) for arm, share in ppm.items()],
        )


class ExperimentDetail(Struct, frozen=True, kw_only=True):
    """All that the owner of an experiment knows of it, segments and periods added up.

    `counters` are events by outcome (``exposures.applied``, ``rewards.waiting``, …) and add up to `events_read`. `lag_records` is
    how many partials the owner has still to read; `lag_seconds` how old the newest event counted is, None before the first.
    `partitions` is the number of join partitions that have contributed. `breaches` are the guardrails broken that stand.
    """

    name: str
    spec: dict[str, Any]
    status: str
    version: int
    ts: float | None
    valid_until: float | None
    reason: str
    arms: list[ArmRow]
    metrics: dict[str, list[MetricRow]]
    counters: dict[str, int]
    events_read: int
    lag_records: int
    lag_seconds: float | None
    partitions: int
    stage: StageRow | None = None
    breaches: Sequence[Breach] = ()
    holdback: HoldbackState | None = None
    """None if nobody is or was held back."""


class HistoryPoint(Struct, frozen=True, kw_only=True):
    """One publication as the charts need it; the lists are in the order of `arms`, which a later spec may change."""

    ts: float
    version: int
    arms: Sequence[str]
    ppm: list[int]
    p_best: list[float]
    n: list[int]

    @classmethod
    def of(cls, decision: Decision) -> HistoryPoint:
        """The point of one decision."""
        arms = decision.arms
        return cls(
            ts=decision.ts,
            version=decision.version,
            arms=[arm.id for arm in arms],
            ppm=[arm.ppm for arm in arms],
            p_best=[arm.p_best for arm in arms],
            n=[arm.n for arm in arms],
        )


class View(Protocol):
    """What the worker tells the web server. An experiment is owned by one worker at a time; every worker lists all of them."""

    def ready(self) -> tuple[bool, str]:
        """Whether state is restored and partitions are assigned; if not, why."""

    def experiments(self) -> list[ExperimentSummary]:
        """Every experiment there is, whoever owns it, by name."""

    def detail(self, name: str) -> ExperimentDetail | None:
        """None: unknown, or another worker owns it."""

    def owner_url(self, name: str) -> str | None:
        """Base URL of the other worker that owns it, as ``http://10.0.0.7:6066``; None when nobody does, or this worker."""

    def known(self, name: str) -> bool:
        """Whether there is a spec of that name."""

    def decisions(self, name: str, limit: int) -> list[Decision]:
        """At most `limit` decisions of an experiment owned here, newest first."""

    def changes(self, name: str) -> list[Change]:
        """Who changed its spec, when, why and how, newest first, whoever owns it; of archived experiments too."""

    def health(self, name: str) -> ExperimentHealth | None:
        """None: unknown, or another worker owns it."""

    def history(self, name: str) -> list[HistoryPoint]:
        """The publications of an experiment owned here, oldest first, as far back as is kept."""


def rows_of(states: Iterable[ArmState]) -> tuple[list[ArmRow], dict[str, list[MetricRow]]]:
    """The arms of a decision as the rows of `ExperimentDetail`: on the objective, and by metric."""
    arms: list[ArmRow] = []
    metrics: dict[str, list[MetricRow]] = {}
    for arm in states:
        row_of_arm = ArmRow(
            id=arm.id, n=arm.n, mean=arm.mean, interval=arm.interval, p_best=arm.p_best, ppm=arm.ppm, pending=arm.pending
        )
        arms.append(row_of_arm)
        for metric, state in arm.metrics.items():
            row = MetricRow(id=arm.id, n=state.n, mean=state.mean, interval=state.interval)
            metrics.setdefault(metric, []).append(row)
    return arms, metrics
