"""What one decision costs, from moments to weights with all readouts: arms × metrics × segments, and experiments a second.

Arms are close to each other, the hardest case for P(best): all of them can win. The evidence is new for every decision, as it is
in the allocate agent; the spec is not. `segments` is the experiment with so many declared segments, each decided by partial
pooling, and `other`. Figures are medians of short rounds of one process on one core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
from rich.table import Table

from allocator.decide import decide_all
from allocator.delay import LAG_BINS
from allocator.evidence import Evidence
from allocator.experiment import OTHER_SEGMENT, Experiment
from allocator.spec import load_experiment
from tests.bench.report import Verdict, at_least, at_most, machine, new_table, publish
from tests.trained import sums_of

__all__ = ["Row", "add_options", "main"]

SHAPES = ((2, 1, 0), (10, 1, 0), (10, 5, 0), (10, 5, 10), (50, 5, 0), (100, 5, 0), (4, 1, 100))
"""Arms, metrics, segments."""
POLICIES: tuple[dict[str, Any], ...] = (
    {"name": "thompson"},
    {"name": "top-two-thompson"},
    {"name": "exploration-sampling"},
    {"name": "track-and-stop"},
    {"name": "discounted-thompson"},
    {"name": "epsilon-greedy"},
    {"name": "exp3-ix"},
    {"name": "constrained", "budgets": {"metric-1": 99.95}},
)
"""At 10 arms, 5 metrics; the budget binds."""
UNITS = 10_000
"""An arm and segment."""
PERIODS = 24
"""Three windows, where rewards are pending."""
CASES = 20
"""Different evidence in a round."""
MS_MAX, MS_SEGMENTS_MAX, EXPERIMENTS_PER_S_MIN = 1.0, 5.0, 1000.0


@dataclass(frozen=True, slots=True)
class Row:
    """One shape under one policy."""

    policy: str
    arms: int
    metrics: int
    segments: int
    ms: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--rounds`."""
    parser.add_argument("--rounds", type=int, default=30, help=f"rounds of {CASES} decisions for each row (%(default)s)")


def main(options: argparse.Namespace) -> bool:
    """Print the tables; whether the promises were kept."""
    found = machine()
    shapes = [_row({"name": "per-segment" if s else "thompson"}, k, m, s, options.rounds) for k, m, s in SHAPES]
    policies = [_row(policy, 10, 5, 0, options.rounds) for policy in POLICIES]
    pending = _row({"name": "thompson"}, 10, 5, 0, options.rounds, pending=True)
    ms = {(row.arms, row.metrics, row.segments): row.ms for row in shapes}
    verdicts: list[Verdict] = [
        at_most("10 arms, 5 metrics:", ms[10, 5, 0], MS_MAX, "ms"),
        at_most("10 arms, 5 metrics, rewards pending:", pending.ms, MS_MAX, "ms"),
        at_most("10 arms, 5 metrics, 10 segments:", ms[10, 5, 10], MS_SEGMENTS_MAX, "ms"),
        at_least("10 arms:", 1000 / ms[10, 5, 0], EXPERIMENTS_PER_S_MIN, "experiments a second"),
    ]
    tables = [_table("A decision", shapes), _table("By policy", policies)]
    publish({**found, "decide": shapes, "pending": pending, "policies": policies}, tables, verdicts, as_json=options.json)
    return all(verdict.met for verdict in verdicts)


def _table(title: str, rows: list[Row]) -> Table:
    table = new_table(title, ["policy"], ["arms", "metrics", "segments", "ms", "experiments/s"])
    for row in rows:
        figures = (str(row.arms), str(row.metrics), str(row.segments), f"{row.ms:.2f}", f"{1000 / row.ms:,.0f}")
        table.add_row(row.policy, *figures)
    return table


def _row(policy: dict[str, Any], arms: int, metrics: int, segments: int, rounds: int, *, pending: bool = False) -> Row:
    spec = _spec(policy, arms, metrics, segments)
    rng = np.random.default_rng([arms, metrics, segments])
    cases = [_evidence(spec, rng) for _ in range(CASES)]
    if pending:
        cases = [_with_lags(case, rng) for case in cases]
    now = PERIODS * spec.period_s if pending else 1.0
    previous = {name: decision.weights for name, decision in decide_all(spec, cases[0], {}, now - 1.0).items()}

    def decisions() -> None:
        for case in cases:
            decide_all(spec, replace(case, read_until=now), previous, now)  # a copy: nothing of it is found already

    return Row(spec.policy.name, arms, metrics, segments, _ms(decisions, rounds) / CASES)


def _ms(work: Callable[[], None], rounds: int) -> float:
    """Median of the processor time of a round."""
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return median(taken) * 1e3


def _spec(policy: dict[str, Any], arms: int, metrics: int, segments: int) -> Experiment:
    rest = {f"metric-{j}": {"type": "value", "direction": "down", "resolution": 1.0} for j in range(1, metrics)}
    return load_experiment(
        {
            "experiment": "bench",
            "arms": [f"arm-{k}" for k in range(arms)],
            "metrics": {"metric-0": "binary", **rest},
            "objective": "metric-0",
            "policy": policy,
            "segments": [f"segment-{g}" for g in range(segments)],
        }
    )


def _evidence(spec: Experiment, rng: np.random.Generator) -> Evidence:
    """Rates within a standard error of each other; values about 100 with sd 20."""
    segments = (*spec.segments, OTHER_SEGMENT) if spec.segments else ("",)
    metrics = len(spec.metrics)
    found: dict[str, dict[str, list[int]]] = {}
    for segment in segments:
        found[segment] = {}
        for arm in spec.arm_ids:
            n = int(rng.integers(UNITS // 2, UNITS))
            totals = [int(rng.binomial(n, 0.3)), *(int(x) for x in rng.normal(100 * n, 20 * n**0.5, metrics - 1))]
            squares = [totals[0], *(total * total // n + 400 * n for total in totals[1:])]
            found[segment][arm] = sums_of(n, totals, squares)
    return Evidence(spec.arm_ids, metrics, found, {0: found[segments[0]]})


def _with_lags(of: Evidence, rng: np.random.Generator) -> Evidence:
    """The same sums, spread over periods of which the last ones are younger than the window, and lags of many rewards."""
    [sums] = of.segments.values()
    periods = {p: {arm: [x // PERIODS for x in row] for arm, row in sums.items()} for p in range(PERIODS)}
    lags = {p: {arm: [rng.integers(0, 10, LAG_BINS).tolist()] for arm in of.arms} for p in periods}
    return replace(of, periods=periods, lags=lags, all_lags=Evidence(of.arms, of.metrics, of.segments, periods, lags).every_lag)
