"""What is still to come of an objective that is made of several metrics: of each leaf its own share, by its own window and lags.

A leaf's mean is Σy / n_eff as in `allocator.pending`, the tree is evaluated at these means, and the delta method carries their
variance. So a click that comes in seconds and a revenue that comes in days are each taken for what they will be. Nothing keeps
the mean of a binary leaf from exceeding 1 while hardly anything has come; the arm is then worth next to no units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.metric_tree import Node, node_of, resolutions_of, samples_of_node
from allocator.moments import Moments
from allocator.objective import MetricObjective, Objective
from allocator.pending import Pending
from allocator.quadrature import FloatArray
from allocator.samples import Samples

__all__ = ["PendingTree", "pending_of"]


@dataclass(frozen=True, slots=True, eq=False)
class PendingTree:
    """How much of the rewards of a tree's leaves has come.

    Parameters
    ----------
    node : the root.
    resolutions : of the columns of the moments.
    parts : place of a leaf in the moments → what is pending of it, for those of which something is; at least one.
    """

    node: Node
    resolutions: tuple[float, ...]
    parts: Mapping[int, Pending]

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What it takes to be true."""
        return tuple(dict.fromkeys(sentence for part in self.parts.values() for sentence in part.assumptions))

    def corrected(self, objective: Objective, moments: Sequence[Moments]) -> Samples:
        """The objective, which is the root, of the experiment's moments or of a segment's."""
        del objective
        return samples_of_node(self.node, self.resolutions, moments, self._arrived(lambda part: part.arrived))

    def corrected_of_period(self, objective: Objective, moments: Sequence[Moments], period: int) -> Samples:
        """The same of one period's moments."""
        del objective
        arrived = self._arrived(lambda part: part.arrived_of_period(period))
        return samples_of_node(self.node, self.resolutions, moments, arrived)

    def of_arms(self, n: Sequence[int]) -> list[float]:
        """Units of every arm that are still to come of the leaf that is furthest behind."""
        least = self._arrived(lambda part: part.arrived).min(axis=1)
        return [units * (1.0 - share) for units, share in zip(n, least.tolist(), strict=True)]

    def _arrived(self, of: Callable[[Pending], FloatArray]) -> FloatArray:
        """Shape (arms, columns)."""
        found = {column: of(part) for column, part in self.parts.items()}
        arrived = np.ones((len(next(iter(found.values()))), len(self.resolutions)))
        for column, shares in found.items():
            arrived[:, column] = shares
        return arrived


def pending_of(experiment: Experiment, evidence: Evidence, now: float) -> Pending | PendingTree | None:
    """What is pending of the objective at `now`; None where nothing is, as far as is known and can be corrected."""
    objective, node = Objective.of(experiment), node_of(experiment, experiment.objective)
    leaves = {leaf.column: leaf.name for leaf in node.leaves()}
    if isinstance(objective, MetricObjective):
        return Pending.of(experiment, evidence, now, leaves[objective.index])
    found = {column: Pending.of(experiment, evidence, now, name) for column, name in leaves.items()}
    parts = {column: part for column, part in found.items() if part is not None}
    return PendingTree(node, resolutions_of(experiment), parts) if parts else None
