"""What trained an experiment, put together cell by cell: for tests of policies and decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.moments import layout_of
from allocator.policies import Context, chosen, policy_of
from allocator.quadrature import FloatArray

__all__ = ["Cells", "asked", "context_of", "evidence_of", "random_cells", "sums_of"]

Cells = Mapping[tuple[str, int, str], Sequence[int]]
"""(segment, period, arm) → sums as laid out in `allocator.moments`."""

PROPENSITY = 0.25


def sums_of(n: int, totals: Sequence[int], squares: Sequence[int] | None = None, weight: float = 1 / PROPENSITY) -> list[int]:
    """n units of one weight: sums and squares of every metric in steps; without squares, values of 0 and 1."""
    layout, w = layout_of(len(totals)), round(weight * 1e6)
    sums = layout.empty()
    sums[0], sums[layout.w], sums[layout.w2] = n, n * w, n * w * w
    for j, total in enumerate(totals):
        square = total if squares is None else squares[j]
        sums[1 + j], sums[layout.square[j]] = total, square
        sums[layout.wy + j], sums[layout.w2y + j], sums[layout.w2y2 + j] = total * w, total * w * w, square * w * w
    return sums


def evidence_of(experiment: Experiment, cells: Cells) -> Evidence:
    """The cells summed by segment and by period."""
    segments: dict[str, dict[str, list[int]]] = {}
    periods: dict[int, dict[str, list[int]]] = {}
    for (segment, period, arm), sums in cells.items():
        for by in (segments.setdefault(segment, {}), periods.setdefault(period, {})):
            by[arm] = [a + b for a, b in zip(by[arm], sums, strict=True)] if arm in by else list(sums)
    return Evidence(experiment.arm_ids, len(experiment.metrics), segments, periods)


def context_of(experiment: Experiment, cells: Cells, now: float = 0.0, segment: str | None = None) -> Context:
    """The context of one decision."""
    return Context.of(experiment, evidence_of(experiment, cells), now, segment)


def asked(experiment: Experiment, context: Context) -> FloatArray:
    """What the experiment's policy answers, checked as `decide` checks it."""
    return chosen(policy_of(experiment.policy), experiment.policy.name, context.posteriors(), context).weights


def random_cells(
    experiment: Experiment, rng: np.random.Generator, n: int, rates: Any = None, cost: Any = None, periods: int = 3
) -> dict[tuple[str, int, str], list[int]]:
    """About n units in every cell, on two metrics: one of 0 and 1, and one of values about 100 steps with sd 20."""
    segments = experiment.segments or ("",)
    arms = experiment.arm_ids
    rates = rng.uniform(0.2, 0.6, len(arms)) if rates is None else np.broadcast_to(rates, len(arms))
    cost = rng.uniform(80, 120, len(arms)) if cost is None else np.broadcast_to(cost, len(arms))
    cells = {}
    for segment in segments:
        for period in range(periods):
            for k, arm in enumerate(arms):
                units = int(rng.integers(n // 2, n + 1))
                total = round(float(cost[k]) * units + 20 * float(rng.normal()) * units**0.5)
                square = 0 if units == 0 else total * total // units + 400 * units + 1
                cells[segment, period, arm] = sums_of(units, [int(rng.binomial(units, rates[k])), total], [0, square])
                layout = layout_of(2)
                cells[segment, period, arm][layout.square[0]] = cells[segment, period, arm][1]
    return cells
