"""The allocate agent of one partition of the partials topic: it owns the experiments whose names hash there.

A step is: partials summed → decided, for each experiment that is due → committed together with the weights and the decisions.
An experiment is due when its data or spec changed and `publish_interval` has passed since it was last decided, when its lease is
to be renewed, when its schedule starts or ends, or when the stage it is in has lasted as long as it must.

Versions never go back and never fork, whoever decides
1. The ledger is open: the former owner is fenced, so whatever it still sends is not committed.
2. The last version of an experiment is in the ledger, for it is committed with the weights. Where it is not (a new experiment, a
   ledger that was lost), read the weights topic to its end first.
3. Decide only when every partial that the last version was decided on has been read again: a lost ledger begins with none.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import msgspec

from allocator.decide import Decision as PureDecision
from allocator.decide import decide_all, renew_at, slices_of
from allocator.experiment import Experiment
from allocator.schedule import next_turn
from allocator.stages import opens_at
from allocator.weights import Weights, slice_key
from streams.allocate.totals import Totals
from streams.metrics import Metrics
from streams.partitioning import partition_of
from streams.queues import SourceQueue
from streams.records import Decision, Partial, encode
from streams.specs import Specs
from streams.state import Ledger, Output
from streams.topics import Topics
from streams.turns import Turn

__all__ = ["AllocateAgent", "AllocateSettings"]

log = logging.getLogger(__name__)

BEHIND_PAUSE_S = 0.05
PARTIAL_PREFIX = b"partial|"
WEIGHTS_PREFIX = b"weights|"
LINGER_MAX_S = 0.25
"""Partials are summed, and seen on the dashboard, after this at the latest."""

decode_partial = msgspec.json.Decoder(Partial).decode
decode_weights = msgspec.json.Decoder(Weights).decode


@dataclass(frozen=True, slots=True)
class AllocateSettings:
    """What all allocate agents of a worker share. `partitions` counts those of every topic written or owned."""

    topics: Topics
    partitions: Mapping[str, int]


class AllocateAgent:
    """State and steps of one partition.

    `published` is the weights topic as a table, which `settle` awaits the end of; `at_end(topic, partition, offset)` says whether
    nothing is left to fetch from there on.
    """

    def __init__(
        self,
        ledger: Ledger,
        settings: AllocateSettings,
        specs: Specs,
        published: Mapping[str, Weights],
        settle: Callable[[], Awaitable[None]],
        at_end: Callable[[str, int, int], bool],
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.ledger = ledger
        self.totals: dict[str, Totals] = {}
        self.weights: dict[str, Weights] = {}
        """Last published, by `slice_key` of experiment and segment."""
        self.decided: dict[str, PureDecision] = {}
        """Last decided, by experiment as a whole; not every decision is published."""
        self._settings, self._specs, self._published = settings, specs, published
        self._settle, self._at_end = settle, at_end
        self._metrics, self._clock = metrics, clock
        self._caught_up = False
        self._settled: set[str] = set()
        self._pending: set[str] = set()
        self._next_at: dict[str, float] = {}
        self._gate_at: dict[str, float] = {}
        """When the gate of the stage may open although nothing changes; infinite where it was asked since."""
        self._committed_at = 0.0
        self._specs_seen = -1

    def restore(self) -> None:
        for _, value in self.ledger.store.scan(PARTIAL_PREFIX):
            partial = decode_partial(value)
            self.totals.setdefault(partial.experiment, Totals()).replace(partial)
        for key, value in self.ledger.store.scan(WEIGHTS_PREFIX):
            self.weights[key[len(WEIGHTS_PREFIX) :].decode()] = decode_weights(value)

    async def step(self, queues: Mapping[str, SourceQueue]) -> float | None:
        topic = self._settings.topics.partials
        queue = queues[topic]
        if queue.batches and (wait_s := self._linger()):
            return wait_s
        keys: list[bytes] = []
        values: list[bytes | None] = []
        outputs: list[Output] = []
        read_to, turn = queue.next, Turn()  # more may come into the queue while others have their turn
        applied = {topic: read_to} if queue.batches else {}
        for batch in queue.take(len(queue.batches)):
            self._sum(batch.payload, keys, values)
            await turn.over()
        self._take_specs(keys, values, outputs)
        if new := {experiment.experiment for experiment in self.owned()} - self.weights.keys() - self._settled:
            await self._settle()
            self._settled |= new
        self._caught_up = self._caught_up or self._at_end(topic, self.ledger.partition, read_to)
        now = self._clock()
        for experiment in list(self.owned()):
            if self._due_at(experiment) <= now and not self._behind(experiment):
                self._decide(experiment, now, keys, values, outputs)
                await turn.over()
        if applied or outputs:
            await self.ledger.commit(applied, keys, values, outputs)
            self._committed_at = self._clock()
        now = self._clock()
        pauses = (BEHIND_PAUSE_S if self._behind(e) else max(0.001, self._due_at(e) - now) for e in self.owned())
        return min(pauses, default=None)

    def _linger(self) -> float:
        """Seconds that new partials can wait: until an experiment may be decided again they are of no use, and share a commit."""
        now = self._clock()
        if not self._caught_up or self._specs.changes != self._specs_seen:
            return 0.0
        earliest = min((self._next_at.get(experiment.experiment, 0.0) for experiment in self.owned()), default=0.0)
        return max(0.0, min(earliest, self._committed_at + LINGER_MAX_S) - now)

    def owned(self) -> Iterator[Experiment]:
        """The experiments this partition decides for: all of its own that have weights at all."""
        return (e for name, e in self._specs.current.items() if self.owns(name) and e.status != "archived")

    def owns(self, name: str) -> bool:
        """Whether this partition decides for the experiment."""
        return partition_of(name, self._settings.partitions[self._settings.topics.partials]) == self.ledger.partition

    # -- steps -----------------------------------------------------------------------------------------------

    def _sum(self, records: list[Any], keys: list[bytes], values: list[bytes | None]) -> None:
        """Replace what is older; only that is committed."""
        for record in records:
            if record.value is None:
                continue
            partial = decode_partial(record.value)
            if self.totals.setdefault(partial.experiment, Totals()).replace(partial):
                keys.append(PARTIAL_PREFIX + record.key)
                values.append(record.value)
                self._pending.add(partial.experiment)

    def _take_specs(self, keys: list[bytes], values: list[bytes | None], outputs: list[Output]) -> None:
        """A changed spec is a reason to decide; a removed or archived one takes its weights with it."""
        if self._specs.changes == self._specs_seen:
            return
        self._specs_seen = self._specs.changes
        self._pending.update(self._specs.current)
        published = [experiment for experiment in self._specs.current.values() if experiment.status != "archived"]
        wanted = {slice_key(e.experiment, segment) for e in published for segment in slices_of(e)}
        for key in self.weights.keys() - wanted:
            del self.weights[key]
            self.decided.pop(key, None)
            keys.append(WEIGHTS_PREFIX + key.encode())
            values.append(None)
            outputs.append(self._output(self._settings.topics.weights, key, None))

    def _due_at(self, experiment: Experiment) -> float:
        name = experiment.experiment
        earliest = self._next_at.get(name, 0.0)
        previous = self._previous(experiment)
        if name in self._pending or len(previous) < len(slices_of(experiment)):
            return earliest
        turn = next_turn(experiment.schedule, min(weights.ts for weights in previous.values()))
        renewed_at = min(renew_at(experiment, weights) for weights in previous.values())
        return max(earliest, min(turn, renewed_at, self._gate_at.get(name, inf)))

    def _previous(self, experiment: Experiment) -> dict[str | None, Weights]:
        """The newest weights known of the experiment and its segments, without an entry where there are none.

        From the ledger, or from the topic if the ledger was lost, so that versions never go back.
        """
        newest: dict[str | None, Weights] = {}
        for segment in slices_of(experiment):
            key = slice_key(experiment.experiment, segment)
            mine, theirs = self.weights.get(key), self._published.get(key)
            found = theirs if mine is None or (theirs is not None and theirs.version > mine.version) else mine
            if found is not None:
                newest[segment] = found
        return newest

    def _behind(self, experiment: Experiment) -> bool:
        """Whether partials that the last version was decided on are still to be read."""
        if self._caught_up:  # what is not on the topic will never be
            return False
        totals = self.totals.get(experiment.experiment)
        known = totals.inputs() if totals is not None else {}
        decided_on = [weights.inputs for weights in self._previous(experiment).values()]
        return any(known.get(partition, 0) < seq for inputs in decided_on for partition, seq in inputs.items())

    def _decide(
        self, experiment: Experiment, now: float, keys: list[bytes], values: list[bytes | None], outputs: list[Output]
    ) -> None:
        name = experiment.experiment
        totals = self.totals.setdefault(name, Totals())
        started = time.perf_counter()
        decisions = decide_all(experiment, totals.training(experiment), self._previous(experiment), now)
        self._metrics.decide_seconds.observe(time.perf_counter() - started)
        if all(decision.settled for decision in decisions.values()):
            self._pending.discard(name)
        else:
            self._pending.add(name)
        self._next_at[name] = now + experiment.publish_interval_s
        ramp = decisions[None].ramp
        gate_at = opens_at(experiment, ramp.standing)
        self._gate_at[name] = gate_at if gate_at > now or ramp.moved else inf
        self.decided[name] = decisions[None]
        for segment, decision in decisions.items():
            if not decision.publish:
                continue
            key = slice_key(name, segment)
            weights = self.weights[key] = msgspec.structs.replace(decision.weights, inputs=totals.inputs())
            stored = encode(weights)
            keys.append(WEIGHTS_PREFIX + key.encode())
            values.append(stored)
            outputs.append(self._output(self._settings.topics.weights, key, stored))
            outputs.append(self._output(self._settings.topics.decisions, key, encode(audit_of(decision, weights, totals))))

    def _output(self, topic: str, key: str, value: bytes | None) -> Output:
        return Output(topic, partition_of(key, self._settings.partitions[topic]), key.encode(), value)


def audit_of(decision: PureDecision, weights: Weights, totals: Totals) -> Decision:
    """The audit record behind one publication."""
    return Decision(
        experiment=weights.experiment,
        segment=weights.segment,
        version=weights.version,
        ts=weights.ts,
        reason=weights.reason,
        policy=weights.policy,
        arms=list(decision.arms),
        steps={name: list(ppm) for name, ppm in decision.steps.items()},
        inputs=weights.inputs,
        counters=totals.counters(),
        spec_hash=weights.spec_hash,
    )
