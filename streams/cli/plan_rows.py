"""What `allocator plan` answers: one row a way to split the traffic, and the least detectable effect by time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from allocator.errors import ArgumentError
from allocator.inference import (
    Baseline,
    Design,
    Duration,
    EarlyDetection,
    Plan,
    Split,
    Traffic,
    detectable_effect,
    duration,
    early_detection,
    power_of,
    sample_size,
)

__all__ = ["Question", "Row", "answer", "days_shown", "detectable_with"]

SHOWN_DAYS = (1, 2, 3, 4, 5, 6, 7, 14, 21, 28, 42, 56, 84, 112, 168, 252, 364)
SHOWN_MAX = 7


@dataclass(frozen=True, slots=True)
class Question:
    """Everything the options and the spec say.

    Parameters
    ----------
    metric : its name, for people.
    effect, total : what is given of the two, at least one; both ask for the power, one for the other. `total` are usable units.
    direction : of the least detectable effect.
    comparisons : what alpha is divided by.
    loss : what a guardrail is to find, signed, in the metric's unit.
    """

    metric: str
    baseline: Baseline
    splits: tuple[Split, ...]
    alpha: float
    power: float
    two_sided: bool
    comparisons: int
    direction: Literal["up", "down"] = "up"
    effect: float | None = None
    total: float | None = None
    traffic: Traffic | None = None
    loss: float | None = None

    def design(self, split: Split) -> Design:
        """How that split is tested."""
        return Design(split.shares, self.alpha, self.power, self.two_sided, self.comparisons)


@dataclass(frozen=True, slots=True)
class Row:
    """The answer for one split; `duration` needs traffic, `guardrail` a loss."""

    split: Split
    plan: Plan
    duration: Duration | None
    guardrail: EarlyDetection | None
    guardrail_duration: Duration | None


def answer(question: Question) -> tuple[Row, ...]:
    """A row for each split. ArgumentError for whatever is outside its domain."""
    return tuple(_row(question, split) for split in question.splits)


def detectable_with(question: Question, split: Split, total: float) -> Plan | None:
    """The least effect that so many units find; None if they are too few for any."""
    try:
        return detectable_effect(question.baseline, total, question.design(split), question.direction)
    except ArgumentError:
        return None


def days_shown(rows: Sequence[Row]) -> tuple[int, ...]:
    """Round numbers of days around the first row's duration, at most `SHOWN_MAX`; none without traffic."""
    planned = rows[0].duration
    if planned is None:
        return ()
    near = [d for d in SHOWN_DAYS if planned.days / 4 <= d <= planned.days * 4]
    return tuple(near[:SHOWN_MAX]) or (SHOWN_DAYS[0] if planned.days < 1 else SHOWN_DAYS[-1],)


def _row(question: Question, split: Split) -> Row:
    design, traffic = question.design(split), question.traffic
    plan = _plan(question, design)
    found = None if question.loss is None else early_detection(question.baseline, question.loss, design)
    return Row(
        split=split,
        plan=plan,
        duration=None if traffic is None else duration(plan.total, traffic),
        guardrail=found,
        guardrail_duration=None if traffic is None or found is None else duration(found.total, traffic),
    )


def _plan(question: Question, design: Design) -> Plan:
    baseline, effect, total = question.baseline, question.effect, question.total
    if effect is None:
        assert total is not None
        return detectable_effect(baseline, total, design, question.direction)
    return sample_size(baseline, effect, design) if total is None else power_of(baseline, effect, total, design)
