"""The reference job, cut so small that whatever dies, dies in the middle of something."""

from __future__ import annotations

from pathlib import Path

from deploy.kafka.broker import Broker
from tests.chaos.schedule import Runner, faulty
from tests.reference import Answer, fill

__all__ = ["SMALL_CHUNKS", "UNITS", "job", "runner"]

UNITS = 80_000
SOURCE_BATCH_BYTES = 16_384
SMALL_CHUNKS = ("--chunk-records-max", "200", "--batch-bytes", "10000", "--session-timeout", "2")
"""A chunk is then many record batches: with one batch a chunk, a crash could be harmless by luck."""


def job(kafka: Broker, prefix: str, units: int = UNITS, *, batch_bytes: int = SOURCE_BATCH_BYTES) -> Answer:
    """Fill the sources, in record batches of which a chunk takes a few."""
    return fill(kafka.bootstrap, prefix, units, batch_bytes=batch_bytes)


def runner(kafka: Broker, prefix: str, directory: Path, *options: str, workers: int = 1, transactions: bool = True) -> Runner:
    """Workers that obey orders, not yet started."""
    made = [
        faulty(kafka.bootstrap, prefix, directory / f"worker{n}", *SMALL_CHUNKS, *options, transactions=transactions)
        for n in range(workers)
    ]
    return Runner(kafka, prefix, made)
