"""What is still to come of a metric: the share of each arm's units that can have shown their reward by now.

The evidence says how many units each arm got in each period of exposure time, and with what lags their rewards came. The lags
give F, an arm its own (`allocator.delay`); F and the periods give n_eff, and n_eff gives samples of the objective in which a
pending unit is not a failure. Only periods younger than the attribution window are looked at one by one: all before is one row,
of which everything has come, so the cost hardly grows with the experiment's age.

Corrected are binary metrics, and values and counts that add up; if these are capped, as if the capped sums came like the rewards.
A maximum or a last value of several is not: it can still change after the first reward, and lags do not say how. Nor is a mean
over the units that have a value, of which pending ones are none. Metrics made of others: `allocator.pending_tree`.

Periods should be at most an eighth of the window (`allocator.delay` says why), as they are by default from windows of 8 h on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from allocator.delay import LAG_BINS, DelayDistribution, delayed_samples, effective_units, lag_edges
from allocator.evidence import Evidence, Lags
from allocator.experiment import Experiment, Metric
from allocator.moments import Moments
from allocator.objective import Objective
from allocator.quadrature import FloatArray
from allocator.samples import Samples

__all__ = ["Pending", "is_correctable"]


def is_correctable(metric: Metric) -> bool:
    """Whether the lags of its rewards say what is still to come."""
    return metric.missing == "zero" and (metric.type == "binary" or metric.aggregate == "sum")


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """How much of the metric's rewards has come.

    Parameters
    ----------
    arrived : n_eff / n of every arm, shape (arms,), in [0, 1]; 1 for an arm without units.
    delay : one F an arm.
    read_until : event time up to which rewards were read, at most the time of the decision, in seconds since the epoch.
    period_s : length of a period.
    binary : whether the metric is.
    """

    arrived: FloatArray
    delay: DelayDistribution
    read_until: float
    period_s: float
    binary: bool

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What it takes to be true."""
        return (*self.delay.assumptions, "Of an arm, the same share has come in every segment.")

    @classmethod
    def of(cls, experiment: Experiment, evidence: Evidence, now: float, name: str | None = None) -> Pending | None:
        """What is pending at `now` of an observed metric, by default the objective; None where it is not known, cannot be
        corrected, or is nothing at all."""
        name = experiment.objective if name is None else name
        metric, j = experiment.metrics[name], experiment.metric_names.index(name)
        if not evidence.lags or evidence.read_until is None or not is_correctable(metric):
            return None
        read_until, period_s = min(evidence.read_until, now), experiment.period_s
        mature = read_until - metric.window_s
        young = sorted(period for period in evidence.periods if (period + 1) * period_s > mature)
        if not young:
            return None
        starts = np.array([mature - period_s, *(period * period_s for period in young)])
        ends = np.array([mature, *((period + 1) * period_s for period in young)])
        total = np.array([float(m.n) for m in evidence.total])
        units = _with_rest(total, [[_units(evidence, period, arm) for arm in evidence.arms] for period in young])
        all_lags = _lags(evidence.every_lag, evidence.arms, j)
        lags = _with_rest(all_lags, [_lags(evidence.lags.get(period, {}), evidence.arms, j) for period in young])
        delay = DelayDistribution.by_arm(lags, lag_edges(metric.window_s), starts, ends, read_until)
        effective = np.minimum(effective_units(units, starts, ends, read_until, delay), total)
        arrived = np.divide(effective, total, out=np.ones_like(total), where=total > 0)
        if (arrived == 1).all():
            return None
        return cls(arrived, delay, read_until, period_s, metric.type == "binary")

    def samples(self, samples: Samples) -> Samples:
        """Those of the experiment, or of a segment, as if only units had been that can have shown their reward."""
        return delayed_samples(samples, self.arrived * samples.n, binary=self.binary)

    def samples_of_period(self, samples: Samples, period: int) -> Samples:
        """The same of one period of exposure time."""
        return delayed_samples(samples, self.arrived_of_period(period) * samples.n, binary=self.binary)

    def arrived_of_period(self, period: int) -> FloatArray:
        """`arrived` of the units of one period."""
        start = period * self.period_s
        return self.delay.arrived([start], [start + self.period_s], self.read_until)[:, 0]

    def corrected(self, objective: Objective, moments: Sequence[Moments]) -> Samples:
        """The objective, which is the metric, of the experiment's moments or of a segment's."""
        return self.samples(objective.samples(moments))

    def corrected_of_period(self, objective: Objective, moments: Sequence[Moments], period: int) -> Samples:
        """The same of one period's moments."""
        return self.samples_of_period(objective.samples(moments), period)

    def of_arms(self, n: Sequence[int]) -> list[float]:
        """n − n_eff of every arm that has so many units."""
        return [units * (1.0 - share) for units, share in zip(n, self.arrived.tolist(), strict=True)]


def _units(evidence: Evidence, period: int, arm: str) -> float:
    sums = evidence.periods[period].get(arm)
    return float(sums[0]) if sums else 0.0


def _lags(found: Lags, arms: Sequence[str], j: int) -> FloatArray:
    """Of metric `j`, shape (arms, bins)."""
    nothing = (0,) * LAG_BINS
    rows = [found.get(arm, ()) for arm in arms]
    return np.array([(row[j] if j < len(row) else ()) or nothing for row in rows], dtype=np.float64)


def _with_rest(total: FloatArray, young: Sequence[Sequence[float]] | Sequence[FloatArray]) -> FloatArray:
    """Periods as a second axis: what the total has beyond the young ones, then those."""
    parts = np.stack([np.asarray(part, dtype=np.float64) for part in young], axis=1)
    return np.concatenate([np.maximum(total - parts.sum(axis=1), 0.0)[:, None], parts], axis=1)
