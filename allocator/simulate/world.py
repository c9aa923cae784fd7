"""A world to try an experiment in: what every arm is truly worth, when that changes, and how late rewards come.

A step is one unit that is served an arm; `step_s` is the time from one to the next. A metric's rewards follow its type in the
spec: binary Bernoulli(mean), value normal(mean, sd²), count Poisson(mean), independent over units and metrics.

- Drift: from step `start` on a stage holds, until the next one does.
- Retirement: in each step, with probability `retire`, one arm drawn evenly is replaced by a new one of the same name, whose
  means are drawn from their priors anew. It starts without data, as an arm that is new to a spec does. Chapelle & Li (2011),
  §3 and Table 1.
- Delay: a reward arrives so many steps after its exposure, and is counted only then.
- Segments: a unit is of each with the probability that is the segment's share. What is said of a segment holds in it alone; what
  is not said of it is as in the rest of the experiment, the same draw where it is drawn.

`epochs` lays out one run's truth beforehand: it does not depend on what is served. Nothing here knows a policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from allocator.quadrature import FloatArray

__all__ = ["Arms", "Delay", "Epoch", "IntArray", "Prior", "Reward", "Stage", "World"]

IntArray = npt.NDArray[np.int64]
Family = Literal["beta", "normal", "gamma"]


@dataclass(frozen=True, slots=True)
class Prior:
    """What a mean is drawn from: beta(a, b), normal(mean a, sd b), or gamma(shape a, mean b)."""

    family: Family
    a: float
    b: float

    def draw(self, rng: np.random.Generator) -> float:
        """One mean."""
        if self.family == "beta":
            return float(rng.beta(self.a, self.b))
        if self.family == "normal":
            return float(rng.normal(self.a, self.b))
        return float(rng.gamma(self.a, self.b / self.a))


@dataclass(frozen=True, slots=True)
class Delay:
    """Steps from an exposure to its reward.

    Parameters
    ----------
    shape : fixed; exponential with mean `steps`; lognormal with median `steps`.
    steps : ≥ 0.
    sigma : sd of the logarithm, lognormal only.
    """

    shape: Literal["fixed", "exponential", "lognormal"]
    steps: float
    sigma: float = 0.0

    @property
    def none(self) -> bool:
        """Whether a reward is there with its exposure."""
        return self.steps == 0.0

    def draw(self, rng: np.random.Generator, size: int) -> FloatArray:
        """Shape (size,), ≥ 0; not rounded."""
        if self.shape == "exponential":
            return rng.exponential(self.steps, size)
        if self.shape == "lognormal":
            return np.asarray(self.steps * rng.lognormal(0.0, self.sigma, size))
        return np.full(size, self.steps)


@dataclass(frozen=True, slots=True)
class Reward:
    """One metric of one arm.

    Parameters
    ----------
    mean : natural units, or what it is drawn from in each run.
    sd : of a value metric, natural units; unused otherwise.
    delay : from the exposure.
    """

    mean: float | Prior
    sd: float = 0.0
    delay: Delay = Delay("fixed", 0.0)

    def draw(self, rng: np.random.Generator) -> float:
        """A mean for one run."""
        return self.mean.draw(rng) if isinstance(self.mean, Prior) else self.mean


Arms = tuple[tuple[Reward, ...], ...]
"""By arm and metric."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What holds from step `start` on. `rewards` by segment, arm and metric, in the orders of the world and of the spec."""

    start: int
    rewards: tuple[Arms, ...]


@dataclass(frozen=True, slots=True)
class Epoch:
    """A stretch of one run in which the truth stands still.

    Parameters
    ----------
    start : first step.
    means, sds : shape (segments, arms, metrics), natural units.
    replaced : arms, by place, that are new since this step.
    stage : the world's stage, for the delays.
    instant : whether no reward is delayed.
    """

    start: int
    means: FloatArray
    sds: FloatArray
    replaced: tuple[int, ...]
    stage: Stage
    instant: bool


