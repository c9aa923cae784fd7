"""What P(best) costs beside Monte Carlo with 10 000 draws, and how far it is from 16-point quadrature with betainc.

Arms lie one and a half standard errors about their middle, so that all of them contend; the error is the largest of that and of
arms alike, closer and further apart. `mixed` has from 100 to 10 000 000 units an arm. Times are the fastest of many calls, Monte
Carlo's of a few: Beta draws by numpy, the best of each counted. The last table is what a decision needs of ten arms and five
metrics, from exact moments: posteriors, 95 % intervals and P(best) of each metric. Needs no broker; --bootstrap is ignored.
"""

from __future__ import annotations

import argparse
import timeit
from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt
from rich.table import Table

from allocator import Moments, prob_best_beta
from allocator.experiment import Metric, MetricType
from allocator.moments import layout_of
from allocator.posterior import posteriors_of
from tests.bench.report import Verdict, at_least, at_most, machine, new_table, publish
from tests.quadrature_oracle import betas

__all__ = ["add_options", "main"]

Floats = npt.NDArray[np.float64]

ARMS = (2, 3, 5, 10, 50, 100)
SPREADS = (0.0, 0.5, 1.5, 4.0)
UNITS = (1e2, 1e4, 1e5, 1e7, None)
"""An arm; None is mixed."""
DRAWS = 10_000
ERROR_MAX = 1e-9
FIVE: dict[str, tuple[MetricType, ...]] = {
    "binary": ("binary",) * 5,
    "value": ("value",) * 5,
    "count": ("count",) * 5,
    "mixed": ("binary", "binary", "value", "value", "count"),
}
METRICS_US_MAX = 600.0


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One number of arms and of units: microseconds a call, and the largest error of any arm."""

    arms: int
    units: float | None
    us: float
    monte_carlo_us: float
    error: float

    @property
    def ratio(self) -> float:
        """How much faster than Monte Carlo."""
        return self.monte_carlo_us / self.us


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command line of this bench."""
    parser.add_argument("--repeat", type=int, default=200, help="calls of which the fastest counts (default 200)")


def main(options: argparse.Namespace) -> bool:
    """Print both tables. Whether every error is within its bound."""
    before = machine()
    rows = [_row(arms, units, options.repeat) for arms in ARMS for units in UNITS]
    metrics = {(name, units): _metrics_us(kinds, units, options.repeat) for name, kinds in FIVE.items() for units in UNITS[:-1]}
    found = {
        "bench": "quadrature",
        "rows": rows,
        "metrics_us": [{"metrics": name, "units": units, "us": us} for (name, units), us in metrics.items()],
        **before,
    }
    publish(found, [_prob_best_table(rows), _metrics_table(metrics)], verdicts(rows, metrics.values()), as_json=options.json)
    return max(row.error for row in rows) <= ERROR_MAX


def verdicts(rows: list[Row], metrics_us: npt.ArrayLike) -> list[Verdict]:
    """The aims, each by its worst row."""
    few, many = [row.ratio for row in rows if row.arms <= 10], [row.ratio for row in rows if row.arms == 100]
    return [
        at_least("P(best) of at most 10 arms:", min(few), 10, "× Monte Carlo"),
        at_least("P(best) of 100 arms:", min(many), 2, "× Monte Carlo"),
        at_most("largest error of P(best):", max(row.error for row in rows), ERROR_MAX, ""),
        at_most("ten arms and five metrics:", max(metrics_us), METRICS_US_MAX, "µs"),
    ]


def _row(arms: int, units: float | None, repeat: int) -> Row:
    (a, b), rng = _betas(arms, units, 1.5), np.random.default_rng(0)

    def monte_carlo() -> Floats:
        return np.bincount(rng.beta(a, b, size=(DRAWS, arms)).argmax(axis=1), minlength=arms) / DRAWS

    return Row(
        arms=arms,
        units=units,
        us=_us(lambda: prob_best_beta(a, b), repeat),
        monte_carlo_us=_us(monte_carlo, 5),
        error=max(_error(*_betas(arms, units, spread)) for spread in SPREADS),
    )


def _betas(arms: int, units: float | None, spread: float) -> tuple[Floats, Floats]:
    """Posteriors whose means lie `spread` standard errors about a tenth."""
    rng = np.random.default_rng([arms, 0 if units is None else int(units)])
    n = np.floor(10 ** rng.uniform(2, 7, arms)) if units is None else np.full(arms, units)
    successes = np.clip(np.rint(0.1 * n + spread * np.sqrt(0.09 * n) * rng.normal(size=arms)), 0.0, n)
    return 1.0 + successes, 1.0 + n - successes


def _error(a: Floats, b: Floats) -> float:
    return float(np.abs(prob_best_beta(a, b) - betas(a, b).prob_best()).max())


def _metrics_us(kinds: tuple[MetricType, ...], units: float, repeat: int) -> float:
    rng, names, layout = np.random.default_rng(1), tuple("abcdefghij"), layout_of(len(kinds))
    metrics = [Metric(type=kind, resolution=1.0) for kind in kinds]
    moments = []
    for _ in names:
        sums = layout.empty()
        layout.enter(sums, 10**6, int(units))
        for j in range(len(kinds)):
            sums[1 + j] = sums[layout.square[j]] = int(rng.binomial(int(units), 0.1))
        moments.append(Moments(len(kinds), tuple(sums)))

    def decide_on() -> None:
        for j, metric in enumerate(metrics):
            found = posteriors_of(metric, j, names, moments)
            found.interval()
            found.prob_best()

    return _us(decide_on, repeat)


def _us(call: Callable[[], object], repeat: int) -> float:
    call()
    return min(timeit.repeat(call, number=1, repeat=repeat)) * 1e6


def _prob_best_table(rows: list[Row]) -> Table:
    table = new_table("P(best) of betas", (), ("arms", "units an arm", "µs", "Monte Carlo, µs", "×", "error"))
    for row in rows:
        table.add_row(
            str(row.arms),
            _units(row.units),
            f"{row.us:.0f}",
            f"{row.monte_carlo_us:,.0f}",
            f"{row.ratio:.0f}",
            f"{row.error:.0e}",
        )
    return table


def _metrics_table(metrics: dict[tuple[str, float], float]) -> Table:
    table = new_table("Ten arms, five metrics: posteriors, intervals, P(best), µs", ("metrics",), [_units(u) for u in UNITS[:-1]])
    for name in FIVE:
        table.add_row(name, *(f"{us:.0f}" for (of, _), us in metrics.items() if of == name))
    return table


def _units(units: float | None) -> str:
    return "mixed" if units is None else f"{units:,.0f}"
