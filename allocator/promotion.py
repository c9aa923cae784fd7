"""From a mix of arms to the promoted one: shares first, enrolment after, each by at most the maximum shift an update.

1. Shares of the enrolled units move straight to the promoted arm. Floor, cap and reserved share are rules of the experiment and
   hold no longer; the policy is not asked. What a guardrail has capped goes to control, and so does all of an evicted arm's.
2. Once the arm has all of them, the share of units enrolled grows to all, so that nobody new is given an arm that lost.

The holdback is untouched: its units stay on control and go on to be counted (`allocator.holdback`).
"""

from __future__ import annotations

import numpy as np

from allocator.constraints import limited, to_ppm, to_shares
from allocator.experiment import Experiment
from allocator.quadrature import FloatArray
from allocator.steps import Path, Ppm
from allocator.weights import PPM

__all__ = ["promoted"]


def promoted(path: Path, experiment: Experiment, start: Ppm | None, limits: FloatArray | None = None) -> Path:
    """One update further; at the end of it `path.ppm` is `path.target`, and `path.enrolled` 1 000 000.

    Parameters
    ----------
    path : `path.enrolled` is the parts per million of units that took part so far, None before the first weights.
    experiment : with the arms that are not evicted; control in place of the promoted one if that is none of them.
    start : the shares to move from, None if there are none.
    limits : largest share of every arm by the guardrails it broke, shape (arms,).
    """
    path.target = _target(experiment, limits)
    named = f"promoted {experiment.promoted}"
    path.step("promoted", path.target, named)
    most = experiment.constraints.max_shift
    if start is not None and start != path.target:
        target = to_shares(path.target)
        largest = float(np.abs(target - to_shares(start)).max())
        moved = "moved by at most" if largest > most else "moved by"
        why = f"{named}: {moved} {100 * min(largest, most):.3g} % to it"
        return path.step("shift", to_ppm(limited(to_shares(start), target, most)), why)
    path.enrolled = PPM if path.enrolled is None else min(PPM, path.enrolled + round(most * PPM))
    left = f"{path.enrolled / 10_000:.3g} % of units take part" if path.enrolled < PPM else _all_but(experiment)
    return path.step("shift", path.target, f"{named}: {_has(experiment, path.target)}, {left}")


def _target(experiment: Experiment, limits: FloatArray | None) -> Ppm:
    arms, control = experiment.arm_ids, experiment.arm_ids.index(experiment.control)
    shares = np.zeros(len(arms))
    if experiment.promoted in arms:
        k = arms.index(experiment.promoted)
        shares[k] = 1.0 if limits is None else limits[k]
    shares[control] += 1.0 - shares.sum()
    return to_ppm(shares)


def _has(experiment: Experiment, target: Ppm) -> str:
    if experiment.promoted not in experiment.arm_ids:
        return f"{experiment.control} has all shares in its place"
    share = target[experiment.arm_ids.index(experiment.promoted)]
    return "it has all shares" if share == PPM else f"it has {share / 10_000:.3g} %, {experiment.control} the rest"


def _all_but(experiment: Experiment) -> str:
    if experiment.holdback > 0:
        return f"all units take part, {100 * experiment.holdback:.3g} % of them held back on {experiment.control}"
    return "all units take part"