@dataclass(frozen=True, slots=True)
class World:
    """The truth behind an experiment; `load_world` makes one for a spec.

    Parameters
    ----------
    stages : ascending; the first starts at step 0.
    segments : names as the join counts them, the first being the rest of the experiment: ``other``, or nothing where the spec
        declares no segment.
    shares : of the segments, each in [0, 1], sum 1.
    retire : probability that in a step one arm retires, in [0, 1).
    step_s : seconds between two units, > 0.
    """

    stages: tuple[Stage, ...]
    segments: tuple[str, ...] = ("",)
    shares: tuple[float, ...] = (1.0,)
    retire: float = 0.0
    step_s: float = 1.0

    def epochs(self, rng: np.random.Generator, horizon: int) -> list[Epoch]:
        """One run's truth over `horizon` steps, in order of time. The first epoch starts at 0."""
        first = self.stages[0]
        found = [_epoch(0, _means(rng, first), (), first)]
        for step, stage, arm in self._changes(rng, horizon):
            before = found[-1]
            means = _means(rng, stage, before, arm)
            replaced = () if arm is None else (arm,)
            if step == before.start:
                found.pop()
                replaced = tuple(sorted({*before.replaced, *replaced}))
            found.append(_epoch(step, means, replaced, stage))
        return found

    def _changes(self, rng: np.random.Generator, horizon: int) -> list[tuple[int, Stage, int | None]]:
        """(step, stage from then on, arm that retires or None for a change of stage), a stage before retirements of its step."""
        steps = _retirements(rng, self.retire, horizon)
        arms = rng.integers(len(self.stages[0].rewards[0]), size=len(steps))
        retirements = [(int(step), int(arm)) for step, arm in zip(steps, arms, strict=True)]
        changes: list[tuple[int, Stage, int | None]] = [(s.start, s, None) for s in self.stages[1:] if s.start < horizon]
        for step, arm in retirements:
            changes.append((step, next(s for s in reversed(self.stages) if s.start <= step), arm))
        return sorted(changes, key=lambda change: (change[0], change[2] is not None))


def _means(rng: np.random.Generator, stage: Stage, before: Epoch | None = None, new_arm: int | None = None) -> FloatArray:
    """Means of a stage: those of the epoch before where it says the same, unless the arm is new; else drawn."""
    means = np.empty(_shape(stage))
    for at in np.ndindex(means.shape):
        reward, rest = _at(stage, at), (0, *at[1:])
        if before is not None and at[1] != new_arm and reward.mean == _at(before.stage, at).mean:
            means[at] = before.means[at]
        elif at[0] and reward.mean == _at(stage, rest).mean:
            means[at] = means[rest]
        else:
            means[at] = reward.draw(rng)
    return means


def _epoch(start: int, means: FloatArray, replaced: tuple[int, ...], stage: Stage) -> Epoch:
    rewards = {at: _at(stage, at) for at in np.ndindex(means.shape)}
    sds = np.array([reward.sd for reward in rewards.values()]).reshape(means.shape)
    return Epoch(start, means, sds, replaced, stage, all(reward.delay.none for reward in rewards.values()))


def _shape(stage: Stage) -> tuple[int, int, int]:
    """Segments, arms, metrics."""
    return len(stage.rewards), len(stage.rewards[0]), len(stage.rewards[0][0])


def _at(stage: Stage, place: tuple[int, ...]) -> Reward:
    segment, arm, metric = place
    return stage.rewards[segment][arm][metric]


def _retirements(rng: np.random.Generator, rate: float, horizon: int) -> Sequence[int]:
    """Steps in [1, horizon) with a retirement, each with probability `rate`."""
    if rate == 0.0:
        return ()
    steps: list[int] = []
    at = 0
    while True:
        ahead = at + np.cumsum(rng.geometric(rate, size=1 + int(1.1 * rate * horizon)))
        steps.extend(int(step) for step in ahead if step < horizon)
        at = int(ahead[-1])
        if at >= horizon:
            return steps
