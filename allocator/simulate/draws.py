"""What a stretch of units brings: rewards drawn arm by arm, summed exactly as the join sums them.

With one binary metric and no delay an arm's successes are one binomial draw. Otherwise each unit's values are drawn, all at once,
rounded to the metric's resolution (`allocator.moments.quantise` says how), and summed by arm and by the decision that first
sees them. Products of two metrics belong to the later of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from allocator.experiment import Experiment, Metric
from allocator.moments import STEPS_MAX, Layout, layout_of, quantise
from allocator.quadrature import FloatArray
from allocator.simulate.ledger import Cell, Ledger
from allocator.simulate.world import Arms, Epoch, IntArray, World

__all__ = ["Draws", "Stretch"]

INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Stretch:
    """Steps in a row under one truth, one set of weights and one period.

    Parameters
    ----------
    start, end : steps, the end excluded.
    decision : number of the decision after it, from 0; it sees what has arrived before step (decision + 1) × batch.
    period : of the exposures.
    """

    start: int
    end: int
    decision: int
    period: int


@dataclass(frozen=True, slots=True)
class Draws:
    """Draws rewards into a ledger.

    Parameters
    ----------
    metrics : in the spec's order.
    segments : names, in the world's order.
    batch : units between two decisions.
    step_s : seconds between two units, for the windows of the metrics.
    columns : of the moments; those behind the metrics and their indicators are covariates, which no world has: they stay 0.
    """

    metrics: tuple[Metric, ...]
    segments: tuple[str, ...]
    batch: int
    step_s: float
    columns: int

    @classmethod
    def of(cls, experiment: Experiment, world: World, batch: int) -> Draws:
        """For the metrics of a spec and the segments of a world."""
        return cls(tuple(experiment.metrics.values()), world.segments, batch, world.step_s, len(experiment.columns))

    def into(
        self,
        ledger: Ledger,
        rng: np.random.Generator,
        epoch: Epoch,
        stretch: Stretch,
        segment: int,
        counts: IntArray,
        weights: Sequence[int],
    ) -> None:
        """Expose `counts[k]` units of a segment to arm k, each of weight W = `weights[k]`, 1e6 / propensity, and draw rewards."""
        name, means, sds = self.segments[segment], epoch.means[segment], epoch.sds[segment]
        cells = [Cell(name, arm, stretch.period) for arm in range(len(counts))]
        first = self.metrics[0]
        if epoch.instant and self.columns == 1 and first.type == "binary":
            successes = rng.binomial(counts, means[:, 0]).tolist()
            for cell, n, s, w in zip(cells, counts.tolist(), successes, weights, strict=True):
                if n:
                    ledger.add(cell, (n, s, s, n * w, n * w * w, w * s, w * w * s, w * w * s))
            return
        reported = [j for j, metric in enumerate(self.metrics) if metric.missing == "excluded"]
        layout = layout_of(self.columns)
        arms = np.repeat(np.arange(len(counts)), counts)
        values = [_values(rng, metric, means[arms, j], sds[arms, j]) for j, metric in enumerate(self.metrics)]
        lags = [np.zeros(len(arms), np.int64)] * len(values)
        if not epoch.instant:
            lags = self._lags(rng, epoch.stage.rewards[segment], stretch, arms)
        values += [np.ones(len(arms), np.int64)] * len(reported)  # every unit has a value once it has come
        lags += [lags[j] for j in reported]
        for cell, n, w in zip(cells, counts.tolist(), weights, strict=True):
            if n:
                exposed = layout.empty()
                layout.enter(exposed, w, n)
                ledger.add(cell, exposed)
        for (arm, lag), sums in _summed(layout, arms, weights, values, lags).items():
            if lag:
                ledger.add_later(stretch.decision + lag, cells[arm], sums)
            else:
                ledger.add(cells[arm], sums)

    def _lags(self, rng: np.random.Generator, rewards: Arms, stretch: Stretch, arms: IntArray) -> list[IntArray]:
        """A metric: by how many decisions each unit's reward misses the next one; -1 if it comes after the metric's window."""
        steps = stretch.start + rng.permutation(stretch.end - stretch.start)[: len(arms)]
        found = []
        for j, metric in enumerate(self.metrics):
            delay = np.empty(len(arms))
            for arm, of_arm in enumerate(rewards):
                mine = arms == arm
                delay[mine] = of_arm[j].delay.draw(rng, int(mine.sum()))
            in_time = delay * self.step_s <= metric.window_s
            lag = (steps + np.where(in_time, delay, 0.0)) // self.batch - stretch.decision
            found.append(np.where(in_time, lag, -1).astype(np.int64))
        return found


def _values(rng: np.random.Generator, metric: Metric, mean: FloatArray, sd: FloatArray) -> IntArray:
    """One value a unit in steps of the resolution, capped, shape (units,)."""
    if metric.type == "binary":
        return (rng.random(len(mean)) < mean).astype(np.int64)
    most = STEPS_MAX if metric.cap is None else quantise(metric.cap, 1 / metric.resolution)
    if metric.type == "count":
        return np.minimum(rng.poisson(mean), most)
    steps = np.floor(rng.normal(mean, sd) * (1 / metric.resolution) + 0.5)
    return np.clip(steps, -most, most).astype(np.int64)


def _summed(
    layout: Layout, arms: IntArray, weights: Sequence[int], values: Sequence[IntArray], lags: Sequence[IntArray]
) -> dict[tuple[int, int], list[int]]:
    """(arm, lag) → what the rewards add to the sums of the arm's cell."""
    found: dict[tuple[int, int], list[int]] = {}

    def cell(arm: int, lag: int) -> list[int]:
        return found.setdefault((arm, lag), layout.empty())

    for j, y in enumerate(values):
        s_at, square_at, wy_at, w2y_at, w2y2_at, _ = layout.of_metric[j]
        counted = (y != 0) & (lags[j] >= 0)
        for arm, lag, s, squares in _groups(arms[counted], lags[j][counted], y[counted], y[counted]):
            w, sums = weights[arm], cell(arm, lag)
            sums[s_at], sums[square_at] = s, squares
            sums[wy_at], sums[w2y_at], sums[w2y2_at] = w * s, w * w * s, w * w * squares
        for k in range(j + 1, len(values)):
            both = counted & (values[k] != 0) & (lags[k] >= 0)
            later = np.maximum(lags[j], lags[k])[both]
            for arm, lag, _, product in _groups(arms[both], later, y[both], values[k][both]):
                cell(arm, lag)[layout.cross[j][k]] = product
    return found


def _groups(arms: IntArray, lags: IntArray, y: IntArray, z: IntArray) -> list[tuple[int, int, int, int]]:
    """(arm, lag, Σ y, Σ y z) of the units of each arm and lag, exact."""
    if not len(arms):
        return []
    width = int(lags.max()) + 1
    keys, group = np.unique(arms * width + lags, return_inverse=True)
    if len(y) * int(np.abs(y).max()) * int(np.abs(z).max()) > INT64_MAX:
        y, z = y.astype(object), z.astype(object)
    sums, products = np.zeros(len(keys), y.dtype), np.zeros(len(keys), y.dtype)
    np.add.at(sums, group, y)
    np.add.at(products, group, y * z)
    arm, lag = np.divmod(keys, width)
    return list(zip(arm.tolist(), lag.tolist(), map(int, sums), map(int, products), strict=True))
