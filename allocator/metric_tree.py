"""Metrics made of other metrics: a tree whose leaves are observed, its value at given means, and its gradient.

A node's value is a function of the leaves' MEANS, an arm at a time, and its gradient says how it moves with them:

    leaf     the mean of a unit, one without a reward counting as 0; with `missing: excluded` the mean of the units that have one,
             Σy / Σr with r = 1 for those, so a ratio of two columns of the moments
    sum      f = Σ w_i f_i      ∇f = Σ w_i ∇f_i
    ratio    f = a / b          ∇f = (∇a - f ∇b) / b
    product  f = a b            ∇f = b ∇a + a ∇b

So a product is that of means, such as conversion × basket value. The mean of products unit by unit is another number; the
moments hold it too, but not its variance.

With Σ the covariance matrix of a unit's columns, which the moments hold exactly, the variance of the node's estimate from n units
is ∇fᵀ Σ ∇f / n to first order: the delta method (Cramér 1946, §28.4; for experiments Deng, Knoblich & Lu 2018). For a sum it is
exact. Everything that needs a node's uncertainty goes through `Node.at`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from allocator.errors import ArgumentError
from allocator.experiment import Derived, Experiment, Metric, derived_kind
from allocator.moments import Moments, layout_of
from allocator.quadrature import FloatArray
from allocator.samples import Samples

__all__ = ["Kind", "Node", "means_of", "node_of", "resolutions_of", "samples_of_node"]

Kind = Literal["leaf", "sum", "ratio", "product"]


@dataclass(frozen=True, slots=True)
class Node:
    """A metric by what it is made of.

    Parameters
    ----------
    name : of the metric.
    kind : how its parts make it; a leaf has none.
    metric : a leaf's declaration; of the others type value, with their own direction and prior.
    parts : the metrics it is made of; of a ratio numerator and denominator.
    weights : of the parts of a sum.
    column : a leaf's place in the moments.
    reported : place of the indicator of units that have a value, for a leaf whose other units are excluded.
    """

    name: str
    kind: Kind
    metric: Metric
    parts: tuple[Node, ...] = ()
    weights: tuple[float, ...] = ()
    column: int = -1
    reported: int | None = None

    def at(self, means: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Value and gradient where the columns of the moments have these means.

        Parameters
        ----------
        means : shape (..., columns), natural units.

        Returns
        -------
        Shapes (...,) and (..., columns); nan or infinite where a denominator is 0 or a mean is not known.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if self.kind == "leaf":
                own = _column(means, self.column)
                return own if self.reported is None else _ratio(own, _column(means, self.reported))
            parts = [part.at(means) for part in self.parts]
            if self.kind == "sum":
                value = sum(w * f for w, (f, _) in zip(self.weights, parts, strict=True))
                gradient = sum(w * g for w, (_, g) in zip(self.weights, parts, strict=True))
                return np.asarray(value), np.asarray(gradient)
            a, b = parts
            return _ratio(a, b) if self.kind == "ratio" else _product(a, b)

    @property
    def columns(self) -> tuple[int, ...]:
        """Places in the moments that it depends on, ascending."""
        used = (place for leaf in self.leaves() for place in (leaf.column, leaf.reported) if place is not None)
        return tuple(sorted(set(used)))

    @property
    def linear(self) -> dict[int, float] | None:
        """Place in the moments → weight of its mean, if the node is a weighted sum of columns; else None."""
        if self.kind == "leaf":
            return {self.column: 1.0} if self.reported is None else None
        if self.kind != "sum":
            return None
        total: dict[int, float] = {}
        for weight, part in zip(self.weights, self.parts, strict=True):
            found = part.linear
            if found is None:
                return None
            for column, w in found.items():
                total[column] = total.get(column, 0.0) + weight * w
        return total

    @property
    def window_s(self) -> float:
        """The longest window of its leaves: after that, all of a unit's rewards have come."""
        return max(leaf.metric.window_s for leaf in self.leaves())

    def walk(self) -> Iterator[Node]:
        """The node and all below it, each where it stands, parents first."""
        yield self
        for part in self.parts:
            yield from part.walk()

    def leaves(self) -> Iterator[Node]:
        """Where it ends; a metric used twice comes twice."""
        return (node for node in self.walk() if node.kind == "leaf")


