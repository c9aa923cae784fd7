"""Probabilities and losses over independent posteriors of any family, by cumulative panel quadrature.

With densities f, distribution functions F and T = ∏ F_j, the distribution function of the largest:

    P(arm k is best)         = ∫ f_k T / F_k
    P(arm k beats arm c)     = ∫ f_c (1 - F_k)
    E[largest - arm k]       = ∫ (F_k - T) dx       no term is negative, so nothing cancels

1. Prune arms that cannot win: their upper reach lies below another arm's lower reach. They get an upper bound of their
   probability instead, never zero, so that a propensity can never be undefined.
2. Lay panels over all contenders, from the lowest reach to the highest.
3. Evaluate each density once, on Gauss-Legendre nodes in every panel. An integration matrix turns the same values into the
   running integral inside a panel: F at a node is the mass of earlier panels plus that. No F is ever evaluated.
4. Divide each density by its own mass on the grid, which makes constants of normalisation unnecessary.
5. Sum up. The error of F inside a panel is orthogonal to what a density can look like there (Gauss collocation), so the sums
   are as good as Gauss-Legendre, not as the running integrals.

A uniform grid misses narrow posteriors, Monte Carlo gives exact zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.errors import ArgumentError
from allocator.quadrature.densities import Arms, Densities
from allocator.quadrature.panels import CUMULATE, NODES, WEIGHTS, FloatArray, at_nodes, panels

__all__ = ["Contest", "Even", "contest"]

PRUNED_MAX = 1e-14
"""What a pruned arm's probability is at most: two tails."""
P_MIN = 1e-300
F_MIN = 1e-30
"""F is raised to this so that T / F_k is defined; it changes no product by more."""
BLOCK = 32
"""Arms that share a grid against the control: bounds memory where a thousand narrow arms lie within a wide one's reach."""


def contest(densities: Densities, down: bool = False) -> Contest:
    """Who is the best: steps 1 to 5 of the module's docstring for P(best), which the other answers build on.

    Parameters
    ----------
    down : whether the least is the best.
    """
    if down:
        densities = densities.mirrored()
    shape = densities.shape
    best = int(shape.low.argmax())
    contends = shape.high >= shape.low[best]
    arms = contends.nonzero()[0]
    p = np.ones(len(contends))
    if len(arms) < len(p):
        pruned = (~contends).nonzero()[0]
        p[pruned] = np.minimum(densities.bound(pruned, np.array([best])), PRUNED_MAX)
    if len(arms) == 1:
        return Contest(densities, np.maximum(p, P_MIN), arms, None)
    grid = _grid(densities, arms)
    p[arms] = (grid.mass / grid.below) @ grid.all_below
    return Contest(densities, np.maximum(p, P_MIN), arms, grid)


@dataclass(frozen=True, slots=True, eq=False)
class Contest:
    """The arms against each other.

    Parameters
    ----------
    densities : towards the better.
    prob_best : P(arm is the best), shape (arms,), every entry > 0, sum 1 within 5e-9.
    contenders : places of the arms that can win.
    """

    densities: Densities
    prob_best: FloatArray
    contenders: Arms
    _grid: _Grid | None

    def prob_beats(self, control: int) -> FloatArray:
        """P(arm is better than that at place `control`), shape (arms,), in [0, 1]; ½ at that place. ArgumentError if none is."""
        shape = self.densities.shape
        _check_place(control, len(shape.centre))
        p = np.where(shape.centre > shape.centre[control], 1.0, 0.0)
        meets = (shape.low < shape.high[control]) & (shape.high > shape.low[control])
        meets[control] = False
        near = np.flatnonzero(meets)
        for first in range(0, len(near), BLOCK):
            arms = near[first : first + BLOCK]
            grid = _grid(self.densities, np.append(arms, control))
            p[arms] = (1.0 - grid.below[:-1]) @ grid.mass[-1]
        p[control] = 0.5
        return np.clip(p, 0.0, 1.0)

    def expected_loss(self, worth: FloatArray) -> FloatArray:
        """E[best - arm], shape (arms,), ≥ 0, natural units; error at most 1e-7 of the widest sd.

        Parameters
        ----------
        worth : the posteriors' means, towards the better: negative where the least is the best. Only the arm of the highest is
            integrated; another loses their distance more.
        """
        best = int(worth.argmax())
        return np.asarray(self._loss(best) + (worth[best] - worth))

    def _loss(self, arm: int) -> float:
        grid, place = self._grid, (self.contenders == arm).nonzero()[0]
        if grid is None or not len(place):
            return 0.0
        step = grid.weight * self.densities.slope(grid.origin, grid.at)
        return max(0.0, float((grid.below[place[0]] - grid.all_below) @ step))


@dataclass(frozen=True, slots=True)
class Even:
    """The contest of so many arms of which nothing at all is known."""

    arms: int

    @property
    def prob_best(self) -> FloatArray:
        """The same for all."""
        return np.full(self.arms, 1.0 / self.arms)

    def prob_beats(self, control: int) -> FloatArray:
        """½ each."""
        _check_place(control, self.arms)
        return np.full(self.arms, 0.5)

    def expected_loss(self, worth: FloatArray) -> FloatArray:
        """nan each."""
        return np.full_like(worth, np.nan)


def _check_place(control: int, arms: int) -> None:
    if not 0 <= control < arms:
        raise ArgumentError("control", control, f"a whole number from 0 to {arms - 1}")


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """Posteriors on common nodes.

    Parameters
    ----------
    origin, at, weight : nodes are at origin + at; shape (nodes,).
    mass : density times weight at every node, each row summing to 1; shape (arms, nodes).
    below : F at every node, at least `F_MIN`; shape (arms, nodes).
    all_below : T at every node, shape (nodes,).
    """

    origin: float
    at: FloatArray
    weight: FloatArray
    mass: FloatArray
    below: FloatArray
    all_below: FloatArray


def _grid(densities: Densities, arms: Arms) -> _Grid:
    """Steps 2 to 4."""
    shape = densities.shape
    centre, scale = shape.centre[arms], shape.scale[arms]
    origin = float(centre[scale.argmin()])  # positions near the narrowest posterior keep their digits
    borders = panels(centre - origin, scale, float(shape.low[arms].min()) - origin, float(shape.high[arms].max()) - origin)
    width, at, weight = at_nodes(borders)
    values = densities.log_density(arms, origin, at)
    values -= values.max(axis=1)[:, None]
    np.exp(values, out=values)
    k, n = len(arms), len(width)
    in_panels = values.reshape(k, n, NODES) * width[:, None]
    integrals = (in_panels.reshape(-1, NODES) @ CUMULATE).reshape(k, n, NODES + 1)
    earlier = integrals[:, :, NODES].cumsum(axis=1)
    below = integrals[:, :, :NODES]
    below[:, 1:] += earlier[:, :-1, None]
    total = earlier[:, -1][:, None, None]
    below = np.maximum((below / total).reshape(k, -1), F_MIN)
    mass = (in_panels * (WEIGHTS / total)).reshape(k, -1)
    return _Grid(origin, at, weight, mass, below, np.multiply.reduce(below, axis=0))
