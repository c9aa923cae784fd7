"""A simulated world with people in it, whose truth is known: who comes when, and what each would do under every arm. Pure.

    mean of a metric = base of the segment × (1 + lift of arm and segment + novelty of the arm × exp(-day / fade_days))

Lifts are relative to control, which has none. A binary metric is 1 with that probability; a value is that mean times a gamma
variate of mean 1, so that it is positive and its coefficient of variation is the same under every arm. What chance has in it, a
unit draws once, before it is assigned: its outcome under one arm and under another share their luck, and all of it follows from
the seed.

`allocator.simulate.World` is for the policies' sake: steps, normal values, truths drawn from priors. This one is for the sake of
what surrounds them: time in days, people in segments, several metrics whose effects pull in different directions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from allocator.quadrature import FloatArray

__all__ = ["DAY_S", "Person", "Truth", "World"]

DAY_S = 86400.0
BLOCK = 4096
"""People drawn together."""


@dataclass(frozen=True, slots=True)
class Truth:
    """One metric.

    Parameters
    ----------
    kind : ``binary``, or ``value`` for a positive number.
    base : mean under control, by segment; natural units.
    cv : standard deviation of a value over its mean; unused for a binary metric.
    lift : arm → segment → relative change of the mean; what is not named is 0.
    novelty : arm → relative change on the first day, which fades.
    places : decimal places that values are rounded to.
    """

    kind: Literal["binary", "value"]
    base: Mapping[str, float]
    cv: float = 0.0
    lift: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    novelty: Mapping[str, float] = field(default_factory=dict)
    places: int = 2


@dataclass(frozen=True, slots=True)
class Person:
    """One unit: when it comes, in days since the beginning, its segment, its luck by metric, how long its rewards take.

    `traits` is what is known of it before it is assigned.
    """

    number: int
    day: float
    segment: str
    luck: tuple[float, ...]
    delay_days: float
    traits: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class World:
    """People, and what is true of them.

    Parameters
    ----------
    metrics : by name.
    segments : their shares of the people, sum 1.
    people : how many come, evenly over `days`.
    days : how long it lasts.
    fade_days : in which what is new loses all but 1/e of its charm; infinite: it keeps it.
    traits : name → segment → least and largest value, drawn evenly: what gives a person's segment away.
    delay_days : mean of the exponential time from an exposure to its rewards; none is longer than `DELAYS_MAX` times that.
    """

    metrics: Mapping[str, Truth]
    segments: Mapping[str, float]
    people: int
    days: float
    fade_days: float = math.inf
    delay_days: float = 0.02
    traits: Mapping[str, Mapping[str, tuple[int, int]]] = field(default_factory=dict)

    DELAYS_MAX = 5.0

    def mean(self, metric: str, arm: str, segment: str, day: float) -> float:
        """Of the metric, of a person of the segment who is served the arm on that day."""
        truth = self.metrics[metric]
        charm = 0.0 if math.isinf(day) else math.exp(-day / self.fade_days)
        lift = truth.lift.get(arm, {}).get(segment, 0.0) + truth.novelty.get(arm, 0.0) * charm
        return truth.base[segment] * (1.0 + lift)

    def average(self, metric: str, arm: str, segment: str | None = None, day: float | None = None) -> float:
        """The mean over all people, or those of a segment; over the whole time, or on one day (`inf` is when nothing is new)."""
        if segment is None:
            return sum(share * self.average(metric, arm, name, day) for name, share in self.segments.items())
        if day is not None:
            return self.mean(metric, arm, segment, day)
        if math.isinf(self.fade_days):
            return self.mean(metric, arm, segment, 0.0)
        lasting = self.mean(metric, arm, segment, math.inf)
        share = self.fade_days / self.days * (1.0 - math.exp(-self.days / self.fade_days))
        return lasting + share * (self.mean(metric, arm, segment, 0.0) - lasting)

    def effect(self, metric: str, arm: str, control: str, segment: str | None = None, day: float | None = None) -> float:
        """`average` under the arm less that under control."""
        return self.average(metric, arm, segment, day) - self.average(metric, control, segment, day)

    def outcome(self, metric: str, place: int, arm: str, person: Person) -> float:
        """What the person does under the arm; `place` is that of the metric."""
        truth, mean = self.metrics[metric], self.mean(metric, arm, person.segment, person.day)
        luck = person.luck[place]
        return float(luck < mean) if truth.kind == "binary" else round(mean * luck, truth.places)

    def crowd(self, seed: int) -> Iterator[Person]:
        """Everybody, in the order in which they come."""
        rng = np.random.default_rng(seed)
        names, shares = list(self.segments), np.array(list(self.segments.values()))
        for first in range(0, self.people, BLOCK):
            size = min(BLOCK, self.people - first)
            segments = rng.choice(len(names), size=size, p=shares)
            luck = np.stack([_luck(rng, truth, size) for truth in self.metrics.values()], axis=1)
            delays = np.minimum(rng.exponential(self.delay_days, size), self.DELAYS_MAX * self.delay_days)
            traits = self._traits(rng, [names[segment] for segment in segments])
            rows = zip(segments.tolist(), luck.tolist(), delays.tolist(), traits, strict=True)
            for i, (segment, own, delay, known) in enumerate(rows, start=first):
                yield Person(i, self.days * i / self.people, names[segment], tuple(own), delay, known)

    def _traits(self, rng: np.random.Generator, segments: Sequence[str]) -> list[dict[str, int]]:
        """One each, of people of these segments."""
        found: list[dict[str, int]] = [{} for _ in segments]
        for trait, ranges in self.traits.items():
            low, high = np.array([ranges[segment] for segment in segments]).T
            for known, value in zip(found, rng.integers(low, high + 1).tolist(), strict=True):
                known[trait] = value
        return found


def _luck(rng: np.random.Generator, truth: Truth, size: int) -> FloatArray:
    """Uniform, or gamma of mean 1 and standard deviation `cv`."""
    return rng.random(size) if truth.kind == "binary" else rng.gamma(truth.cv**-2, truth.cv**2, size)
