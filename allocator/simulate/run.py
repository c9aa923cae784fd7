"""One run of an experiment in a world: T units in batches of B, a decision before each batch.

1. Decide on what has arrived: with production's own code, from the weights it published last.
2. Cut the batch where the truth changes and where a period ends; in each stretch draw how many units are of each segment, how
   many of them are held back, how many are served each arm (multinomial with the published shares), and their rewards.
3. Add up the true regret: the gap of every served arm to the arm that is best at that time, on the objective's true mean.

Units are those that take part: enrolment is not looked at. With Thompson's P(best) as weights and B = 1 this is Thompson
sampling; with B > 1 it is Thompson sampling with batched updates.

Randomness comes from the seed and the run's number alone, and the truth of a run from a stream of its own: run i has the same
truth under every policy, and the same result whoever computes it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, isfinite, nan

import numpy as np

from allocator.errors import ArgumentError
from allocator.experiment import Experiment
from allocator.metric_tree import node_of
from allocator.quadrature import FloatArray
from allocator.simulate.baselines import BASELINES
from allocator.simulate.choosing import Baseline, Chooser, InForce, Production
from allocator.simulate.draws import Draws, Stretch
from allocator.simulate.ledger import Ledger
from allocator.simulate.world import Epoch, IntArray, World

__all__ = ["Plan", "Trace", "run", "worth"]

POINTS = 200
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Plan:
    """How long a run is and what is noted of it.

    Parameters
    ----------
    horizon : T, units, ≥ 1.
    batch : B, units between two decisions, ≥ 1; the last batch may be shorter.
    seed : ≥ 0.
    points : about how many times the state is noted, evenly over the batches, ≥ 1.
    confidence : P(best) at which the leader counts as decided, in (0.5, 1).
    until_decided : whether a run ends there.
    """

    horizon: int
    batch: int
    seed: int = 0
    points: int = POINTS
    confidence: float = CONFIDENCE
    until_decided: bool = False

    def __post_init__(self) -> None:
        for name in ("horizon", "batch", "points"):
            if getattr(self, name) < 1:
                raise ArgumentError(name, getattr(self, name), "a whole number of at least 1")
        if self.seed < 0:
            raise ArgumentError("seed", self.seed, "a whole number of at least 0")
        if not 0.5 < self.confidence < 1.0:
            raise ArgumentError("confidence", self.confidence, "a probability above 0.5, below 1")

    @property
    def batches(self) -> int:
        """Number of batches."""
        return -(-self.horizon // self.batch)

    @property
    def noted(self) -> IntArray:
        """Batches after which the state is noted, ascending, the last one among them; shape (at most points,)."""
        every = np.linspace(0, self.batches, min(self.points, self.batches) + 1)[1:]
        return np.ceil(every).astype(np.int64)

    @property
    def steps(self) -> IntArray:
        """Units served by then."""
        return np.minimum(self.noted * self.batch, self.horizon)


@dataclass(frozen=True, slots=True)
class Trace:
    """What is noted of one run; arrays have an entry for each of `Plan.steps`.

    Parameters
    ----------
    regret : true regret so far, units of the objective. After a run has ended everything stays as it was.
    shares : shares after the decision at that point, shape (points, arms); of all segments together.
    best_share : share of units that are served the arm that is truly best for their segment at the time.
    right : share of units for whose segment the arm that would be recommended is truly the best; 0 or 1 without segments.
    decided_at : units served when the experiment's leader was first decided; inf if never, nan where nobody says.
    decided_right : `right` at that time.
    """

    regret: FloatArray
    shares: FloatArray
    best_share: FloatArray
    right: FloatArray
    decided_at: float
    decided_right: float


def worth(experiment: Experiment, means: FloatArray) -> FloatArray:
    """The objective's true value an arm, the larger the better, shape (..., arms).

    `means` has shape (..., arms, metrics), of the observed metrics before any cap; every unit has a value of each.
    """
    objective, indicators = node_of(experiment, experiment.objective), np.ones((*means.shape[:-1], len(experiment.reported)))
    value, _ = objective.at(np.concatenate([means, indicators], axis=-1))
    return -value if objective.metric.direction == "down" else value


def run(experiment: Experiment, world: World, plan: Plan, number: int = 0, baseline: str | None = None) -> Trace:
    """Run `number` of a simulation.

    Parameters
    ----------
    number : ≥ 0; runs of one seed are independent.
    baseline : a name in `BASELINES` in place of the experiment's policy, without its constraints.

    Raises
    ------
    ArgumentError : there is no such baseline.
    SpecError : see `decide`.
    """
    if baseline is not None and baseline not in BASELINES:
        raise ArgumentError("baseline", baseline, f"one of {', '.join(BASELINES)}")
    chooser: Chooser = Production(experiment, world.segments, plan.confidence)
    if baseline is not None:
        chooser = Baseline(experiment, world.segments, BASELINES[baseline])
    truth, units = (np.random.default_rng(np.random.SeedSequence(plan.seed, spawn_key=(number, part))) for part in range(2))
    return _Run(experiment, world, plan, chooser, units, world.epochs(truth, plan.horizon)).trace()


class _Run:
    """One run under way."""

    def __init__(
        self, experiment: Experiment, world: World, plan: Plan, chooser: Chooser, rng: np.random.Generator, epochs: list[Epoch]
    ) -> None:
        self.plan, self.chooser, self.rng, self.epochs = plan, chooser, rng, epochs
        self.step_s, self.period_steps = world.step_s, experiment.period_s / world.step_s
        self.segment_shares = np.array(world.shares)
        self.holdback, self.control = experiment.holdback, experiment.arm_ids.index(experiment.control)
        self.ledger = Ledger(experiment.arm_ids, len(experiment.columns))
        self.draws = Draws.of(experiment, world, plan.batch)
        worths = [worth(experiment, epoch.means) for epoch in epochs]
        self.gaps = [of_epoch.max(axis=1, keepdims=True) - of_epoch for of_epoch in worths]
        """An epoch: shape (segments, arms), ≥ 0, and 0 for the best arm."""
        self.starts = [epoch.start for epoch in epochs]
        self.regret = 0.0

    def trace(self) -> Trace:
        """Steps 1 to 3 of the module's docstring, batch after batch."""
        plan, notes = self.plan, _Notes(self.plan, self.segment_shares)
        in_force = self.chooser.choose(self.ledger.evidence(), 0.0)
        for batch in range(plan.batches):
            for stretch in self._stretches(batch):
                self._serve(stretch, in_force)
            self.ledger.arrive(batch)
            served = min((batch + 1) * plan.batch, plan.horizon)
            in_force = self.chooser.choose(self.ledger.evidence(), served * self.step_s)
            gaps = self.gaps[bisect_right(self.starts, served - 1) - 1]
            if notes.take(batch, served, self.regret, in_force, gaps):
                break
        return notes.trace()

    def _stretches(self, batch: int) -> Iterator[Stretch]:
        start, end = batch * self.plan.batch, min((batch + 1) * self.plan.batch, self.plan.horizon)
        while start < end:
            period = floor(start / self.period_steps)
            next_epoch = bisect_right(self.starts, start)
            until = self.starts[next_epoch] if next_epoch < len(self.starts) else end
            until = min(end, until, max(start + 1, ceil((period + 1) * self.period_steps)))
            yield Stretch(start, until, batch, period)
            start = until

    def _serve(self, stretch: Stretch, in_force: Sequence[InForce]) -> None:
        at = bisect_right(self.starts, stretch.start) - 1
        epoch, gaps = self.epochs[at], self.gaps[at]
        if stretch.start == epoch.start:
            for arm in epoch.replaced:
                self.ledger.forget(arm)
        of_segment = [stretch.end - stretch.start]
        if len(in_force) > 1:
            of_segment = self.rng.multinomial(of_segment[0], self.segment_shares).tolist()
        for segment, (units, served) in enumerate(zip(of_segment, in_force, strict=True)):
            if self.holdback:
                held = int(self.rng.binomial(units, self.holdback))
                self.regret += held * float(gaps[segment, self.control])
                units -= held  # noqa: PLW2901  those that are left
            counts = self.rng.multinomial(units, served.shares)
            self.regret += float(counts @ gaps[segment])
            self.draws.into(self.ledger, self.rng, epoch, stretch, segment, counts, served.weights)


