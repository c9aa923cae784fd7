"""What a spec's traffic gives a comparison: the usable share, and the shares of the arms.

A unit counts if it is enrolled and not held back. Under the fixed policy the arms' shares are the policy's, after the floor. Any
other policy moves them, between two ends that are known beforehand: the even split, which also serves the warm-up, and the
compared arms at the floor. There the variance of an inverse-propensity weighted comparison, Σ v / share, is largest, so its
sample size is the most that the policy can ask for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from allocator.constraints import with_floor
from allocator.errors import SpecError
from allocator.experiment import Experiment
from allocator.policies import Fixed, normalise, policy_of

__all__ = ["Split", "splits_of", "usable_share"]


@dataclass(frozen=True, slots=True)
class Split:
    """One way in which arms share the usable units.

    Parameters
    ----------
    name : for a table.
    arms : names, control first; arms without traffic are left out.
    shares : of the usable units, in the same order, > 0, sum at most 1.
    assumption : what the split takes for granted.
    """

    name: str
    arms: tuple[str, ...]
    shares: tuple[float, ...]
    assumption: str = ""


def usable_share(experiment: Experiment) -> float:
    """Share of the traffic that takes part and trains. SpecError if there is none."""
    share = experiment.enrolment * (1 - experiment.holdback)
    if share <= 0:
        name, value = ("enrolment", 0.0) if experiment.enrolment <= 0 else ("holdback", experiment.holdback)
        raise SpecError(name, value, "a share that leaves units to compare")
    return share


def splits_of(experiment: Experiment) -> tuple[Split, ...]:
    """The splits to plan for, the usual one first. SpecError with fewer than two arms that get traffic, control among them."""
    arms = tuple(sorted(experiment.arm_ids, key=lambda arm: arm != experiment.control))
    if len(arms) < 2:
        raise SpecError("arms", list(arms), "at least two to compare")
    floor = experiment.constraints.floor
    policy = policy_of(experiment.policy)
    if isinstance(policy, Fixed):
        weights = np.array([1.0 if policy.shares is None else float(policy.shares[arm]) for arm in arms])
        return (_split("fixed split", arms, with_floor(normalise(weights), floor).tolist()),)
    even = Split("even split", arms, (1 / len(arms),) * len(arms), "Even split: the policy never moves traffic.")
    if not 0 < floor < 1 / len(arms):
        return (even,)
    worst = (
        f"At the floor: the most that {experiment.policy.name} can ask for, should it keep the arm"
        f"{' and control' if len(arms) > 2 else ''} at {floor:g} of the units for ever; compared by AIPW."
    )
    arm = arms[1] if len(arms) == 2 else "any other"
    return even, Split("at the floor", (arms[0], arm), (1 - floor if len(arms) == 2 else floor, floor), worst)


def _split(name: str, arms: tuple[str, ...], shares: list[float]) -> Split:
    """Of the arms that get traffic."""
    served = [k for k, share in enumerate(shares) if share > 0]
    if len(served) < 2 or served[0] != 0:
        raise SpecError(
            "policy.shares", dict(zip(arms, shares, strict=True)), f"traffic for {arms[0]}, the control, and another arm"
        )
    return Split(name, tuple(arms[k] for k in served), tuple(shares[k] for k in served))
