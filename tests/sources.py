"""The sources of a prefix, made and filled in bulk by confluent-kafka: what every generator of a job does alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from allocator.spec import load_experiment
from streams.records import encode
from streams.topics import Topics

__all__ = ["bulk_producer", "make_topics", "produce"]


def make_topics(bootstrap: str, topics: Topics, partitions: int, specs: Iterable[dict[str, Any]]) -> None:
    """The sources, empty, and the experiments."""
    sources = [NewTopic(topic, partitions, 1) for topic in (topics.exposures, topics.rewards)]
    experiments = NewTopic(topics.experiments, 1, 1, config={"cleanup.policy": "compact"})
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for done in admin.create_topics([*sources, experiments]).values():
        done.result()
    producer = Producer({"bootstrap.servers": bootstrap})
    for spec in specs:
        producer.produce(topics.experiments, encode(load_experiment(spec)), spec["experiment"])
    assert producer.flush(60) == 0, "not every experiment was delivered"


def bulk_producer(bootstrap: str, *, batch_bytes: int = 262_144, queued: int = 2_000_000, **options: str) -> Producer:
    """A producer for millions of records; its partitioner is librdkafka's own unless `options` say otherwise."""
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 20,
            "batch.size": batch_bytes,
            "queue.buffering.max.messages": queued,
            "compression.type": "lz4",
            **options,
        }
    )


def produce(producer: Producer, topic: str, key: str | bytes, value: bytes) -> None:
    """Send, waiting for room in the producer's queue if there is none."""
    while True:
        try:
            return producer.produce(topic, value, key)
        except BufferError:
            producer.poll(0.05)
