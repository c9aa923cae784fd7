"""The simulator: what would the experiment do, if the world were so?

    experiment = load_experiment(spec)
    world = load_world({"arms": {"a": {"clicks": 0.10}, "b": {"clicks": 0.12}}}, experiment)
    outcome = simulate(experiment, world, Plan(horizon=100_000, batch=1000, seed=1), runs=50)
    outcome.final_regret          # Estimate(value=..., standard_error=...)

It makes its decisions with the very `decide` of production and nothing else. `world` is the truth, `run` one run, `outcome` many
of them as one answer. No processes and no files here: the command `allocator simulate` has them.
"""

from __future__ import annotations

from allocator.errors import ArgumentError
from allocator.experiment import Experiment
from allocator.simulate.baselines import BASELINES
from allocator.simulate.outcome import Curve, Estimate, Outcome
from allocator.simulate.run import Plan, Trace, run
from allocator.simulate.world import World
from allocator.simulate.world_file import load_world

__all__ = ["BASELINES", "Curve", "Estimate", "Outcome", "Plan", "Trace", "World", "load_world", "run", "simulate"]


def simulate(experiment: Experiment, world: World, plan: Plan, runs: int, baseline: str | None = None) -> Outcome:
    """The outcome of runs 0 to `runs` - 1, one after the other. See `run` for what may be raised."""
    if runs < 1:
        raise ArgumentError("runs", runs, "a whole number of at least 1")
    return Outcome.of(plan, [run(experiment, world, plan, number, baseline) for number in range(runs)])
