"""What each node of a metric tree does against control, and how much of the root's effect comes through it.

Every node, the leaves too, has its difference from control with an interval valid at any time (`differences`). Which part moves
the root is told by a decomposition that is exact at the estimates, bar meaning the average of an arm and control:

    sum      Δf = Σ w_i Δf_i
    ratio    Δf = Δa / b̄ - f̄ Δb / b̄         since a = f b
    product  Δf = b̄ Δa + ā Δb

Each term times the factor of the part above it is what the root has moved through that part. The terms of one node's parts sum
to the node's own. They are estimates without an interval of their own: that of the part is beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.evidence import Evidence
from allocator.experiment import Direction, Experiment
from allocator.inference.asymptotic import UNITS_MIN
from allocator.inference.differences import differences
from allocator.inference.estimate import Estimate
from allocator.inference.node_sums import estimated_means
from allocator.inference.observations import Observations
from allocator.metric_tree import Kind, Node, node_of, resolutions_of
from allocator.quadrature import FloatArray

__all__ = ["NodeEffect", "metric_effects", "tree_effects"]


@dataclass(frozen=True, slots=True)
class NodeEffect:
    """A metric in its tree.

    Parameters
    ----------
    metric : its name.
    kind : leaf, sum, ratio or product.
    direction : which way is good.
    weight : in the sum above it; None elsewhere.
    means : arm → the metric's value at the arm's means, in natural units; nan where it is not known.
    effects : difference from control of every other arm, in the order of the arms.
    moved : arm but control → how much of the root's difference comes through this metric, in the root's natural units.
    parts : what it is made of.
    """

    metric: str
    kind: Kind
    direction: Direction
    weight: float | None
    means: dict[str, float]
    effects: tuple[Estimate, ...]
    moved: dict[str, float]
    parts: tuple[NodeEffect, ...] = ()


def metric_effects(
    experiment: Experiment,
    evidence: Evidence,
    name: str | None = None,
    *,
    alpha: float = 0.05,
    now: float | None = None,
    units_min: float = UNITS_MIN,
) -> tuple[Estimate, ...]:
    """Difference from control of every other arm on a metric, observed or derived; each interval valid at any time.

    Parameters
    ----------
    name : None for the objective.
    alpha : probability that an arm's interval ever misses.
    now : seconds since the epoch: only periods count whose rewards are all in by then. None: all there is, with pending rewards
        as zeros.
    units_min : effective units demanded of the arm and of control.

    Raises
    ------
    ArgumentError : no such metric, or evidence without periods.
    """
    name = experiment.objective if name is None else name
    observations = Observations.of(experiment, name, evidence, now)
    return differences(observations, experiment.control, alpha=alpha, method="asymptotic", units_min=units_min)


def tree_effects(
    experiment: Experiment,
    evidence: Evidence,
    name: str | None = None,
    *,
    alpha: float = 0.05,
    now: float | None = None,
    units_min: float = UNITS_MIN,
) -> NodeEffect:
    """The tree under a metric, by default the objective; arguments and errors as `metric_effects`."""
    root = node_of(experiment, experiment.objective if name is None else name)
    periods = Observations.of(experiment, root.name, evidence, now).periods
    means = estimated_means(root.columns, resolutions_of(experiment), evidence.arms, periods)
    found: dict[str, tuple[Estimate, ...]] = {}
    for node in root.walk():
        if node.name not in found:
            found[node.name] = metric_effects(experiment, evidence, node.name, alpha=alpha, now=now, units_min=units_min)
    arms, control = evidence.arms, evidence.arms.index(experiment.control)

    def grown(node: Node, factor: FloatArray, weight: float | None) -> NodeEffect:
        value, _ = node.at(means)
        moved = factor * (value - value[control])
        weights = node.weights or (None,) * len(node.parts)
        factors = [factor * share for share in _factors(node, means, control)]
        return NodeEffect(
            metric=node.name,
            kind=node.kind,
            direction=node.metric.direction,
            weight=weight,
            means=dict(zip(arms, value.tolist(), strict=True)),
            effects=found[node.name],
            moved={arm: float(moved[k]) for k, arm in enumerate(arms) if k != control},
            parts=tuple(grown(*each) for each in zip(node.parts, factors, weights, strict=True)),
        )

    with np.errstate(divide="ignore", invalid="ignore"):
        return grown(root, np.ones(len(arms)), None)


def _factors(node: Node, means: FloatArray, control: int) -> list[FloatArray]:
    """What a difference of each part is multiplied with, shape (arms,): see the module's docstring."""
    if node.kind in {"leaf", "sum"}:
        return [np.full(len(means), weight) for weight in node.weights]
    f, a, b = (_between(part.at(means)[0], control) for part in (node, *node.parts))
    return [1 / b, -f / b] if node.kind == "ratio" else [b, a]


def _between(values: FloatArray, control: int) -> FloatArray:
    return np.asarray((values + values[control]) / 2)
