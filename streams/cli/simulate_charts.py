"""The charts of a simulation: regret, and whether traffic is where it should be, over time. Bands are two standard errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from allocator.experiment import Experiment
from allocator.quadrature import FloatArray
from allocator.simulate import Curve, Outcome, World
from streams.plots import Line, Mark, Panel

__all__ = ["panels"]

BAND_ERRORS = 2.0


def panels(experiment: Experiment, world: World, policies: Sequence[str], outcomes: Sequence[Outcome]) -> list[Panel]:
    """Regret, and the share of the best arm; for a single policy the shares of all its arms."""
    named = list(zip(policies, outcomes, strict=True))
    marks = [Mark("x", stage.start, "change") for stage in world.stages[1:]]
    regret = [_line(name, outcome, outcome.regret, 0.0) for name, outcome in named]
    if len(named) == 1:
        title, (outcome,) = "Shares, mean over runs", outcomes
        values, errors = outcome.shares.value.T, outcome.shares.standard_error.T
        shares = [
            _line(arm, outcome, Curve(value, error), 0.0, 1.0)
            for arm, value, error in zip(experiment.arm_ids, values, errors, strict=True)
        ]
    else:
        title = "Share of the arm that is best"
        shares = [_line(name, outcome, outcome.best_share, 0.0, 1.0) for name, outcome in named]
    return [
        Panel("True regret", "units", f"lost {experiment.objective}", regret, marks),
        Panel(title, "units", "share", shares, marks, y_numbers="percent", y_range=(0.0, 1.0)),
    ]


def _line(name: str, outcome: Outcome, curve: Curve, least: float, most: float = np.inf) -> Line:
    half = BAND_ERRORS * np.nan_to_num(curve.standard_error)
    low, high = np.clip(curve.value - half, least, most), np.clip(curve.value + half, least, most)
    return Line(name, _floats(outcome.steps), _floats(curve.value), _floats(low), _floats(high))


def _floats(values: FloatArray | np.typing.NDArray[np.int64]) -> list[float]:
    return [float(value) for value in values]
