"""The report's plots of regret. Bands are two standard errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from allocator.simulate import BASELINES, Curve, Outcome, Plan
from streams.plots import Line, Mark, Panel, write_svg
from tests.reproduce.policies import DRIFT, LOW_CLICKS, TABLE_1, bernoulli, drift_world, outcome, rates
from tests.reproduce.report import Found

__all__ = ["FIGURES", "draw"]

BAND_ERRORS = 2.0
RUNS = 40
BATCHES = (10, 100, 1000)


def draw(found: Sequence[Found], seed: int, directory: Path) -> dict[str, str]:
    """Write every figure; title → path relative to the directory's parent."""
    directory.mkdir(parents=True, exist_ok=True)
    drawn = {}
    for name, (title, panels) in FIGURES.items():
        file = directory / f"{name}.svg"
        write_svg(file, panels(found, seed))
        drawn[title] = f"{directory.name}/{file.name}"
    return drawn


def low_clicks(_found: Sequence[Found], seed: int) -> list[Panel]:
    """Thompson by batch, and beside the index policies at batches of 1000."""
    experiment, world = bernoulli(10), {"arms": rates(LOW_CLICKS)}
    by_batch = [(f"B = {b}", outcome(experiment, world, Plan(20_000, b, seed), RUNS)) for b in BATCHES]
    thompson = ("thompson", by_batch[-1][1])
    others = [(name, outcome(experiment, world, Plan(20_000, 1000, seed), RUNS, name)) for name in BASELINES]
    return [_regret("Thompson, ten low-click arms", by_batch), _regret("Batches of 1000", [thompson, *others])]


def drift(_found: Sequence[Found], seed: int) -> list[Panel]:
    """Thompson and its sliding window where an arm is best for a while."""
    window = {"name": "sliding-window-thompson", "window": "1000s"}
    played = [
        (name, outcome(bernoulli(3, policy, period="100s"), drift_world(), Plan(10_000, 100, seed), RUNS))
        for name, policy in (("thompson", "thompson"), ("sliding window, 1000 units", window))
    ]
    marks = [Mark("x", stage["at"], "change") for stage in DRIFT[1:]]
    shares = [_line(name, o, o.best_share, 1.0) for name, o in played]
    return [
        _regret("Drift, batches of 100", played, marks),
        Panel("Share of the arm that is best", "units", "share", shares, marks, y_numbers="percent", y_range=(0.0, 1.0)),
    ]


def delay(found: Sequence[Found], _seed: int) -> list[Panel]:
    """Table 1 of Chapelle & Li beside ours."""
    ours = {int(key): one.answer[key] for one in found if one.study.startswith("table-1-") for key in one.answer}
    at = sorted(ours)
    half = [BAND_ERRORS * ours[d].standard_error for d in at]
    value = [ours[d].value for d in at]
    lines = [
        Line(
            "ours",
            at,
            value,
            [v - h for v, h in zip(value, half, strict=True)],
            [v + h for v, h in zip(value, half, strict=True)],
        ),
        Line("Chapelle & Li 2011, Table 1", list(TABLE_1), list(TABLE_1.values()), dashed=True),
    ]
    return [Panel("Ten items that retire, T = 1e6", "steps between two updates", "regret", lines, x_log=True, y_log=True)]


Figure = Callable[[Sequence[Found], int], list[Panel]]
FIGURES: dict[str, tuple[str, Figure]] = {
    "regret-low-clicks": ("Regret on ten low-click arms, by batch and beside UCB1 and KL-UCB", low_clicks),
    "regret-drift": ("Regret where an arm is best for a while", drift),
    "regret-delay": ("Regret against the delay of feedback, beside the paper's", delay),
}


def _regret(title: str, played: Sequence[tuple[str, Outcome]], marks: Sequence[Mark] = ()) -> Panel:
    return Panel(title, "units", "true regret", [_line(name, o, o.regret) for name, o in played], marks)


def _line(name: str, of: Outcome, curve: Curve, most: float = float("inf")) -> Line:
    half = BAND_ERRORS * curve.standard_error
    low, high = (curve.value - half).clip(0.0), (curve.value + half).clip(max=most)
    return Line(name, of.steps.tolist(), curve.value.tolist(), low.tolist(), high.tolist())
