"""What a worker shows of itself: the web server's `View`, read from the app's state in memory."""

from __future__ import annotations

import logging
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from faust.types import TP

from allocator.experiment import Experiment
from streams.allocate.agent import AllocateAgent
from streams.allocate.totals import Totals
from streams.health import Checkups, ExperimentHealth, health_of
from streams.holdback import HoldbackState, read_holdback
from streams.join.agent import JoinAgent
from streams.join.outcomes import EXPOSURE_OUTCOMES, OUTCOMES, REWARD_OUTCOMES, label
from streams.metrics import Metrics
from streams.records import Change, Decision, Weights
from streams.web.view import ExperimentDetail, ExperimentSummary, HistoryPoint, StageRow, rows_of

if TYPE_CHECKING:
    from streams.app import AllocatorApp

__all__ = ["DecisionLog", "WorkerView"]

log = logging.getLogger(__name__)

JOIN, ALLOCATE = "join", "allocate"
"""The groups of agents by name."""

HOLDBACK_AGE_S = 5.0
DECISIONS_KEPT = 1000
"""Decisions kept in memory for each experiment."""


class DecisionLog:
    """The newest decisions of every experiment as a whole, oldest first."""

    def __init__(self) -> None:
        self.of: dict[str, deque[Decision]] = {}

    def take(self, record: Any) -> None:
        """Add one record of the decisions topic; a malformed one is logged and left out."""
        try:
            decision = msgspec.json.decode(record.value or b"", type=Decision)
        except (ValueError, RecursionError) as error:  # MsgspecError and UnicodeDecodeError are ValueErrors
            log.error("%s, offset %d: not a decision: %s", record.topic, record.offset, error)
            return
        if decision.segment is not None:
            return
        kept = self.of.setdefault(decision.experiment, deque(maxlen=DECISIONS_KEPT))
        if not kept or decision.version > kept[-1].version:
            kept.append(decision)


