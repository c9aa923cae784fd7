"""Picks an arm for each unit, in this process, by the newest weights that the allocator published.

The weights topic is read from its beginning and then followed. Assigning is arithmetic on what is in memory: it goes on when
Kafka is gone, and after `valid_until` serves the fallback that the weights name. The rule is in `allocator.assignment`.

    async with Router("localhost:9092") as router:
        assignment = router.assign("chat", unit="u-17", attributes={"plan": "pro"})
        answer = await ask(**assignment.params)
        router.expose(assignment)
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Self

import msgspec

from allocator.assignment import Assigner, Assignment
from allocator.errors import ArgumentError, UnknownExperiment
from allocator.segments import OTHER_SEGMENT, SegmentRule, segment_of
from allocator.weights import Weights
from streams.clients import Unreachable
from streams.compacted import CompactedTopic
from streams.connection import Connection
from streams.producer import EventProducer, Stopped
from streams.records import Exposure
from streams.topics import PREFIX, Topics

__all__ = ["Router", "RouterCounters"]

log = logging.getLogger(__name__)

START_TIMEOUT_S = 30.0
"""For reading the weights topic to its end once a broker has answered."""

_decode = msgspec.json.Decoder(Weights).decode


@dataclass(slots=True)
class RouterCounters:
    """What became of the records on the weights topic, and of assignments that were not to be exposed."""

    applied: int = 0
    outdated: int = 0
    """A version below the one in force: ignored."""
    malformed: int = 0
    """Not weights, or weights that contradict themselves: ignored and logged; the ones before stay in force."""
    removed: int = 0
    """Tombstones of an experiment known here."""
    unexposed: Counter[str] = field(default_factory=Counter)
    """Assignments that `expose` did not log, by their reason."""
    rule_failures: Counter[str] = field(default_factory=Counter)
    """Units on whose attributes the rule of eligibility failed, so that they were not eligible, by experiment. The first of
    each experiment is logged."""


class _Slices:
    """The weights of one experiment: by segment, None being everybody without weights of their own."""

    __slots__ = ("by_segment", "segment_rule")

    def __init__(self) -> None:
        self.by_segment: dict[str | None, Assigner] = {}
        self.segment_rule: SegmentRule | None = None

    def put(self, assigner: Assigner) -> None:
        self.by_segment[assigner.weights.segment] = assigner
        self.segment_rule = (self.by_segment.get(None) or assigner).weights.segment_rule


class Router:
    """Assigns units to arms; use it from one event loop, with ``async with`` or `start` and `stop`.

    `assign` alone may be called from any thread.

    Parameters
    ----------
    bootstrap : HOST:PORT; without it ALLOCATOR_BOOTSTRAP, as in `Connection.from_environment`.
    prefix : of the topics' names.
    connection : in place of `bootstrap` and the environment.
    events : producer for exposures, started and stopped by its owner; without it the router has its own.
    clock : seconds since the epoch; it decides when a lease has expired, so it should agree with the allocator's to a second.

    Each function in `on_update` is called, in the router's event loop, with every `Weights` that comes into force, in the order
    of their versions and without leaving one out: where `changed` says what is newest, this tells the whole story. Those read
    by `start` are announced too. One that raises is logged, and the router goes on.
    """

    def __init__(
        self,
        bootstrap: str | None = None,
        *,
        prefix: str = PREFIX,
        connection: Connection | None = None,
        events: EventProducer | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.connection = connection or Connection.from_environment(bootstrap)
        self.counters = RouterCounters()
        self.on_update: list[Callable[[Weights], None]] = []
        self._clock = clock
        self._owns_events = events is None
        self._events = events or EventProducer(prefix=prefix, connection=self.connection, clock=clock)
        self._topic = CompactedTopic(self.connection, Topics(prefix).weights, self._take)
        self._slices: dict[str, _Slices] = {}
        self._key_of: dict[bytes | None, tuple[str, str | None]] = {}
        self._news = asyncio.Event()
        self._stopped = False

    async def start(self) -> None:
        """Connect and read the weights published so far.

        Raises
        ------
        Unreachable : no broker answered.
        TopicError : a topic is missing.
        """
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._topic.start()
        except TimeoutError as error:
            await self._topic.stop()
            raise Unreachable(self.connection.bootstrap) from error
        if self._owns_events:
            try:
                await self._events.start()
            except BaseException:
                await self._topic.stop()
                raise

    async def stop(self) -> None:
        """Send what `expose` logged, and leave. `assign` goes on with the last weights."""
        self._stopped = True
        self._announce()
        await self._topic.stop()
        if self._owns_events:
            await self._events.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    def assign(
        self, experiment: str, unit: str, segment: str | None = None, attributes: Mapping[str, Any] | None = None
    ) -> Assignment:
        """The unit's arm, by the segment's own weights if there are any. Never blocks.

        Parameters
        ----------
        segment : left out, it follows from the attributes if the spec has a rule of segments.
        attributes : what is known of the unit, as JSON: for the rules of eligibility and segments. They are not logged.

        Raises
        ------
        UnknownExperiment : no weights have been published under that name.
        """
        try:
            slices = self._slices[experiment]
            if segment is None and slices.segment_rule is not None:
                segment = segment_of(slices.segment_rule, attributes or {})
            found = slices.by_segment
            assigner = found.get(segment or OTHER_SEGMENT) or found.get(OTHER_SEGMENT) or found[None]
        except KeyError:
            raise UnknownExperiment(experiment) from None
        return assigner.assign(unit, self._clock(), segment, attributes)

    def expose(
        self,
        assignment: Assignment,
        *,
        covariates: Mapping[str, Any] | None = None,
        ts: float | None = None,
        exposure_id: str | None = None,
    ) -> Exposure | None:
        """Log that the unit was served; never waits for Kafka. None, and nothing logged, if the unit is not enrolled.

        Parameters
        ----------
        covariates : what was known of the unit before it was served.
        ts : when it was served, seconds since the epoch; now, if left out.
        exposure_id : the same id again is a repetition, and not counted; a new one, if left out.

        Raises
        ------
        ArgumentError : a field that the worker would refuse.
        Stopped : after `stop`.
        """
        if not assignment.enrolled:
            self.counters.unexposed[assignment.reason] += 1
            return None
        return self._events.exposure(
            assignment.experiment,
            assignment.unit,
            assignment.arm,
            assignment.propensity,
            weights_version=assignment.weights_version,
            segment=assignment.segment,
            holdback=assignment.holdback,
            covariates=covariates,
            ts=ts,
            exposure_id=exposure_id,
        )

    def weights(self, experiment: str, segment: str | None = None) -> Weights:
        """The weights in force. Raises UnknownExperiment."""
        return self._assigner(experiment, segment).weights

    def _assigner(self, experiment: str, segment: str | None) -> Assigner:
        """By the segment's own weights if there are any, else by those of all segments without, which are counted together."""
        try:
            slices = self._slices[experiment].by_segment
            return slices.get(segment or OTHER_SEGMENT) or slices.get(OTHER_SEGMENT) or slices[None]
        except KeyError:
            raise UnknownExperiment(experiment) from None

    def staleness_s(self, experiment: str, segment: str | None = None) -> float:
        """Seconds since the weights in force were published, by the publisher's clock. Raises UnknownExperiment."""
        return max(0.0, self._clock() - self.weights(experiment, segment).ts)

    async def changed(self, experiment: str, after_version: int = 0, segment: str | None = None) -> Weights:
        """Wait for weights with a version above `after_version`, at once if they are in force.

        Raises
        ------
        UnknownExperiment : the experiment was known and has been removed.
        Stopped : the router was stopped.
        """
        known = False
        while not self._stopped:
            try:
                weights = self.weights(experiment, segment)
            except UnknownExperiment:
                if known:
                    raise
            else:
                if weights.version > after_version:
                    return weights
                known = True
            await self._news.wait()
        raise Stopped("the router is stopped")

    def _announce(self) -> None:
        """Wake everybody in `changed`; who waits from now on waits for the next news."""
        self._news.set()
        self._news = asyncio.Event()

    def _take(self, record: Any) -> None:
        """Apply one record of the topic. Raises nothing: a bad record must not stop the good ones."""
        if record.value is None:
            self._remove(record.key)
            return
        try:
            weights = _decode(record.value)
            assigner = Assigner(weights, partial(self._rule_failed, weights.experiment))
        except (ValueError, RecursionError) as error:  # MsgspecError, UnicodeDecodeError and ArgumentError are ValueErrors
            self.counters.malformed += 1
            log.error("%s, offset %d: ignored, these are no weights: %s", self._topic.topic, record.offset, error)
            return
        slices = self._slices.get(weights.experiment) or _Slices()
        current = slices.by_segment.get(weights.segment)
        if current is not None and (weights.version, weights.valid_until) < (
            current.weights.version,
            current.weights.valid_until,
        ):
            self.counters.outdated += 1
            log.warning(
                "%s: version %d ignored, version %d is in force", weights.experiment, weights.version, current.weights.version
            )
            return
        slices.put(assigner)
        self._slices[weights.experiment] = slices
        self._key_of[record.key] = weights.experiment, weights.segment
        self.counters.applied += 1
        self._announce()
        for subscriber in self.on_update:
            try:
                subscriber(weights)
            except Exception:
                log.exception("%s: a subscriber failed on version %d", weights.experiment, weights.version)

    def _remove(self, key: bytes | None) -> None:
        experiment, segment = self._key_of.pop(key, (None, None))
        if experiment is None:
            return
        slices = self._slices[experiment].by_segment
        slices.pop(segment, None)
        if not slices:
            del self._slices[experiment]
        self.counters.removed += 1
        self._announce()

    def _rule_failed(self, experiment: str, error: ArgumentError) -> None:
        if not self.counters.rule_failures[experiment]:
            log.warning("%s: a unit is not eligible, for the rule failed, as it may for others: %s", experiment, error)
        self.counters.rule_failures[experiment] += 1
