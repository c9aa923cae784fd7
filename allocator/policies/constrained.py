"""Thompson sampling under budgets: as much of the objective as the limits on other metrics allow.

Whoever draws θ from the posteriors and serves the best arm serves shares of P(best) and earns the most. Under limits A w ≤ 0 on
the shares w (one row a budget or floor, in the metrics' posterior means) the best rule is the linear programme

    max E[θ · x(θ)]   subject to   E[A x(θ)] ≤ 0,   x(θ) a distribution over arms for every draw θ

as in Ferreira, Simchi-Levi & Wang (2018), "Online network revenue management using Thompson sampling"; for bandits with
knapsacks Badanidiyuru, Kleinberg & Slivkins (2013). With the posteriors narrowed down it is max w · score subject to
w · cost ≤ budget, whose solution mixes few arms; before, it goes on exploring as Thompson does, and while no limit binds it is
Thompson.

Instead of draws, columns: at prices λ ≥ 0 for the limits the best rule serves argmax θ - λA, so its shares are P(best) of shifted
posteriors, by quadrature. A small programme (scipy's HiGHS) mixes the columns found so far and gives the prices of the next one,
until the bound that the prices give shows that no column could earn more (Dantzig & Wolfe 1960). That every arm alone is a column
makes the first programme the plain one.

If no shares keep the limits, they are widened by as little as makes them possible: the least sum of excesses, each relative to
its metric's range.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy  # scipy.optimize loads when first used

from allocator.errors import ArgumentError, PolicyError
from allocator.policies.domains import is_number
from allocator.policies.protocol import Choice, Context, best_is_high, needed, normalise
from allocator.posterior import NormalPosteriors, Posteriors
from allocator.quadrature import FloatArray
from allocator.tolerances import tolerance_of

__all__ = ["Constrained"]

ROUNDS_MAX = 60
GAP = 1e-7
"""What a further column may earn at most, in units of the objective's spread."""
WITHIN = 1e-9
"""Excess of a limit, relative to the metric's range, that counts as none."""
SLACK = 1e-3
"""Beyond the least excess, relative to the metric's range: arms that hardly differ share, where they could else take turns."""