class WorkerView:
    """Implements `streams.web.view.View` over the app."""

    def __init__(self, app: AllocatorApp) -> None:
        self._app = app
        self._read: set[tuple[str, int]] = set()
        self._owned: set[str] = set()
        self._checkups = Checkups()
        self._holdbacks: dict[str, tuple[float, HoldbackState | None]] = {}
        """By experiment, with when they were read out."""

    def ready(self) -> tuple[bool, str]:
        return self._app.ready()

    def known(self, name: str) -> bool:
        return name in self._current()

    def experiments(self) -> list[ExperimentSummary]:
        app = self._app
        return [ExperimentSummary.of(spec, app.published.get(name)) for name, spec in sorted(self._current().items())]

    def _current(self) -> dict[str, Experiment]:
        """All but the archived: these have no weights, and their specs and changes stay on their topics."""
        return {name: spec for name, spec in self._app.specs.current.items() if spec.status != "archived"}

    def detail(self, name: str) -> ExperimentDetail | None:
        spec, agent = self._current().get(name), self._owner(name)
        if spec is None or agent is None:
            return None
        return self._detail(spec, agent)

    def owner_url(self, name: str) -> str | None:
        if not self.known(name):
            return None
        url = self._app.owner_url(name)
        return None if url == self._app.settings.url else url

    def decisions(self, name: str, limit: int) -> list[Decision]:
        return list(self._app.decision_log.of.get(name, ()))[: -limit - 1 : -1]

    def changes(self, name: str) -> list[Change]:
        return self._app.change_log.of.get(name, [])[::-1]

    def history(self, name: str) -> list[HistoryPoint]:
        return [HistoryPoint.of(decision) for decision in self._app.decision_log.of.get(name, ())]

    def health(self, name: str) -> ExperimentHealth | None:
        spec, agent, now = self._app.specs.current.get(name), self._owner(name), time.time()
        if spec is None or agent is None:
            return None
        return self._checkups.fresh(name, now) or self._checkups.take(self._health(spec, agent, now))

    def refresh(self, metrics: Metrics) -> None:
        """Bring the gauges that mirror state to the present."""
        intake = self._app.intake
        totals = [0] * OUTCOMES
        joins: dict[int, JoinAgent] = intake.agents(JOIN)
        for agent in joins.values():
            for counts in agent.fold.counts.values():
                totals = [a + b for a, b in zip(totals, counts, strict=True)]
        topics = self._app.settings.topics
        for topic, outcomes in ((topics.exposures, EXPOSURE_OUTCOMES), (topics.rewards, REWARD_OUTCOMES)):
            for outcome in outcomes:
                metrics.events.labels(topic, label(outcome).partition(".")[2]).set(totals[outcome])
        metrics.partitions_owned.labels(JOIN).set(len(joins))
        metrics.partitions_owned.labels(ALLOCATE).set(len(intake.agents(ALLOCATE)))
        if joins:
            metrics.restore_seconds.set(max(agent.ledger.restore_s for agent in joins.values()))
        self._refresh_sizes(metrics)
        self._refresh_lag(metrics)
        self._refresh_published(metrics)
        self._refresh_health(metrics)

    def _refresh_sizes(self, metrics: Metrics) -> None:
        app = self._app
        metrics.queue_bytes.set(app.intake.backlog.held_bytes)
        metrics.queue_bytes_max.set(app.intake.backlog.most_bytes)
        metrics.store_memory_bytes.set(app.store_memory.used_bytes)
        for group in (JOIN, ALLOCATE):
            sizes = [agent.ledger.store.size() for agent in app.intake.agents(group).values()]
            metrics.store_file_bytes.labels(group).set(sum(size.file_bytes for size in sizes))
            metrics.store_records.labels(group).set(sum(size.records for size in sizes))

    def _refresh_lag(self, metrics: Metrics) -> None:
        now, tasks = time.time(), self._app.intake.tasks
        read: set[tuple[str, int]] = set()
        for (_, partition), task in tasks.items():
            for topic in task.queues if task.running else ():
                applied = task.agent.ledger.checkpoint.applied.get(topic, 0)
                highwater = self._app.consumer.highwater(TP(topic, partition))
                behind = highwater is not None and highwater > applied
                metrics.lag_records.labels(topic, str(partition)).set(highwater - applied if behind else 0)
                if isinstance(task.agent, JoinAgent):
                    newest = max(task.agent.fold.exposures_mark, task.agent.fold.rewards_mark)
                    metrics.lag_seconds.labels(topic, str(partition)).set(now - newest if behind and newest else 0.0)
                read.add((topic, partition))
        for topic, partition in self._read - read:
            metrics.forget_partition(topic, partition)
        self._read = read

    def _refresh_published(self, metrics: Metrics) -> None:
        owned: set[str] = set()
        for agent in self._app.intake.agents(ALLOCATE).values():
            for name, weights in agent.weights.items():
                if weights.segment is not None:  # few labels: segments may be many
                    continue
                metrics.published(name, weights.version, partial(_age_s, weights))
                owned.add(name)
        for name in self._owned - owned:
            metrics.forget_experiment(name)
        self._owned = owned

    def _refresh_health(self, metrics: Metrics) -> None:
        """Of one experiment at a time."""
        name = self._checkups.due(sorted(self._owned), time.time())
        if name is not None and (found := self.health(name)) is not None:
            metrics.checked(name, {check.name: check.state for check in found.checks})

    def _health(self, spec: Experiment, agent: AllocateAgent, now: float) -> ExperimentHealth:
        name = spec.experiment
        return health_of(spec, agent.totals[name], self._app.decision_log.of.get(name, ()), agent.weights.get(name), now)

    def _owner(self, name: str) -> AllocateAgent | None:
        agents = self._app.intake.agents(ALLOCATE).values()
        return next((agent for agent in agents if agent.owns(name) and name in agent.decided), None)

    def _detail(self, spec: Experiment, agent: AllocateAgent) -> ExperimentDetail:
        name, partials = spec.experiment, self._app.settings.topics.partials
        decision, totals, weights = agent.decided[name], agent.totals[name], agent.weights.get(name)
        arms, metrics = rows_of(decision.arms)
        counters = totals.counters()
        highwater = self._app.consumer.highwater(TP(partials, agent.ledger.partition)) or 0
        return ExperimentDetail(
            name=name,
            spec=msgspec.to_builtins(msgspec.structs.replace(spec, earlier=())),
            status=spec.status,
            version=weights.version if weights else 0,
            ts=weights.ts if weights else None,
            valid_until=weights.valid_until if weights else None,
            reason=decision.weights.reason,
            arms=arms,
            metrics=metrics,
            counters=counters,
            events_read=sum(counters.values()),
            lag_records=max(0, highwater - agent.ledger.checkpoint.applied.get(partials, 0)),
            lag_seconds=time.time() - totals.event_ts if totals.event_ts else None,
            partitions=len(totals.inputs()),
            stage=StageRow.of_step(spec, decision.ramp),
            breaches=decision.weights.standing.breaches,
            holdback=self._holdback_of(spec, totals),
        )

    def _holdback_of(self, spec: Experiment, totals: Totals) -> HoldbackState | None:
        """Read out now and then: it changes with the periods, and a page asks every second."""
        now = time.time()
        at, state = self._holdbacks.get(spec.experiment, (0.0, None))
        if now - at > HOLDBACK_AGE_S:
            state = read_holdback(spec, totals, now)
            self._holdbacks[spec.experiment] = now, state
        return state


def _age_s(weights: Weights) -> float:
    return time.time() - weights.ts