def node_of(experiment: Experiment, name: str) -> Node:
    """The tree under a metric of the experiment, observed or derived.

    Raises
    ------
    ArgumentError : the experiment has no such metric.
    """
    observed = experiment.metrics.get(name)
    if observed is not None:
        reported = experiment.reported.get(name)
        return Node(name, "leaf", observed, column=experiment.metric_names.index(name), reported=reported)
    derived = experiment.derived.get(name)
    if derived is None:
        raise ArgumentError("name", name, f"one of {', '.join((*experiment.metrics, *experiment.derived))}")
    kind, names, weights = derived_kind(derived)
    return Node(name, kind, _as_metric(derived), tuple(node_of(experiment, part) for part in names), weights)


def resolutions_of(experiment: Experiment) -> tuple[float, ...]:
    """Of every column of the moments, in natural units a step."""
    observed = [1.0 if metric.type == "binary" else metric.resolution for metric in experiment.metrics.values()]
    covariates = [covariate.resolution for covariate in experiment.covariates]
    return (*observed, *(1.0 for _ in experiment.reported), *covariates, *([1.0] if covariates else []))


def means_of(moments: Sequence[Moments], resolutions: Sequence[float]) -> FloatArray:
    """Of every arm's columns, shape (arms, columns), natural units; nan without units."""
    return np.array([[m.mean(j, resolution) for j, resolution in enumerate(resolutions)] for m in moments])


def samples_of_node(
    node: Node, resolutions: Sequence[float], moments: Sequence[Moments], arrived: FloatArray | None = None
) -> Samples:
    """Samples whose mean is the node's value of each arm, and the variance of whose mean is that of the delta method.

    An arm whose value is not defined, such as a ratio whose denominators sum to 0, has no units.

    Parameters
    ----------
    resolutions : natural units a step, of every column.
    arrived : share of each column that has come, shape (arms, columns) in [0, 1]; the means are then those of all that will
        (`allocator.delay`), and an arm is worth the units of its column that is furthest behind. None: all of it.
    """
    columns = list(node.columns)
    come = np.ones((len(moments), len(resolutions))) if arrived is None else arrived
    n = np.array([float(m.n) for m in moments])
    with np.errstate(divide="ignore", invalid="ignore"):
        value, gradient = node.at(means_of(moments, resolutions) / come)
        slope = gradient[:, columns] / come[:, columns]
        least = come[:, columns].min(axis=1)
        spread = np.array([_squares(m, columns, resolutions) for m in moments])
        squares = np.einsum("aj,ajk,ak->a", slope, spread, slope)
    known = (n > 0) & np.isfinite(value) & np.isfinite(squares) & (least > 0)
    worth = np.where(known, n * least, 0.0)
    origin = float(np.average(value[known], weights=worth[known])) if known.any() else 0.0
    return Samples(
        n=worth,
        total=np.where(known, worth * (value - origin), 0.0),
        squares=np.where(known, np.maximum(squares, 0.0) * least**2, 0.0),
        origin=origin,
    )


def _squares(m: Moments, columns: Sequence[int], resolutions: Sequence[float]) -> FloatArray:
    """Σ (y_j - ȳ_j)(y_k - ȳ_k) over the units, shape (columns, columns), natural units; exact up to one rounding."""
    out = np.zeros((len(columns), len(columns)))
    cross = layout_of(m.metrics).cross
    for a, j in enumerate(columns):
        for b, k in enumerate(columns[: a + 1]):
            exact = (m.n * m.sums[cross[j][k]] - m.sum(j) * m.sum(k)) / m.n if m.n else 0.0
            out[a, b] = out[b, a] = exact * resolutions[j] * resolutions[k]
    return out


def _as_metric(derived: Derived) -> Metric:
    return Metric(type="value", direction=derived.direction, prior=derived.prior)


def _column(means: FloatArray, place: int) -> tuple[FloatArray, FloatArray]:
    gradient = np.zeros(means.shape)
    gradient[..., place] = 1.0
    return means[..., place], gradient


def _ratio(a: tuple[FloatArray, FloatArray], b: tuple[FloatArray, FloatArray]) -> tuple[FloatArray, FloatArray]:
    value = np.asarray(a[0] / b[0])
    return value, np.asarray((a[1] - value[..., None] * b[1]) / b[0][..., None])


def _product(a: tuple[FloatArray, FloatArray], b: tuple[FloatArray, FloatArray]) -> tuple[FloatArray, FloatArray]:
    return np.asarray(a[0] * b[0]), np.asarray(b[0][..., None] * a[1] + a[0][..., None] * b[1])
