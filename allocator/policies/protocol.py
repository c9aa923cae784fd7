"""What every policy is: parameters with domains, and weights from posteriors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol, TypeVar

import numpy as np

from allocator.errors import ArgumentError
from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.moments import Moments
from allocator.objective import Objective
from allocator.pending import Pending
from allocator.pending_tree import PendingTree, pending_of
from allocator.posterior import Posteriors
from allocator.quadrature import FloatArray
from allocator.samples import Samples

__all__ = ["Choice", "Context", "Policy", "Verdict", "best_is_high", "needed", "normalise"]

T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    """What a policy may look at besides the posteriors of the objective.

    Parameters
    ----------
    objective : makes samples of moments and posteriors of samples, for policies that weigh or part the evidence.
    evidence : training moments by segment and by period.
    metrics : every metric's posteriors in the segment, observed or derived, by name; made when looked at. Of the objective as
        `posteriors` makes them, of the others with pending rewards as 0.
    control : the control's place in the order of arms.
    segment : the segment whose weights are wanted; None for those of the whole experiment.
    now : seconds since the epoch.
    period_s : length of a period of `evidence`, in seconds.
    segments : those the spec declares.
    shared : what `once` has found, for all segments of one decision.
    pending : what is still to come of the objective in the whole experiment; None: nothing, as far as is known.
    """

    objective: Objective
    evidence: Evidence
    metrics: Mapping[str, Posteriors]
    control: int
    segment: str | None
    now: float
    period_s: float
    segments: tuple[str, ...] = ()
    shared: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    pending: Pending | PendingTree | None = None

    @classmethod
    def of(
        cls, experiment: Experiment, evidence: Evidence, now: float, segment: str | None = None, whole: Context | None = None
    ) -> Context:
        """The context of the whole experiment, or of one of its segments, which shares what `whole` has found."""
        pending = pending_of(experiment, evidence, now) if whole is None else whole.pending
        return cls(
            objective=Objective.of(experiment),
            evidence=evidence,
            metrics=_Metrics(experiment, _moments(evidence, segment), pending),
            control=experiment.arm_ids.index(experiment.control),
            segment=segment,
            now=now,
            period_s=experiment.period_s,
            segments=experiment.segments,
            shared={} if whole is None else whole.shared,
            pending=pending,
        )

    @property
    def moments(self) -> tuple[Moments, ...]:
        """Every arm's moments in the segment, or in the whole experiment."""
        return _moments(self.evidence, self.segment)

    def samples(self, moments: Sequence[Moments]) -> Samples:
        """The objective of every arm's moments, of the experiment or of a segment, what is pending taken into account."""
        return self.objective.samples(moments) if self.pending is None else self.pending.corrected(self.objective, moments)

    def samples_of_period(self, period: int) -> Samples:
        """The objective of every arm's units of one period of exposure time, what is pending taken into account."""
        moments = self.evidence.by_period[period]
        if self.pending is None:
            return self.objective.samples(moments)
        return self.pending.corrected_of_period(self.objective, moments, period)

    def posteriors(self) -> Posteriors:
        """Of the objective in the segment, or in the whole experiment: what a policy is given."""
        return self.objective.posteriors(self.samples(self.moments))

    def once(self, make: Callable[[Context], T]) -> T:
        """`make(self)`, made once for all segments of a decision: it must not look at `segment` or `metrics`."""
        if make not in self.shared:
            self.shared[make] = make(self)
        return self.shared[make]  # type: ignore[no-any-return]


class Policy(Protocol):
    """From posteriors to unconstrained weights; reserved share, floor, cap, maximum shift and dead-band come after.

    A policy is a frozen dataclass whose fields are the parameters a spec may set. It checks them when it is made
    (ArgumentError) and keeps no state, so that the same posteriors give the same weights. It may also have

    - a class attribute ``per_segment = True``: it is asked once more for every segment, with ``context.segment`` set and the
      segment's own posteriors, and each segment gets the weights it answers;
    - a method ``choose(posteriors, context) -> Choice``, asked instead of `weights`, to say more than weights.
    """

    def weights(self, posteriors: Posteriors, context: Context | None = None) -> FloatArray:
        """Shape (arms,), non-negative, sums to 1. Policies that need the context raise ArgumentError without it."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a policy has seen enough.

    Parameters
    ----------
    arm : the arm that looks best.
    statistic : the evidence for it, in the units of `threshold`.
    threshold : what the evidence has to exceed.
    stop : whether it does.
    method : how it was found, with its source.
    assumptions : what it relies on.
    """

    arm: str
    statistic: float
    threshold: float
    stop: bool
    method: str
    assumptions: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Weights, and what a policy has to say of them.

    Parameters
    ----------
    weights : shape (arms,).
    posteriors : of the objective, those the weights rest on if they are not the ones the policy was given; readouts show them.
    note : what the decision's reason should say beside who leads.
    verdict : whether enough has been seen.
    """

    weights: FloatArray
    posteriors: Posteriors | None = None
    note: str = ""
    verdict: Verdict | None = None


def normalise(weights: FloatArray) -> FloatArray:
    """`weights` over their sum. ArgumentError unless they are finite, non-negative and not all zero."""
    total = float(weights.sum())
    if not (np.all(weights >= 0) and 0.0 < total < np.inf):
        raise ArgumentError("weights", weights.tolist(), "finite numbers of at least 0, not all 0")
    return weights / total


def needed(context: Context | None) -> Context:
    """The context. ArgumentError if there is none."""
    if context is None:
        raise ArgumentError("context", None, "the context of a decision: this policy looks beyond the posteriors")
    return context


def best_is_high(posteriors: Posteriors) -> FloatArray:
    """Posterior means with the sign that makes the best one the largest, shape (arms,); nan where nothing is known."""
    return -posteriors.mean if posteriors.down else posteriors.mean


class _Metrics(Mapping[str, Posteriors]):
    """Posteriors of every metric, each made when it is first looked at: most policies look at none, and segments are many."""

    def __init__(self, experiment: Experiment, moments: Sequence[Moments], pending: Pending | PendingTree | None) -> None:
        self._experiment, self._moments, self._pending = experiment, moments, pending
        self._made: dict[str, Posteriors] = {}

    def __getitem__(self, name: str) -> Posteriors:
        if name not in self._made:
            self._made[name] = self._of(name)
        return self._made[name]

    def _of(self, name: str) -> Posteriors:
        if self._pending is not None and name == self._experiment.objective:
            objective = Objective.of(self._experiment)
            return objective.posteriors(self._pending.corrected(objective, self._moments))
        found = Objective.of(self._experiment, name)
        return found.posteriors(found.samples(self._moments))

    def __contains__(self, name: object) -> bool:
        return name in self._experiment.metrics or name in self._experiment.derived

    def __iter__(self) -> Iterator[str]:
        return chain(self._experiment.metrics, self._experiment.derived)

    def __len__(self) -> int:
        return len(self._experiment.metrics) + len(self._experiment.derived)


def _moments(evidence: Evidence, segment: str | None) -> tuple[Moments, ...]:
    if segment is None:
        return evidence.total
    found = evidence.by_segment.get(segment)
    return (Moments.zero(evidence.metrics),) * len(evidence.arms) if found is None else found
