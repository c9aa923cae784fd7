"""Geometry of the page's charts, in per cent of the plotting area: a chart fits any width, and its text keeps its size.

Lines and areas are SVG paths that stretch; dots, ticks and labels are placed by the page's CSS. Colours are the page's, by arm.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from streams.report.record import Curve, EffectRow, NoveltyRow, PublicationRow, SegmentRow

__all__ = ["Chart", "Dot", "Path", "Scale", "Tick", "bars", "effects_over_time", "posteriors", "segment_bars", "shares_over_time"]

BAND_ERRORS = 1.96
DODGE = 0.8
"""Per cent by which arms stand beside each other in one period."""


@dataclass(frozen=True, slots=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Path:
    """`d` in a box of 100 × 100, y downwards."""

    d: str
    arm: int
    filled: bool = False


@dataclass(frozen=True, slots=True)
class Dot:
    x: float
    y: float
    arm: int
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart. `zero`: where y is 0, if that is worth a line."""

    paths: list[Path]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    dots: tuple[Dot, ...] = ()
    zero: float | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to per cent."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float], margin: float = 0.04) -> Scale:
        """All of them with a margin; something wide enough around a single one."""
        found = [value for value in values if math.isfinite(value)] or [0.0]
        low, high = min(found), max(found)
        wide = (high - low) * margin or abs(high) * 0.1 or 1.0
        return cls(low - wide, high + wide)

    def __call__(self, value: float) -> float:
        return round(100 * (value - self.low) / (self.high - self.low), 3)

    def ticks(self, count: int = 5) -> list[float]:
        """About so many round values inside."""
        rough = (self.high - self.low) / count
        power = 10 ** math.floor(math.log10(rough))
        step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.7)
        first = math.ceil(self.low / step)
        return [k * step for k in range(first, math.floor(self.high / step) + 1)]


def shares_over_time(history: Sequence[PublicationRow], arms: Sequence[str], until: float) -> Chart | None:
    """Stacked shares, as steps: a share holds until the next publication."""
    if not history:
        return None
    x = Scale(history[0].ts, max(until, history[-1].ts, history[0].ts + 1.0))
    paths, base = [], [0.0] * len(history)
    edges = [*(x(row.ts) for row in history), 100.0]
    for k, arm in enumerate(arms):
        top = [low + row.ppm.get(arm, 0) / 1e4 for low, row in zip(base, history, strict=True)]
        up = [point for i, y in enumerate(top) for point in ((edges[i], 100 - y), (edges[i + 1], 100 - y))]
        down = [point for i, y in enumerate(base) for point in ((edges[i], 100 - y), (edges[i + 1], 100 - y))][::-1]
        paths.append(Path(_line(up + down) + "Z", k, filled=True))
        base = top
    return Chart(paths, _times(x), [Tick(100 - y, f"{y} %") for y in (0, 25, 50, 75, 100)])


def posteriors(curves: Sequence[Curve], arms: Sequence[str]) -> Chart | None:
    """Densities over one axis. The peak of an arm that is known far better would flatten the others: heights are roots."""
    if not curves:
        return None
    x = Scale.over((value for curve in curves for value in curve.x), margin=0.02)
    highest = max(max(curve.y) for curve in curves) ** 0.5
    paths = []
    for curve in curves:
        points = [(x(value), round(100 - 94 * y**0.5 / highest, 3)) for value, y in zip(curve.x, curve.y, strict=True)]
        k = list(arms).index(curve.arm)
        paths += [
            Path(_line([(points[0][0], 100.0), *points, (points[-1][0], 100.0)]) + "Z", k, filled=True),
            Path(_line(points), k),
        ]
    return Chart(paths, [Tick(x(value), _plain(value)) for value in x.ticks()], [])


