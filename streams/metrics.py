"""What a worker counts and times for Prometheus. The core sets these; `/metrics` serves them.

Labels are few and bounded by the deployment (topics, partitions, experiments, outcomes), never by its traffic: no unit, no arm.
Everything starts with ``allocator_`` and ends with its unit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

__all__ = ["Metrics"]

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_EVENTS = (1, 10, 100, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000)
HEALTH = {"ok": 0, "warn": 1, "broken": 2, "unknown": -1}
"""What the health gauge says for a state."""


class Metrics:
    """The instruments of one worker.

    Parameters
    ----------
    registry : where they are registered; by default one of their own, so that two workers in one process do not clash.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = own = registry or CollectorRegistry()
        ProcessCollector(registry=own)

        self.events_read = Counter("allocator_events_read", "Events read since the worker started.", ["topic"], registry=own)
        self.events = Gauge(
            "allocator_events",
            "Events in the state of this worker's partitions, by what became of them. A gauge: a waiting reward becomes applied.",
            ["topic", "outcome"],
            registry=own,
        )
        self.dead_letters = Counter(
            "allocator_dead_letters",
            "Records written to the dead-letter topic, by class of reason.",
            ["topic", "reason"],
            registry=own,
        )
        self.chunk_events = Histogram("allocator_chunk_events", "Events in one committed chunk.", buckets=_EVENTS, registry=own)
        self.chunk_seconds = Histogram(
            "allocator_chunk_seconds",
            "Seconds from a chunk's fetch to its commit.",
            buckets=_SECONDS,
            registry=own,
        )
        self.commit_seconds = Histogram(
            "allocator_commit_seconds", "Seconds of one chunk's Kafka transaction.", buckets=_SECONDS, registry=own
        )
        self.decide_seconds = Histogram(
            "allocator_decide_seconds", "Seconds to decide one experiment's weights.", buckets=_SECONDS, registry=own
        )
        self.publish_age_seconds = Gauge(
            "allocator_publish_age_seconds",
            "Seconds since the experiment's weights were last published, a renewal of the lease included.",
            ["experiment"],
            registry=own,
        )
        self.weights_version = Gauge(
            "allocator_weights_version", "Number of publications of the experiment's weights.", ["experiment"], registry=own
        )
        self.health = Gauge(
            "allocator_health",
            "State of a health check: 0 ok, 1 warn, 2 broken, -1 unknown.",
            ["experiment", "check"],
            registry=own,
        )
        self._checks: set[str] = set()
        self.lag_records = Gauge("allocator_lag_records", "Records not yet read.", ["topic", "partition"], registry=own)
        self.lag_seconds = Gauge(
            "allocator_lag_seconds", "Seconds between the newest record counted and now.", ["topic", "partition"], registry=own
        )
        self.queue_bytes = Gauge(
            "allocator_queue_bytes", "Memory of events fetched and not counted yet, as reckoned.", registry=own
        )
        self.queue_bytes_max = Gauge("allocator_queue_bytes_max", "The most they have taken since the start.", registry=own)
        self.store_memory_bytes = Gauge(
            "allocator_store_memory_bytes", "Memory of the stores' cache and write buffers.", registry=own
        )
        self.store_file_bytes = Gauge("allocator_store_file_bytes", "Size of the stores' files.", ["agent"], registry=own)
        self.store_records = Gauge("allocator_store_records", "Records in the stores, about.", ["agent"], registry=own)
        self.restore_seconds = Gauge("allocator_restore_seconds", "Seconds the last restore of state took.", registry=own)
        self.partitions_owned = Gauge(
            "allocator_partitions_owned", "Partitions assigned to this worker.", ["agent"], registry=own
        )

    def checked(self, experiment: str, states: Mapping[str, str]) -> None:
        """The states of an experiment's health checks, by name of the check."""
        for check, state in states.items():
            self.health.labels(experiment, check).set(HEALTH[state])
        self._checks.update(states)

    def published(self, experiment: str, version: int, age_s: Callable[[], float]) -> None:
        """Weights went out; `age_s` is asked at every scrape how old the newest publication is."""
        self.weights_version.labels(experiment).set(version)
        self.publish_age_seconds.labels(experiment).set_function(age_s)

    def forget_experiment(self, experiment: str) -> None:
        """This worker no longer owns it: a number that stands still would look like a fault."""
        for gauge in (self.weights_version, self.publish_age_seconds):
            _drop(gauge, experiment)
        for check in self._checks:
            _drop(self.health, experiment, check)

    def forget_partition(self, topic: str, partition: int) -> None:
        """This worker no longer reads it."""
        for gauge in (self.lag_records, self.lag_seconds):
            _drop(gauge, topic, str(partition))


def _drop(gauge: Gauge, *labels: str) -> None:
    with suppress(KeyError):  # never set; newer versions of the library ignore that themselves
        gauge.remove(*labels)
