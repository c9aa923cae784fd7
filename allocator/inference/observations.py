"""One metric of one experiment as inference wants it, with what is declared about it; every function here takes one of these."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, log
from typing import Literal

import numpy as np

from allocator.errors import ArgumentError
from allocator.evidence import Evidence
from allocator.experiment import Experiment, Metric
from allocator.inference.node_sums import linearised
from allocator.inference.period_sums import Periods, PeriodSums, middle, period_sums
from allocator.metric_tree import Node, means_of, node_of, resolutions_of
from allocator.moments import Moments
from allocator.quadrature import FloatArray

__all__ = ["Method", "Observations"]

ABSENT = 1e-6
"""An arm is taken for absent from periods in which it would have got no unit with this probability at most, had it been there."""

Method = Literal["beta-mixture", "empirical-bernstein", "asymptotic"]


@dataclass(frozen=True, slots=True)
class Observations:
    """Moments of one metric by period and arm.

    Parameters
    ----------
    metric : its type and resolution.
    j : its place in the moments.
    arms : names; results come in this order.
    periods : see `allocator.inference.period_sums.Periods`. Pending rewards count as zeros: leave out periods whose are not in.
    bounds : least and largest value a unit can have, in natural units, declared beforehand; a binary metric has (0, 1).
    propensity_min : least propensity any unit can have had, declared beforehand: the experiment's floor. None: not known.
    name : of the metric, for the results.
    node : what the metric is made of, if it is not observed as it is: then it is seen through its linearisation, as a value.
    resolutions : natural units a step of every column of the moments, for the node.
    settled : whether the rewards of all units counted are in; else pending ones count as zeros.

    Raises
    ------
    ArgumentError : bounds that are not finite and ascending, or of a node.
    """

    metric: Metric
    j: int
    arms: tuple[str, ...]
    periods: Periods
    bounds: tuple[float, float] | None = None
    propensity_min: float | None = None
    name: str | None = None
    node: Node | None = None
    resolutions: tuple[float, ...] = ()
    settled: bool = True

    def __post_init__(self) -> None:
        if self.node is not None:
            if self.bounds is not None:
                raise ArgumentError("bounds", self.bounds, "none: what a metric made of others can be at most is not known")
        elif self.metric.type == "binary":
            object.__setattr__(self, "bounds", (0.0, 1.0))
        elif self.bounds is not None and not (all(map(isfinite, self.bounds)) and self.bounds[0] < self.bounds[1]):
            raise ArgumentError("bounds", self.bounds, "two finite numbers, the lower one first")

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        name: str,
        evidence: Evidence,
        now: float | None,
        *,
        bounds: tuple[float, float] | None = None,
        propensity_min: float | None = None,
    ) -> Observations:
        """The metric of that name, observed or derived.

        An arm that was added or evicted in the run is present from its first period with units to its last one, as far as the
        least propensity tells its absence from chance: with none, periods at either end must have had units enough for one of
        its own to be all but certain.

        Parameters
        ----------
        now : seconds since the epoch. A period counts once its last unit's window, and the grace for late events, are over. None:
            all periods count, with pending rewards as zeros.
        propensity_min : None for the experiment's floor; if the floor was lower once, give the lowest.

        Raises
        ------
        ArgumentError : the experiment has no such metric.
        """
        node, arms = node_of(experiment, name), evidence.arms
        over = float("inf") if now is None else (now - node.window_s - experiment.grace_s) / experiment.period_s
        periods = [dict(zip(arms, cells, strict=True)) for period, cells in evidence.by_period.items() if period + 1 <= over]
        least = propensity_min if propensity_min is not None else experiment.constraints.floor or None
        periods = _where_present(periods, arms, least or 0.0)
        if node.kind == "leaf" and node.reported is None:
            return cls(node.metric, node.column, arms, periods, bounds, least, name, settled=now is not None)
        metric, resolutions = Metric(type="value", direction=node.metric.direction), resolutions_of(experiment)
        return cls(metric, node.columns[0], arms, periods, bounds, least, name, node, resolutions, settled=now is not None)

    @property
    def resolution(self) -> float:
        """Of a step of the metric; successes of a binary one are whole."""
        return 1.0 if self.metric.type == "binary" else self.metric.resolution

    def control(self, arm: str) -> int:
        """The number of the arm that others are compared with."""
        if arm not in self.arms:
            raise ArgumentError("control", arm, f"one of {', '.join(self.arms)}")
        return self.arms.index(arm)

    def method(self, wanted: Method | None, steady: bool) -> Method:
        """`wanted` if it fits the metric. None: for means that are steady beta-mixture if binary, else empirical Bernstein within
        bounds, else asymptotic.
        """
        if wanted is None:
            if steady and self.metric.type == "binary":
                return "beta-mixture"
            return "asymptotic" if self.bounds is None else "empirical-bernstein"
        if wanted == "beta-mixture" and self.metric.type != "binary":
            raise ArgumentError("method", wanted, f"another one for a metric of type {self.metric.type}")
        if wanted == "empirical-bernstein" and self.bounds is None:
            raise ArgumentError("method", wanted, "another one, or bounds of the metric")
        if wanted not in {"beta-mixture", "empirical-bernstein", "asymptotic"}:
            raise ArgumentError("method", wanted, "beta-mixture, empirical-bernstein or asymptotic")
        return wanted

    def totals(self) -> list[Moments]:
        """Each arm's moments over all periods."""
        least = max(self.j + 1, len(self.resolutions))
        metrics = max((moments.metrics for cell in self.periods for moments in cell.values()), default=least)
        return [Moments.total(metrics, [cell[arm].sums for cell in self.periods if arm in cell]) for arm in self.arms]

    def averages(self) -> FloatArray:
        """Each arm's mean over its own units, shape (arms,), natural units; nan where there is none."""
        if self.node is None:
            return np.array([moments.mean(self.j, self.resolution) for moments in self.totals()])
        return self.node.at(means_of(self.totals(), self.resolutions))[0]

    def sums(self) -> PeriodSums:
        """In natural units, from an origin near the mean."""
        if self.node is not None:
            return linearised(self.node, self.resolutions, self.arms, self.periods)
        return period_sums(self.resolution, self.j, self.arms, self.periods, middle(self.resolution, self.j, self.periods))

    def shares(self) -> tuple[PeriodSums, float, float]:
        """In shares of the bounds, with the lower bound and the distance between them. ArgumentError: values outside."""
        low, high = self.bounds or (0.0, 1.0)
        sums = period_sums(self.resolution, self.j, self.arms, self.periods, low).scaled(low, high)
        outside = (sums.y < -1e-9) | (sums.y2 > sums.y + 1e-9 * sums.n + 1e-9)  # y² ≤ y in [0, 1]
        if np.any(outside):
            period, arm = np.argwhere(outside)[0].tolist()
            raise ArgumentError("bounds", (low, high), f"bounds that hold every value of {self.arms[arm]} in periods[{period}]")
        return sums, low, high - low

    def counts(self) -> tuple[FloatArray, FloatArray]:
        """Successes and failures of a binary metric, shape (arms,)."""
        sums, _, _ = self.shares()
        y = sums.y.sum(axis=-2)
        return y, sums.n.sum(axis=-2) - y


def _where_present(periods: list[dict[str, Moments]], arms: tuple[str, ...], least: float) -> list[dict[str, Moments]]:
    """The periods, each without the arms that were not there yet, or no longer."""
    gone: set[tuple[int, str]] = set()
    for arm in arms:
        with_units = [p for p, cells in enumerate(periods) if cells[arm].n] or [len(periods)]
        for end in (range(with_units[0]), range(with_units[-1] + 1, len(periods))):
            units = sum(moments.n for p in end for moments in periods[p].values())
            if least * units > -log(ABSENT):  # (1 - least)^units < ABSENT
                gone |= {(p, arm) for p in end}
    return [{arm: moments for arm, moments in cells.items() if (p, arm) not in gone} for p, cells in enumerate(periods)]
