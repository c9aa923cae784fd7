"""What is known of the arms after a decision: part of the decision's record, and what dashboards show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct

from allocator.posterior import Posteriors

__all__ = ["ArmState", "MetricState", "arm_states"]


class MetricState(Struct, frozen=True, kw_only=True):
    """One arm on one metric, in natural units: posterior mean and 95 % equal-tailed interval, None where nothing is known."""

    n: int
    mean: float | None
    interval: tuple[float, float] | None


class ArmState(Struct, frozen=True, kw_only=True):
    """One arm on the objective with its P(best) there, its share after the decision, and every metric.

    `pending` is how many of its units' worth of the objective is still to come: they count neither for nor against the arm.
    """

    id: str
    n: int
    mean: float | None
    interval: tuple[float, float] | None
    p_best: float
    ppm: int
    pending: float = 0.0
    metrics: dict[str, MetricState] = {}


def arm_states(
    n: Sequence[int],
    objective: Posteriors,
    metrics: Mapping[str, Posteriors],
    ppm: Sequence[int],
    pending: Sequence[float] | None = None,
) -> tuple[ArmState, ...]:
    """The readouts of every arm, in the order of `objective.arms`.

    Parameters
    ----------
    n : units an arm.
    objective : posteriors of what traffic follows.
    metrics : posteriors of every metric to read out, by name; the objective may be one of them.
    ppm : shares after the decision.
    pending : units an arm of which the objective is still to come; None: of none.
    """
    per_metric = {name: _states(n, found) for name, found in metrics.items()}
    on = next((per_metric[name] for name, found in metrics.items() if found is objective), None) or _states(n, objective)
    return tuple(
        ArmState(
            id=arm,
            n=n[k],
            mean=on[k].mean,
            interval=on[k].interval,
            p_best=p_best,
            ppm=ppm[k],
            pending=0.0 if pending is None else pending[k],
            metrics={name: states[k] for name, states in per_metric.items()},
        )
        for k, (arm, p_best) in enumerate(zip(objective.arms, objective.prob_best().tolist(), strict=True))
    )


def _states(n: Sequence[int], posteriors: Posteriors) -> list[MetricState]:
    known = np.isfinite(posteriors.mean).tolist()
    found = zip(n, posteriors.mean.tolist(), posteriors.interval().tolist(), known, strict=True)
    return [
        MetricState(n=units, mean=mean if sure else None, interval=(low, high) if sure else None)
        for units, mean, (low, high), sure in found
    ]