@dataclass(frozen=True, slots=True)
class Constrained:
    """P(best), moved by prices so that the means of other metrics keep their limits.

    The objective's posteriors enter by mean and sd, as normals; the other metrics by their means alone, as if they were known.
    Weights are continuous in the data where the limits can be kept.

    Parameters
    ----------
    budgets : metric → most its mean over the served units may be, in natural units.
    floors : metric → least its mean may be.
    tolerances : metric → by how much its mean may be worse than that of control, in the metric's direction: ``1%`` of control's
        mean, or a number in its own unit. At least one limit in all.
    """

    budgets: Mapping[str, float] = field(default_factory=dict)
    floors: Mapping[str, float] = field(default_factory=dict)
    tolerances: Mapping[str, float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, limits in (("budgets", self.budgets), ("floors", self.floors)):
            if not isinstance(limits, Mapping) or not all(is_number(limit) for limit in limits.values()):
                raise ArgumentError(name, limits, "a mapping from metrics to finite numbers")
        if not isinstance(self.tolerances, Mapping):
            raise ArgumentError("tolerances", self.tolerances, "a mapping from metrics to tolerances, such as {revenue: 1%}")
        for metric, tolerance in self.tolerances.items():
            tolerance_of(f"tolerances.{metric}", tolerance)
        if not self.budgets and not self.floors and not self.tolerances:
            raise ArgumentError("budgets", dict(self.budgets), "at least one metric here or under floors or tolerances")

    def weights(self, posteriors: Posteriors, context: Context | None = None) -> FloatArray:
        """Shape (arms,), non-negative, sums to 1. Needs the context. ArgumentError unless all limits are of its metrics."""
        return self.choose(posteriors, context).weights

    def choose(self, posteriors: Posteriors, context: Context | None = None) -> Choice:
        """The weights, with a note where a limit binds or cannot be kept."""
        rows, names = self._limits(needed(context))
        mean = best_is_high(posteriors)
        if not np.all(np.isfinite(rows)) or not np.all(np.isfinite(mean)):
            return Choice(normalise(posteriors.prob_best()), note="limits are not looked at before every metric has a unit")
        sd = posteriors.sd
        scale = max(float(np.ptp(mean)), float(sd.max())) or 1.0
        rules = _Rules((mean - mean.max()) / scale, sd / scale, rows)
        free = rules.at(np.zeros(len(rows)))
        if np.all(rows @ free.shares <= WITHIN):
            return Choice(free.shares)
        excess = _least_excess(rows)
        if float(excess.sum()) <= WITHIN:
            shares, prices = _best_mix(rules, free)
            return Choice(shares, note=f"held back by {_listed(names, prices)}")
        rules = _Rules(rules.mean, rules.sd, rows - (excess + SLACK)[:, None])
        shares = free.shares if np.all(rules.rows @ free.shares <= WITHIN) else _best_mix(rules, free)[0]
        return Choice(shares, note=f"no shares keep {_listed(names, excess - WITHIN)}: as near to it as can be")

    def _limits(self, context: Context) -> tuple[FloatArray, list[str]]:
        """Rows A, shape (limits, arms), with A w ≤ 0 for shares that keep them, scaled to the range of each metric; names."""
        rows, names = [], []
        for kind, metric, given in self._all():
            if metric not in context.metrics:
                known = ", ".join(context.metrics)
                raise ArgumentError(f"{kind}.{metric}", given, f"a limit of a metric of the experiment: {known}")
            found = context.metrics[metric]
            sign, limit, text = _limit(kind, given, found, context.control)
            excess = sign * (found.mean - limit)
            rows.append(excess / (float(np.abs(excess).max()) or 1.0))
            names.append(f"{metric} {'≤' if sign > 0.0 else '≥'} {text}")
        return np.array(rows), names

    def _all(self) -> Iterator[tuple[str, str, Any]]:
        """(kind, metric, limit) of every limit."""
        for kind, limits in (("budgets", self.budgets), ("floors", self.floors), ("tolerances", self.tolerances)):
            for metric, limit in limits.items():
                yield kind, metric, limit


def _limit(kind: str, given: Any, metric: Posteriors, control: int) -> tuple[float, float, str]:
    """+1 for a most, -1 for a least; where it is; and how it is told."""
    if kind != "tolerances":
        return (1.0 if kind == "budgets" else -1.0), given, f"{given:g}"
    tolerance, beside = tolerance_of(kind, given), float(metric.mean[control])
    sign = 1.0 if metric.down else -1.0
    text = f"control {'+' if metric.down else '-'} {tolerance}" if tolerance.size else "control"
    return sign, beside + sign * tolerance.of(beside), text


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """A rule: the shares it serves, and what it earns beyond what its limits cost at the prices it was made for."""

    shares: FloatArray
    worth: float


@dataclass(frozen=True, slots=True, eq=False)
class _Rules:
    """What the best rules at given prices are: mean and sd of the objective an arm, and the limits' rows."""

    mean: FloatArray
    sd: FloatArray
    rows: FloatArray

    def at(self, prices: FloatArray) -> _Column:
        """The best rule at these prices."""
        mean = self.mean - prices @ self.rows
        found = NormalPosteriors(("",) * len(mean), mean, self.sd)
        best = int(np.argmax(mean))
        return _Column(normalise(found.prob_best()), float(mean[best] + found.expected_loss()[best]))


def _best_mix(rules: _Rules, free: _Column) -> tuple[FloatArray, FloatArray]:
    """Shares that earn most within the limits, which can be kept, and the prices of the limits."""
    arms = len(rules.mean)
    shares = np.vstack([np.eye(arms), free.shares])
    earned = np.append(rules.mean, free.worth)
    for _ in range(ROUNDS_MAX):
        found = _solved(-earned, rules.rows @ shares.T, np.ones(len(earned)))
        mixed, prices = found.x @ shares, np.maximum(-found.ineqlin.marginals, 0.0)
        column = rules.at(prices)
        if column.worth <= -found.eqlin.marginals[0] + GAP:
            break
        shares = np.vstack([shares, column.shares])
        earned = np.append(earned, column.worth + prices @ rules.rows @ column.shares)
    return normalise(np.maximum(mixed, 0.0)), prices


def _least_excess(rows: FloatArray) -> FloatArray:
    """By how much each limit is exceeded, shape (limits,), if the sum is to be as small as any shares can make it."""
    limits, arms = rows.shape
    served, exceeded = np.zeros(arms), np.ones(limits)
    found = _solved(np.append(served, exceeded), np.hstack([rows, -np.eye(limits)]), np.append(np.ones(arms), np.zeros(limits)))
    return np.asarray(found.x[arms:])


def _solved(cost: FloatArray, rows: FloatArray, whole: FloatArray) -> Any:
    """min cost · x subject to rows x ≤ 0, whole · x = 1, x ≥ 0."""
    found = scipy.optimize.linprog(cost, rows, np.zeros(len(rows)), whole[None, :], np.ones(1), method="highs")
    if found.status != 0:
        raise PolicyError("constrained", found.message, "a programme that can be solved")
    return found


def _listed(names: Sequence[str], by: FloatArray) -> str:
    return ", ".join(name for name, positive in zip(names, by > 0.0, strict=True) if positive)
