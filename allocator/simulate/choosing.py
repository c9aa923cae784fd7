"""Who chooses the shares in a simulation: production's decisions, or a baseline that exists only here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from allocator.decide import Decision, decide_all
from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.moments import WEIGHT_UNIT, inverse_propensity
from allocator.objective import Objective
from allocator.quadrature import FloatArray
from allocator.simulate.baselines import Index
from allocator.weights import PPM, Weights

__all__ = ["Baseline", "Chooser", "InForce", "Production"]


@dataclass(frozen=True, slots=True)
class InForce:
    """What units of one segment are served until the next decision.

    Parameters
    ----------
    shares : shape (arms,), sums to 1.
    weights : W = 1e6 / propensity an arm; of no use where the share is 0.
    leader : the arm, by place, that would be recommended now.
    decided : whether it would be for good; None where nobody says.
    """

    shares: FloatArray
    weights: tuple[int, ...]
    leader: int
    decided: bool | None


class Chooser(Protocol):
    """Chooses again and again in one run; it may remember what it chose."""

    def choose(self, evidence: Evidence, now: float) -> list[InForce]:
        """What follows from the evidence at `now`, in seconds; an entry a segment."""


class Production:
    """The very decisions of a worker, each starting from the weights that were published last.

    Parameters
    ----------
    segments : names; one that the policy gives no weights of its own is served those of the experiment.
    confidence : P(best) at which the leader counts as decided, for a policy that does not say so itself.
    """

    def __init__(self, experiment: Experiment, segments: Sequence[str], confidence: float) -> None:
        self._experiment, self._segments, self._confidence = experiment, segments, confidence
        self._published: dict[str | None, Weights] = {}

    def choose(self, evidence: Evidence, now: float) -> list[InForce]:
        """See `Chooser`."""
        decisions = decide_all(self._experiment, evidence, self._published, now)
        for segment, decision in decisions.items():
            if decision.publish:
                self._published[segment] = decision.weights
        found = {segment: self._in_force(self._published[segment], decision) for segment, decision in decisions.items()}
        return [found.get(segment, found[None]) for segment in self._segments]

    def _in_force(self, published: Weights, decision: Decision) -> InForce:
        shares = [arm.ppm / PPM for arm in published.arms]
        weights = tuple([inverse_propensity(share) if share else 0 for share in shares])
        verdict, p_best = decision.verdict, [arm.p_best for arm in decision.arms]
        if verdict is None:
            return InForce(np.array(shares), weights, leader=p_best.index(max(p_best)), decided=max(p_best) >= self._confidence)
        return InForce(np.array(shares), weights, leader=self._experiment.arm_ids.index(verdict.arm), decided=verdict.stop)


class Baseline:
    """An index policy: every unit is served the arm with the largest index, the first of equals; it knows no segments."""

    def __init__(self, experiment: Experiment, segments: Sequence[str], index: Index) -> None:
        self._objective, self._segments, self._index = Objective.of(experiment), segments, index

    def choose(self, evidence: Evidence, now: float) -> list[InForce]:
        """See `Chooser`."""
        samples = self._objective.samples(evidence.total)
        n, total = samples.n, samples.total + samples.n * samples.origin
        if self._objective.metric.direction == "down":
            total = n - total
        served = int(np.argmax(self._index(n, total, float(n.sum()))))
        mean = np.divide(total, n, out=np.full(len(n), -np.inf), where=n > 0)
        shares = np.zeros(len(n))
        shares[served] = 1.0
        weights = tuple(WEIGHT_UNIT if k == served else 0 for k in range(len(n)))
        return [InForce(shares, weights, int(np.argmax(mean)), None)] * len(self._segments)
