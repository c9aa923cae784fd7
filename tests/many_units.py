"""Moments of many units at once, from arrays of their values: for tests that simulate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.metric_tree import resolutions_of
from allocator.moments import Moments, inverse_propensity, layout_of
from allocator.quadrature import FloatArray

__all__ = ["evidence_of_units", "moments_of_units"]

Period = Mapping[str, tuple[float, FloatArray]]
"""Arm → its propensity and its units' values, shape (units, columns), natural units."""


def moments_of_units(experiment: Experiment, values: FloatArray, propensity: float = 0.5) -> Moments:
    """Of units of one arm; `values` has shape (units, columns)."""
    steps = np.floor(values / np.array(resolutions_of(experiment)) + 0.5).astype(np.int64)
    n, columns = steps.shape
    layout, w = layout_of(columns), inverse_propensity(propensity)
    sums = layout.empty()
    layout.enter(sums, w, n)
    products = (steps.astype(object).T @ steps.astype(object)).tolist() if n else [[0] * columns] * columns
    for j in range(columns):
        total = int(steps[:, j].sum())
        sums[1 + j], sums[layout.wy + j], sums[layout.w2y + j] = total, w * total, w * w * total
        sums[layout.w2y2 + j] = w * w * products[j][j]
        for k in range(j, columns):
            sums[layout.cross[j][k]] = products[j][k]
    return Moments(columns, tuple(sums))


def evidence_of_units(experiment: Experiment, periods: Mapping[int, Period], **fields: Any) -> Evidence:
    """All in one segment."""
    by_period = {
        number: {arm: moments_of_units(experiment, values, p).sums for arm, (p, values) in period.items()}
        for number, period in periods.items()
    }
    columns = len(experiment.columns)
    total = {
        arm: Moments.total(columns, [cells[arm] for cells in by_period.values() if arm in cells]).sums
        for arm in experiment.arm_ids
    }
    return Evidence(experiment.arm_ids, columns, {"": total}, by_period, **fields)
