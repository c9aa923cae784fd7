"""What a scenario is: a world, the experiments that are run in it, and what each of them ought to find out there. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from allocator.weights import PPM, Weights
from streams.demo.scenarios.world import World
from streams.demo.summary import State
from streams.report import Report

__all__ = ["Finding", "Found", "Scenario", "Served"]


@dataclass(frozen=True, slots=True)
class Served:
    """What the routers did with one experiment's people, by the player's own books.

    Parameters
    ----------
    arms : people an arm whose data train the allocation.
    held_back : people in the holdback.
    gain : metric → what the people of `arms` do on average beyond what they would under control, in truth.
    """

    arms: Mapping[str, int]
    held_back: int
    gain: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Found:
    """What the allocator came to in one experiment.

    Parameters
    ----------
    weights : the last ones, by segment; those of the whole experiment under None.
    state : what the worker says of it.
    report : that of `allocator report`.
    """

    served: Served
    weights: Mapping[str | None, Weights]
    state: State
    report: Report

    def share(self, arm: str, segment: str | None = None) -> float:
        """Of the arm, in [0, 1], in the segment's own weights."""
        return next(a.ppm for a in self.weights[segment].arms if a.id == arm) / PPM

    def leader(self, segment: str | None = None) -> str:
        """The arm with the largest share."""
        return max(self.weights[segment].arms, key=lambda arm: arm.ppm).id


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was to be found out: what is true, what was found, and whether that is right."""

    question: str
    truth: str
    found: str
    right: bool


@dataclass(frozen=True, slots=True)
class Scenario:
    """A story that the demo can play.

    Parameters
    ----------
    name, title : what it is called, and what happens in it in one sentence.
    world : the truth.
    specs : of the experiments, as their owners would write them. Each has people of its own, who are the same in all.
    rate : people a second.
    judge : findings, from what was found in each experiment by name.
    """

    name: str
    title: str
    world: World
    specs: Sequence[Mapping[str, Any]]
    rate: float
    judge: Callable[[World, Mapping[str, Found]], list[Finding]]

    @property
    def experiments(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(spec["experiment"] for spec in self.specs)
