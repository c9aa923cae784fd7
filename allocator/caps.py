"""A cap at a quantile: what units have in a warm-up without a cap decides where the others' values are cut off.

    metrics:
      revenue: {type: value, cap: {quantile: 0.99}}

Units are counted without a cap until there are enough of them. When the spec is then applied again, the quantile of what they
have becomes the cap, a number in the spec like any other, and a phase begins (`allocator.phases`): what was summed before it is
a warm-up that trains nothing. From then on the number stays, however often the spec is applied, until another quantile is asked
for, which begins with a warm-up of its own.

Nothing here reads anything: the units' values are an argument.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from allocator.errors import SpecError, SpecErrors
from allocator.experiment import Experiment

__all__ = ["ABOVE_MIN", "kept_caps", "units_needed", "with_caps", "without_cap"]

ABOVE_MIN = 10
"""Units that must lie above a quantile for it to be taken as a cap."""


def units_needed(quantile: float) -> int:
    """How long the warm-up is, in units."""
    return math.ceil(ABOVE_MIN / (1 - quantile) - 1e-9)


def without_cap(experiment: Experiment) -> tuple[str, ...]:
    """The metrics whose quantile has not become a number yet."""
    return tuple(name for name, metric in experiment.metrics.items() if metric.cap_quantile is not None and metric.cap is None)


def kept_caps(current: Experiment | None, wanted: Experiment) -> Experiment:
    """The spec with the numbers that the same quantiles have become before."""
    before = {} if current is None else current.metrics
    found = {
        name: before[name].cap
        for name in without_cap(wanted)
        if name in before and before[name].cap_quantile == wanted.metrics[name].cap_quantile
    }
    return _with(wanted, found)


def with_caps(experiment: Experiment, values: Mapping[str, NDArray[np.float64]]) -> Experiment:
    """The spec with numbers for those quantiles that there are enough units for.

    Parameters
    ----------
    values : by metric what each unit has, in the metric's own unit and in any order; of size, so of both signs alike.

    Raises
    ------
    SpecErrors : the quantile is 0: so few units have anything that every value would be cut off to nothing.
    """
    found: dict[str, float | None] = {}
    errors = []
    for name in without_cap(experiment):
        metric, sizes = experiment.metrics[name], np.abs(values.get(name, np.zeros(0)))
        quantile = metric.cap_quantile or 0.0
        if len(sizes) < units_needed(quantile):
            continue
        cap = float(np.quantile(sizes, quantile, method="inverted_cdf"))
        found[name] = cap
        if cap <= 0.0:
            nonzero = int(np.count_nonzero(sizes))
            expected = f"one that is not 0: {nonzero} of {len(sizes)} units have a value other than 0"
            errors.append(SpecError(f"metrics.{name}.cap.quantile", quantile, expected))
    if errors:
        raise SpecErrors(errors)
    return _with(experiment, found)


def _with(experiment: Experiment, caps: Mapping[str, float | None]) -> Experiment:
    metrics = {
        name: msgspec.structs.replace(metric, cap=caps[name]) if name in caps else metric
        for name, metric in experiment.metrics.items()
    }
    return msgspec.structs.replace(experiment, metrics=metrics) if caps else experiment
