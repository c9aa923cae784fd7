"""The health of experiments: what the sums, the decisions and the weights say, judged by `allocator.health`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from allocator.experiment import Experiment
from allocator.health import HealthCheck, Publication, Signs, State, health, worst
from allocator.standing import Standing
from allocator.weights import Weights
from streams.allocate.totals import Totals
from streams.records import Decision

__all__ = ["Checkups", "ExperimentHealth", "health_of", "publication_of", "signs_of"]

FRESH_S = 5.0
"""How long an answer is given again: a few milliseconds of computing, for whoever looks each second."""
DUE_S = 10.0
"""How old the health of an experiment that nobody asks for may become."""


class ExperimentHealth(Struct, frozen=True, kw_only=True):
    """All checks of one experiment, and the worst state among them; `ts` is when, in seconds since the epoch."""

    name: str
    state: State
    ts: float
    checks: list[HealthCheck]


def publication_of(decision: Decision) -> Publication:
    """What health needs of a decision."""
    ppm = {arm.id: arm.ppm for arm in decision.arms}
    return Publication(decision.version, decision.ts, ppm, decision.reason, held="held" in decision.steps)


def signs_of(experiment: Experiment, totals: Totals, decisions: Iterable[Decision], weights: Weights | None, now: float) -> Signs:
    """What is known of an experiment, whose decisions (as a whole) come oldest first."""
    return Signs(
        experiment=experiment,
        evidence=totals.training(experiment),
        counters=totals.counters(),
        versions=totals.versions(),
        publications=[publication_of(decision) for decision in decisions],
        now=now,
        event_ts=totals.event_ts,
        valid_until=weights.valid_until if weights else None,
        standing=weights.standing if weights else Standing(),
    )


def health_of(
    experiment: Experiment, totals: Totals, decisions: Iterable[Decision], weights: Weights | None, now: float
) -> ExperimentHealth:
    """The checks of an experiment."""
    checks = health(signs_of(experiment, totals, decisions, weights, now))
    return ExperimentHealth(name=experiment.experiment, state=worst(checks), ts=now, checks=list(checks))


class Checkups:
    """The newest health of each experiment a worker owns."""

    def __init__(self) -> None:
        self._newest: dict[str, ExperimentHealth] = {}

    def take(self, found: ExperimentHealth) -> ExperimentHealth:
        """Remember."""
        self._newest[found.name] = found
        return found

    def fresh(self, name: str, now: float) -> ExperimentHealth | None:
        """What was found within `FRESH_S`."""
        found = self._newest.get(name)
        return found if found is not None and 0 <= now - found.ts < FRESH_S else None

    def due(self, names: Sequence[str], now: float) -> str | None:
        """Whose health was looked at longest ago, if that is `DUE_S`; others are forgotten. One at a time: they share a loop."""
        for gone in self._newest.keys() - set(names):
            del self._newest[gone]
        ages = {name: now - self._newest[name].ts if name in self._newest else DUE_S for name in names}
        oldest = max(ages, key=lambda name: ages[name], default=None)
        return oldest if oldest is not None and not 0 <= ages[oldest] < DUE_S else None
