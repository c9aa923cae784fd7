"""One run of an experiment in a world: T units in batches of B, a decision before each batch.

1. Decide on what has arrived: the same `decide` as in production, with the weights it published last.
2. Cut the batch where the truth changes and where a period ends; in each stretch draw how many units are held back, how many are
   served each arm (multinomial with the published shares), and their rewards.
3. Add up the true regret: the gap of every served arm to the arm that is best at that time, on the objective's true mean.

Units are those that take part: enrolment is not looked at. With Thompson's P(best) as weights and B = 1 this is Thompson
sampling; with B > 1 it is Thompson sampling with batched updates.

Randomness comes from the seed and the run's number alone, and the truth of a run from a stream of its own: run i has the same
truth under every policy, and the same result whoever computes it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor, inf, isfinite, isnan, nan

import numpy as np

from allocator.errors import ArgumentError
from allocator.experiment import Experiment
from allocator.objective import Objective
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
    shares : shares after the decision at that point, shape (points, arms).
    best : the arm, by place, that is truly best then.
    leader : the arm that would be recommended then.
    decided_at : units served when the leader was first decided; inf if never, nan where nobody says how sure it is.
    decided_right : whether it was truly the best at that time.
    """

    regret: FloatArray
    shares: FloatArray
    best: IntArray
    leader: IntArray
    decided_at: float
    decided_right: bool


def worth(objective: Objective, means: FloatArray) -> FloatArray:
    """The objective's true value an arm, the larger the better, shape (arms,). `means` has shape (arms, metrics)."""
    value = means[:, objective.index]
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
    chooser = Production(experiment) if baseline is None else Baseline(experiment, BASELINES[baseline])
    truth, units = (np.random.default_rng(np.random.SeedSequence(plan.seed, spawn_key=(number, part))) for part in range(2))
    return _Run(experiment, world, plan, chooser, units, world.epochs(truth, plan.horizon)).trace()


class _Run:
    """One run under way."""

    def __init__(
        self, experiment: Experiment, world: World, plan: Plan, chooser: Chooser, rng: np.random.Generator, epochs: list[Epoch]
    ) -> None:
        self.plan, self.chooser, self.rng, self.epochs = plan, chooser, rng, epochs
        self.step_s, self.period_steps = world.step_s, experiment.period_s / world.step_s
        self.holdback, self.control = experiment.holdback, experiment.arm_ids.index(experiment.control)
        self.ledger = Ledger(experiment.arm_ids, len(experiment.metrics))
        self.draws = Draws.of(experiment, plan.batch, world.step_s)
        objective = Objective.of(experiment)
        self.worths = [worth(objective, epoch.means) for epoch in epochs]
        self.bests = [int(np.argmax(worths)) for worths in self.worths]
        self.gaps = [float(worths.max()) - worths for worths in self.worths]
        self.starts = [epoch.start for epoch in epochs]
        self.regret = 0.0

    def trace(self) -> Trace:
        """Steps 1 to 3 of the module's docstring, batch after batch."""
        plan, notes = self.plan, _Notes(self.plan)
        in_force = self.chooser.choose(self.ledger.evidence(), 0.0)
        for batch in range(plan.batches):
            for stretch in self._stretches(batch):
                self._serve(stretch, in_force)
            self.ledger.arrive(batch)
            served = min((batch + 1) * plan.batch, plan.horizon)
            in_force = self.chooser.choose(self.ledger.evidence(), served * self.step_s)
            truly = self.bests[bisect_right(self.starts, served - 1) - 1]
            if notes.take(batch, served, self.regret, in_force, truly):
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

    def _serve(self, stretch: Stretch, in_force: InForce) -> None:
        at = bisect_right(self.starts, stretch.start) - 1
        epoch, gaps = self.epochs[at], self.gaps[at]
        if stretch.start == epoch.start:
            for arm in epoch.replaced:
                self.ledger.forget(arm)
        units = stretch.end - stretch.start
        if self.holdback:
            held = int(self.rng.binomial(units, self.holdback))
            self.regret += held * float(gaps[self.control])
            units -= held
        counts = self.rng.multinomial(units, in_force.shares)
        self.regret += float(counts @ gaps)
        self.draws.into(self.ledger, self.rng, epoch, stretch, counts, in_force.weights)


class _Notes:
    """What becomes the trace of one run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.due = plan.noted.tolist()
        self.found: list[tuple[float, FloatArray, int, int]] = []
        self.decided_at, self.decided_right = inf, False

    def take(self, batch: int, served: int, regret: float, in_force: InForce, best: int) -> bool:
        """Note the state after a batch where it is due. Returns whether the run ends here."""
        if isnan(in_force.sure):
            self.decided_at = nan
        elif self.decided_at == inf and in_force.sure >= self.plan.confidence:
            self.decided_at, self.decided_right = float(served), in_force.leader == best
        ends = self.plan.until_decided and isfinite(self.decided_at)
        if batch + 1 == self.due[len(self.found)] or ends:
            self.found.append((regret, in_force.shares, best, in_force.leader))
        return ends

    def trace(self) -> Trace:
        """The last state stands for all that were not reached."""
        rows = self.found + self.found[-1:] * (len(self.due) - len(self.found))
        regret, shares, best, leader = zip(*rows, strict=True)
        return Trace(
            regret=np.array(regret),
            shares=np.array(shares),
            best=np.array(best, dtype=np.int64),
            leader=np.array(leader, dtype=np.int64),
            decided_at=self.decided_at,
            decided_right=self.decided_right,
        )