def effects_over_time(rows: Sequence[NoveltyRow], arms: Sequence[str]) -> Chart | None:
    """An arm's effect in each period of exposure, with 95 % of its own."""
    rows = [row for row in rows if len(row.ts) > 1]
    if not rows:
        return None
    x = Scale.over((ts for row in rows for ts in row.ts), margin=0.06)
    ends = [e + side * BAND_ERRORS * s for row in rows for e, s in zip(row.effect, row.se, strict=True) for side in (-1, 1)]
    y = Scale.over([0.0, *ends])
    paths, dots = [], []
    for i, row in enumerate(rows):
        k, beside = list(arms).index(row.arm), DODGE * (i - (len(rows) - 1) / 2)
        for ts, effect, se in zip(row.ts, row.effect, row.se, strict=True):
            at, half = x(ts) + beside, BAND_ERRORS * se
            paths.append(Path(_line([(at, 100 - y(effect - half)), (at, 100 - y(effect + half))]), k))
            dots.append(Dot(at, 100 - y(effect), k, f"{row.arm}, {_time(ts)}: {effect:+.3g} ± {half:.2g}"))
    ticks = [Tick(100 - y(value), _signed(value)) for value in y.ticks(4)]
    return Chart(paths, _times(x), ticks, tuple(dots), zero=100 - y(0.0))


@dataclass(frozen=True, slots=True)
class Bar:
    """An interval as a bar on a track: all in per cent of the track, cut at its ends. None: there is none to draw."""

    left: float
    width: float
    dot: float
    zero: float
    open_left: bool
    open_right: bool


def bars(rows: Sequence[EffectRow]) -> dict[tuple[str, str], Bar]:
    """By metric and arm; the arms of one metric share a scale."""
    found = {}
    for metric in dict.fromkeys(row.metric for row in rows):
        of_metric = [row for row in rows if row.metric == metric]
        scale = Scale.over([0.0, *(v for row in of_metric for v in (row.estimate, row.low, row.high) if v is not None)])
        for row in of_metric:
            if (bar := _bar(scale, row.estimate, row.low, row.high)) is not None:
                found[metric, row.arm] = bar
    return found


def segment_bars(rows: Sequence[SegmentRow]) -> dict[tuple[str, str], Bar]:
    """By segment and arm, on one scale."""
    cells = [(row.segment, arm) for row in rows for arm in row.arms if arm.effect is not None]
    known = [(name, arm) for name, arm in cells if arm.low is not None and arm.high is not None]
    scale = Scale.over([0.0, *(v for _, arm in known for v in (arm.low, arm.high) if v is not None)])
    found = {(name, arm.id): _bar(scale, arm.effect, arm.low, arm.high) for name, arm in known}
    return {key: bar for key, bar in found.items() if bar is not None}


def _bar(scale: Scale, estimate: float | None, low: float | None, high: float | None) -> Bar | None:
    if estimate is None or (low is None and high is None):
        return None
    left, right = (0.0 if low is None else scale(low)), (100.0 if high is None else scale(high))
    return Bar(left, round(right - left, 3), scale(estimate), scale(0.0), low is None, high is None)


def _line(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)


def _times(x: Scale) -> list[Tick]:
    """Whole seconds, minutes, hours or days, about five of them."""
    rough = (x.high - x.low) / 5
    steps = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 345600, 604800, 1209600, 2592000)
    step = next((step for step in steps if step >= 0.7 * rough), math.ceil(rough / 2592000) * 2592000)
    form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 43200 else "%d %b"
    first = math.ceil(x.low / step)
    return [
        Tick(x(k * step), datetime.fromtimestamp(k * step, UTC).strftime(form))
        for k in range(first, math.floor(x.high / step) + 1)
    ]


def _time(ts: float) -> str:
    return datetime.fromtimestamp(ts, UTC).strftime("%d %b %H:%M")


def _plain(value: float) -> str:
    return f"{value:.4g}"


def _signed(value: float) -> str:
    return "0" if abs(value) < 1e-12 else f"{value:+.3g}"
