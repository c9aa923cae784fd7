"""Who chooses the shares in a simulation: production's `decide`, or a baseline that exists only here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from allocator.decide import decide
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
    """What units are served until the next decision.

    Parameters
    ----------
    shares : shape (arms,), sums to 1.
    weights : W = 1e6 / propensity an arm; of no use where the share is 0.
    leader : the arm, by place, that would be recommended now.
    sure : P(the leader is the best); nan where nobody says.
    """

    shares: FloatArray
    weights: tuple[int, ...]
    leader: int
    sure: float


class Chooser(Protocol):
    """Chooses again and again in one run; it may remember what it chose."""

    def choose(self, evidence: Evidence, now: float) -> InForce:
        """What follows from the evidence at `now`, in seconds."""


class Production:
    """The very `decide` that workers call, each decision starting from the weights that were published last."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._published: Weights | None = None

    def choose(self, evidence: Evidence, now: float) -> InForce:
        """See `Chooser`."""
        decision = decide(self._experiment, evidence, self._published, now)
        if decision.publish or self._published is None:
            self._published = decision.weights
        shares = [arm.ppm / PPM for arm in self._published.arms]
        p_best = [arm.p_best for arm in decision.arms]
        sure = max(p_best)
        weights = tuple([inverse_propensity(share) if share else 0 for share in shares])
        return InForce(np.array(shares), weights, leader=p_best.index(sure), sure=sure)


class Baseline:
    """An index policy: every unit is served the arm with the largest index; the first of equals."""

    def __init__(self, experiment: Experiment, index: Index) -> None:
        self._objective, self._index = Objective.of(experiment), index

    def choose(self, evidence: Evidence, now: float) -> InForce:
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
        return InForce(shares, weights, int(np.argmax(mean)), float("nan"))
