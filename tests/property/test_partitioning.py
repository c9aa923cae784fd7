"""Keys hashed together are hashed as aiokafka's partitioner hashes each."""

from __future__ import annotations

from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from streams.partitioning import FEW, partition_of, partitions_of

KEYS = st.one_of(st.binary(max_size=40), st.text(max_size=20).map(str.encode), st.binary(min_size=200, max_size=300))


@given(st.one_of(st.lists(KEYS, min_size=FEW + 1, max_size=60), st.lists(KEYS, max_size=FEW)), st.integers(1, 2000))
def test_partitions_are_those_of_aiokafkas_partitioner(keys: list[bytes], partitions: int) -> None:
    choose, every = DefaultPartitioner(), list(range(partitions))
    expected = [choose(key, every, every) for key in keys]
    assert partitions_of(keys, partitions).tolist() == expected
    assert [partition_of(key, partitions) for key in keys] == expected


@given(st.integers(0, 40), st.lists(st.binary(min_size=40, max_size=40), min_size=FEW + 1, max_size=40))
def test_so_are_those_of_keys_that_are_equally_long(length: int, keys: list[bytes]) -> None:
    keys = [key[:length] for key in keys]
    assert partitions_of(keys, 1 << 30).tolist() == [partition_of(key, 1 << 30) for key in keys]
