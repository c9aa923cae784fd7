"""From what is wanted to what is published, step by step, each with the shares it left: the reader sees what moved what.

`allocator.constraints` has the rules and says in which order they apply. What only a decision knows is here: where the shares
come from, and the sentence that says why they are what they are.

- The dead-band comes first in the code: within it nothing moves, and the maximum shift has no say.
- An arm outside its bounds (it is new, or the bounds were drawn closer) is put back within them at once, step `lift`.
- Without previous weights there is nothing to shift from, and the target is published as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from allocator.breaches import under
from allocator.constraints import capped, least_shares, lifted, limited, to_ppm, to_shares, with_floor, with_reserved
from allocator.experiment import Constraints, Experiment
from allocator.quadrature import FloatArray
from allocator.weights import PPM, Weights

__all__ = ["Path", "Ppm", "constrain", "making_room", "start_of"]

Ppm = tuple[int, ...]

ROUNDED = 1
"""Parts per million that rounding may have taken from an arm."""


@dataclass(slots=True)
class Path:
    """Shares on their way from the policy to publication."""

    steps: dict[str, Ppm] = field(default_factory=dict)
    reason: str = ""
    target: Ppm = ()
    """What the constraints on the shares themselves made of what is wanted; empty where there is nothing to move to."""
    enrolled: int | None = None
    """Parts per million of units that take part; None: as the spec says."""

    def step(self, name: str, ppm: Ppm, reason: str = "") -> Path:
        """Go on to these shares; the reason stays unless there is another."""
        self.steps[name] = ppm
        self.reason = reason or self.reason
        return self

    @property
    def ppm(self) -> Ppm:
        """Where the shares are now."""
        return next(reversed(self.steps.values()))


def constrain(
    path: Path, experiment: Experiment, wanted: FloatArray, why: str, start: Ppm | None, limits: FloatArray | None = None
) -> Path:
    """Steps 1 to 6 of `allocator.constraints`.

    Parameters
    ----------
    path : ends at `wanted`.
    why : why that is wanted, for the reason.
    start : the shares to move from, None if there are none.
    limits : largest share of every arm by the guardrails it broke, shape (arms,); `start` keeps them. They go before the others.
    """
    rules = experiment.constraints
    target = _bounded(path, experiment, wanted)
    if limits is not None:
        target = to_shares(path.step("limit", under(limits, path.ppm)).ppm)
    path.target, path.reason = path.ppm, why
    if start is None:
        path.reason = f"first weights; {why}"
        return path
    largest = max(abs(to - at) for to, at in zip(path.target, start, strict=True))
    inside = _inside(start, rules, experiment.arm_ids.index(experiment.control))
    if inside and largest <= rules.dead_band * PPM:
        if "warm-up" in path.steps:
            return path.step("dead-band", start, why)
        held = f"held: the largest change, {_percent(largest / PPM)}, is within the dead-band {_percent(rules.dead_band)}"
        return path.step("dead-band", start, held)
    shares = to_shares(start)
    if not inside:
        least = least_shares(len(start), experiment.arm_ids.index(experiment.control), rules.reserved, rules.floor)
        shares = capped(lifted(shares, least), rules.cap)
        shares = to_shares(path.step("lift", under(limits, to_ppm(shares))).ppm)
    if largest > rules.max_shift * PPM:
        return path.step(
            "shift", to_ppm(limited(shares, target, rules.max_shift)), f"{why}; moved by at most {_percent(rules.max_shift)}"
        )
    return path.step("shift", to_ppm(limited(shares, target, rules.max_shift)), f"{why}; moved by {_percent(largest / PPM)}")


def start_of(experiment: Experiment, previous: Weights) -> Ppm | None:
    """The shares to move from: the previous ones, fitted to a changed list of arms; None if no arm with a share remains.

    New arms enter at the floor, and the others keep their proportions, so that no unit moves between them.
    """
    shares = {arm.id: arm.ppm for arm in previous.arms}
    kept = tuple(shares.get(arm, 0) for arm in experiment.arm_ids)
    if experiment.arm_ids == tuple(shares):
        return kept
    if not any(kept):
        return None
    floor, new = experiment.constraints.floor, [arm not in shares for arm in experiment.arm_ids]
    remaining = to_shares(kept)
    scaled = np.where(new, floor, remaining * ((1 - sum(new) * floor) / remaining.sum()))
    return to_ppm(lifted(scaled, floor))


def making_room(start: Ppm, new: Sequence[int], floor: float) -> FloatArray:
    """What is to be wanted for each of the arms `new` to get an even share, and for the others to keep their proportions.

    Parameters
    ----------
    start : the shares to move from.
    new : numbers of the arms; with all of them new, all is even.
    floor : which is applied to the result: without it proportions would change with every decision.
    """
    arms, shares = len(start), to_shares(start)
    others = np.ones(arms, dtype=bool)
    others[list(new)] = False
    rest = float(shares[others].sum())
    target = np.full(arms, 1 / arms)
    if rest > 0.0:
        target[others] = shares[others] * ((1 - len(new) / arms) / rest)
    above = np.maximum(target - floor, 0.0)
    total = float(above.sum())
    return above / total if total > 0.0 else np.full(arms, 1 / arms)


def _bounded(path: Path, experiment: Experiment, wanted: FloatArray) -> FloatArray:
    """Reserved share, floor and cap; those that are not in force are no step."""
    rules = experiment.constraints
    if rules.reserved > 0.0:
        wanted = with_reserved(wanted, experiment.arm_ids.index(experiment.control), rules.reserved, rules.floor)
        path.step("reserved", to_ppm(wanted))
    wanted = with_floor(wanted, rules.floor)
    path.step("floor", to_ppm(wanted))
    if rules.cap < 1.0:
        wanted = capped(wanted, rules.cap)
        path.step("cap", to_ppm(wanted))
    return wanted


def _inside(start: Ppm, rules: Constraints, control: int) -> bool:
    """Whether the shares to move from keep the bounds, as far as whole ppm can."""
    return (
        min(start) >= rules.floor * PPM - ROUNDED
        and start[control] >= rules.reserved * PPM - ROUNDED
        and max(start) <= rules.cap * PPM + ROUNDED
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
