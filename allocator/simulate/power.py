"""The simulator as what `allocator.inference.simulated_power` asks: how often a policy has the right arm in front, and by when.

The world is the one a fixed split is planned for: arms that are alike but for the one effect to find. This slippage
configuration is the least favourable one for normal means under an even split (Bechhofer 1954); elsewhere it is the custom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil

import msgspec
import numpy as np

from allocator.errors import ArgumentError
from allocator.experiment import OTHER_SEGMENT, Experiment
from allocator.inference.baselines import Baseline, Count, Mean, Proportion, check_effect
from allocator.inference.policy_power import SimulatedRuns
from allocator.simulate.run import Plan, Trace, run
from allocator.simulate.world import Reward, Stage, World

__all__ = ["Play", "decisions_by", "one_after_another", "one_better", "usable_units_of"]

Play = Callable[[Experiment, World, Plan, int, str | None], Sequence[Trace]]
"""(experiment, world, plan, runs, baseline): traces of runs 0 to `runs` - 1, in order."""
WHOLE = 1 - 1e-9


def one_better(experiment: Experiment, baseline: Baseline, effect: float, step_s: float = 1.0) -> tuple[World, tuple[str, ...]]:
    """Control has the objective's baseline, and one arm is better than every other by the effect.

    Parameters
    ----------
    effect : an arm's value less control's. In the objective's good direction the last arm beside control has it alone; else every
        arm but control.
    step_s : seconds from one unit to the next, > 0.

    Returns
    -------
    The world, and what it takes for granted.

    Raises
    ------
    ArgumentError : the effect leaves the metric's domain, or rewards of that baseline cannot be drawn.
    """
    check_effect("effect", effect, baseline)
    if experiment.objective not in experiment.metrics:
        raise ArgumentError("objective", experiment.objective, "a metric that is observed: what makes up another is not known")
    others = [arm for arm in experiment.arm_ids if arm != experiment.control]
    good = (effect > 0) == (experiment.metrics[experiment.objective].direction == "up")
    moved = others[-1:] if good else others
    of_arms = tuple(
        tuple(
            _reward(baseline, baseline.value + (effect if arm in moved else 0.0)) if name == experiment.objective else Reward(0.0)
            for name in experiment.metrics
        )
        for arm in experiment.arm_ids
    )
    sentences = [f"{moved[0] if good else experiment.control} is better than every other arm by the effect; these are alike."]
    sentences.append("Rewards come with their exposures, and nothing changes over time.")
    if len(experiment.metrics) > 1:
        sentences.append(f"Metrics other than {experiment.objective} are 0.")
    segments = (OTHER_SEGMENT,) if experiment.segments else ("",)
    return World((Stage(0, (of_arms,)),), segments, step_s=step_s), tuple(sentences)


def usable_units_of(experiment: Experiment) -> Experiment:
    """The same where every unit takes part and none is held back, so that units are what plans count."""
    return msgspec.structs.replace(experiment, enrolment=1.0, holdback=0.0)


def one_after_another(experiment: Experiment, world: World, plan: Plan, runs: int, baseline: str | None) -> Sequence[Trace]:
    """The plainest `Play`."""
    return [run(experiment, world, plan, number, baseline) for number in range(runs)]


def decisions_by(
    experiment: Experiment,
    world: World,
    plan: Plan,
    runs: int,
    *,
    baseline: str | None = None,
    play: Play = one_after_another,
    assumptions: Sequence[str] = (),
) -> Callable[[Sequence[float]], SimulatedRuns]:
    """What `simulated_power` asks for horizons, in units.

    Parameters
    ----------
    plan : its horizon and points are those of the question; runs go on when they are decided.
    runs : ≥ 1.
    baseline : as in `run`.
    assumptions : of the world.

    Raises
    ------
    ArgumentError : from the function returned, if a horizon is before the first decision.
    """

    def simulate(horizons: Sequence[float]) -> SimulatedRuns:
        if horizons[0] < plan.batch:
            raise ArgumentError("horizons", horizons[0], f"at least {plan.batch}, the units before the first decision")
        horizon = ceil(horizons[-1])
        asked = replace(plan, horizon=horizon, points=-(-horizon // plan.batch), until_decided=False)
        traces = play(experiment, world, asked, runs, baseline)
        last_decision = np.searchsorted(asked.steps, horizons, side="right") - 1
        right = np.array([trace.right for trace in traces])[:, last_decision] >= WHOLE
        decided_at = tuple(trace.decided_at for trace in traces)
        return SimulatedRuns(
            policy=baseline or experiment.policy.name,
            runs=len(traces),
            correct=tuple(right.sum(axis=0).tolist()),
            decided_at=() if np.isnan(decided_at).any() else decided_at,
            assumptions=(*assumptions, *_how(asked)),
        )

    return simulate


def _reward(baseline: Baseline, value: float) -> Reward:
    if isinstance(baseline, Proportion):
        return Reward(value)
    if isinstance(baseline, Mean):
        return Reward(value, baseline.sd)
    if not isinstance(baseline, Count):
        raise ArgumentError("baseline", baseline, "a proportion, a mean or a count, which the simulator can draw")
    if baseline.dispersion != 1.0:
        raise ArgumentError("dispersion", baseline.dispersion, "1 where units are simulated: they are Poisson")
    return Reward(value)


def _how(plan: Plan) -> tuple[str, ...]:
    return (
        f"The decisions are production's own, with the spec's constraints: one every {plan.batch} units; seed {plan.seed}.",
        "In front is the arm with the largest P(best), or the policy's own verdict; with segments, in every one of them.",
        f"Decided is P(best) of the leader at {plan.confidence:g}, or the policy's own verdict to stop.",
    )
