"""Moments by period from units written out, for tests of inference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from allocator.experiment import Metric
from allocator.inference import Observations
from allocator.moments import Moments, inverse_propensity, layout_of, quantise

__all__ = ["Unit", "counted", "observed"]

Unit = tuple[str, float, float]
"""Arm, propensity, value."""


def observed(
    metric: Metric,
    arms: Sequence[str],
    periods: Iterable[Iterable[Unit]],
    *,
    bounds: tuple[float, float] | None = None,
    propensity_min: float | None = None,
) -> Observations:
    """What the join would have counted; every arm is in every period."""
    resolution = 1.0 if metric.type == "binary" else metric.resolution
    layout = layout_of(1)
    cells = []
    for units in periods:
        sums = {arm: layout.empty() for arm in arms}
        for arm, propensity, value in units:
            w = inverse_propensity(propensity)
            layout.enter(sums[arm], w)
            layout.change(sums[arm], w, [0], 0, quantise(value, 1 / resolution))
        cells.append({arm: Moments(1, tuple(cell)) for arm, cell in sums.items()})
    return Observations(metric, 0, tuple(arms), cells, bounds, propensity_min)


def counted(arms: dict[str, tuple[int, int]], periods: int = 1, propensity: float | None = None) -> Observations:
    """A binary metric: arm → (successes, units) of every period, at equal propensities unless one is given."""
    w = inverse_propensity(propensity or 1 / len(arms))
    layout = layout_of(1)
    cell = {}
    for arm, (successes, units) in arms.items():
        sums = layout.empty()
        layout.enter(sums, w, units)
        sums[1] = sums[layout.square[0]] = successes
        sums[layout.wy], sums[layout.w2y], sums[layout.w2y2] = w * successes, w * w * successes, w * w * successes
        cell[arm] = Moments(1, tuple(sums))
    least = propensity or 1 / len(arms)
    return Observations(Metric(type="binary", resolution=1.0), 0, tuple(arms), [cell] * periods, propensity_min=least)
