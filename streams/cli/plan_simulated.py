"""What `allocator plan --simulate` adds: how soon the spec's policy, or another, has the right arm in front.

Units and effect are those of the plan's first row, so that a policy stands beside the fixed split it is compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from rich.markup import escape

from allocator.experiment import Experiment
from allocator.inference import Duration, SimulatedPower, duration, simulated_power
from allocator.simulate import Plan, Trace, World
from allocator.simulate.power import decisions_by, one_better, usable_units_of
from streams.cli import quantities
from streams.cli.output import console, table
from streams.cli.plan_print import grouped, percent
from streams.cli.plan_rows import Question, Row
from streams.simulations import Candidate, traces_of

__all__ = ["Simulated", "Simulation", "as_builtins", "show", "simulate_policies"]

DECISIONS = 80
"""In the units of the plan, unless --batch says how many units are between two."""
HORIZONS = (1 / 16, 1 / 11.3, 1 / 8, 1 / 5.66, 1 / 4, 1 / 2.83, 1 / 2, 1 / 1.41, 1)
"""In units of the plan's. To be right takes fewer units than to be significant."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """What the options say. `batch` None: about `DECISIONS` in the plan's units."""

    runs: int
    seed: int
    processes: int
    batch: int | None = None


@dataclass(frozen=True, slots=True)
class Simulated:
    """One policy; `duration`, of its `total`, needs traffic."""

    power: SimulatedPower
    duration: Duration | None


def simulate_policies(
    candidates: Sequence[Candidate],
    question: Question,
    planned: Row,
    simulation: Simulation,
    advance: Callable[[int], None] = lambda _runs: None,
) -> tuple[Simulated, ...]:
    """A row for each policy, the same whatever the number of processes. ArgumentError for what cannot be simulated."""
    batch = simulation.batch or max(1, ceil(planned.plan.total / DECISIONS))
    horizons = sorted({max(1, round(planned.plan.total * part / batch)) * batch for part in HORIZONS})
    traffic = question.traffic
    step_s = 1.0 if traffic is None else quantities.DAY_S / (traffic.units_per_day * traffic.usable)
    world, assumptions = one_better(candidates[0].experiment, question.baseline, planned.plan.effect, step_s)
    plan = Plan(horizon=horizons[-1], batch=batch, seed=simulation.seed)

    def play(experiment: Experiment, world: World, plan: Plan, runs: int, baseline: str | None) -> list[Trace]:
        played = Candidate(experiment.experiment, experiment, baseline)
        return traces_of([played], world, plan, runs=runs, processes=simulation.processes, advance=advance)[0]

    def simulated(candidate: Candidate) -> Simulated:
        experiment, baseline = usable_units_of(candidate.experiment), candidate.baseline
        asked = decisions_by(experiment, world, plan, simulation.runs, baseline=baseline, play=play, assumptions=assumptions)
        power = simulated_power(asked, horizons, question.power)
        return Simulated(power, None if traffic is None or power.total is None else duration(power.total, traffic))

    return tuple(simulated(candidate) for candidate in candidates)


def show(found: Sequence[Simulated]) -> None:
    """Print it, below the plan."""
    out = console()
    for shown in _tables(found):
        out.print(shown)
    for sentence in _sentences(found):
        out.print(escape(sentence), style="dim", soft_wrap=True)


def _tables(found: Sequence[Simulated]) -> tuple[Any, Any]:
    """How many units until a policy is right with the wanted power, and how often it is right after how many."""
    first = found[0].power
    timed = any(row.duration for row in found)
    heading = f">units until right with power {percent(first.power)}"
    soon = table("policy, simulated", heading, *([">days"] if timed else []), ">half have decided after")
    for row in found:
        days = "-" if row.duration is None else f"{row.duration.days:.1f} d"
        soon.add_row(escape(row.power.policy), _until(row.power), *([days] if timed else []), _decided(row.power))
    often = table(">after units", *(f">P(correct), {escape(row.power.policy)}" for row in found))
    for i, (units, _, _) in enumerate(first.horizons):
        shares = [row.power.horizons[i][1:] for row in found]
        often.add_row(grouped(units), *(f"{100 * share:.1f} ± {100 * error:.1f} %" for share, error in shares))
    return soon, often


def _sentences(found: Sequence[Simulated]) -> list[str]:
    """What the tables rest on, each said once."""
    said = {f"method: {row.power.method}; ± is one standard error": None for row in found}
    return list(said | {f"assumes: {sentence}": None for row in found for sentence in row.power.assumptions})


def as_builtins(found: Sequence[Simulated]) -> list[dict[str, Any]]:
    """Not rounded."""
    return [
        {
            "policy": row.power.policy,
            "power": row.power.power,
            "total": row.power.total,
            "total_error": row.power.total_error,
            "median_decided_at": row.power.median_decided_at,
            "days": row.duration.days if row.duration else None,
            "horizons": [{"units": n, "p_correct": p, "standard_error": error} for n, p, error in row.power.horizons],
            "method": row.power.method,
            "assumptions": row.power.assumptions,
        }
        for row in found
    ]


def _until(power: SimulatedPower) -> str:
    last, first = power.horizons[-1][0], power.horizons[0][0]
    if power.total is None:
        return f"more than {grouped(last)}"
    if power.total_error is None:
        return f"at most {grouped(first)}"
    return f"{grouped(power.total)} ± {grouped(power.total_error)}"


def _decided(power: SimulatedPower) -> str:
    return "-" if power.median_decided_at is None else grouped(power.median_decided_at)
