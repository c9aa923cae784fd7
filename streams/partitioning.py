"""Which partition a key belongs to: Kafka's default partitioner, the same in Java and aiokafka."""

from __future__ import annotations

from functools import lru_cache

from aiokafka.partitioner import murmur2

__all__ = ["partition_of"]


@lru_cache(maxsize=4096)  # the hash is plain Python, and the names of experiments are asked for with every step
def partition_of(key: str | bytes, partitions: int) -> int:
    """murmur2 of the key's UTF-8, as a non-negative number, modulo the number of partitions."""
    data = key.encode() if isinstance(key, str) else key
    return int(murmur2(data) & 0x7FFFFFFF) % partitions
