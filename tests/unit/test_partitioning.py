"""The partition of a key, by the vectors that Kafka's own tests use."""

from __future__ import annotations

import pytest

from streams.partitioning import FEW, partition_of, partitions_of

VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}
"""murmur2 as Java's signed number."""
MANY = 1 << 30


@pytest.mark.parametrize("key", VECTORS, ids=bytes.decode)
def test_a_key_is_where_kafkas_own_clients_put_it(key: bytes) -> None:
    positive = VECTORS[key] & 0x7FFFFFFF
    for partitions in (1, 2, 4, 7, 64, MANY):
        assert partition_of(key, partitions) == partition_of(key.decode(), partitions) == positive % partitions
        assert partitions_of([key], partitions).tolist() == [positive % partitions]


def test_many_keys_at_once_are_where_each_is() -> None:
    keys = [*VECTORS] * FEW
    assert len(keys) > FEW, "so that they are hashed together"
    assert partitions_of(keys, MANY).tolist() == [(VECTORS[key] & 0x7FFFFFFF) % MANY for key in keys]