class _Notes:
    """What becomes the trace of one run."""

    def __init__(self, plan: Plan, segment_shares: FloatArray) -> None:
        self.plan, self.segment_shares = plan, segment_shares
        self.due = plan.noted.tolist()
        self.found: list[tuple[float, FloatArray, float, float]] = []
        self.decided_at, self.decided_right = inf, nan

    def take(self, batch: int, served: int, regret: float, in_force: Sequence[InForce], gaps: FloatArray) -> bool:
        """Note the state after a batch where it is due. Returns whether the run ends here."""
        decided = in_force[0].decided
        if decided is None:
            self.decided_at = nan
        elif decided and self.decided_at == inf:
            self.decided_at, self.decided_right = float(served), self._right(in_force, gaps)
        ends = self.plan.until_decided and isfinite(self.decided_at)
        if batch + 1 == self.due[len(self.found)] or ends:
            shares = np.array([served.shares for served in in_force])
            best_share = float(self.segment_shares @ shares[np.arange(len(shares)), gaps.argmin(axis=1)])
            self.found.append((regret, self.segment_shares @ shares, best_share, self._right(in_force, gaps)))
        return ends

    def _right(self, in_force: Sequence[InForce], gaps: FloatArray) -> float:
        return float(self.segment_shares @ (gaps.argmin(axis=1) == [served.leader for served in in_force]))

    def trace(self) -> Trace:
        """The last state stands for all that were not reached."""
        rows = self.found + self.found[-1:] * (len(self.due) - len(self.found))
        regret, shares, best_share, right = (np.array(column) for column in zip(*rows, strict=True))
        return Trace(regret, shares, best_share, right, self.decided_at, self.decided_right)
