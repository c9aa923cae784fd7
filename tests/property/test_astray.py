"""Parting a batch from what belongs elsewhere: nothing is lost, nothing is changed, and nothing is sent on twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.join.astray import FORWARDED, forwards, homes, part
from streams.join.decode import DeadLetter, Events
from streams.partitioning import partition_of
from streams.records import Exposure
from tests.folding import events_of, exposure

PARTITIONS = 4
ENOUGH = 1000


@st.composite
def batches(draw: st.DrawFn) -> Events[Exposure]:
    """A batch with some units more than once, its values told apart by their offsets, and perhaps a dead letter."""
    units = draw(st.lists(st.sampled_from([f"u-{i}" for i in range(30)]), max_size=40))
    batch = events_of([exposure(unit, ts=1000.0 + i) for i, unit in enumerate(units)])
    batch.offsets = [7 + 2 * i for i in range(len(units))]
    batch.values = [b"%d" % offset for offset in batch.offsets]
    batch.dead = draw(st.sampled_from([[], [DeadLetter(3, None, b"{", "malformed")]]))
    return batch


@given(batches(), st.integers(0, PARTITIONS - 1))
def test_every_event_stays_or_goes_home(batch: Events[Exposure], partition: int) -> None:
    rest, astray = part(batch, homes(batch.keys, partition, PARTITIONS), ENOUGH)
    assert all(partition_of(key, PARTITIONS) == partition for key in rest.keys)
    assert all(partition_of(found.key, PARTITIONS) == found.home != partition for found in astray)
    stayed = list(zip(rest.offsets, rest.keys, rest.values, rest.events, strict=True))
    gone = [(found.offset, found.key, found.value, found.event) for found in astray]
    assert stayed == sorted(stayed, key=lambda row: row[0])
    assert gone == sorted(gone, key=lambda row: row[0])
    everything = list(zip(batch.offsets, batch.keys, batch.values, batch.events, strict=True))
    assert sorted(stayed + gone, key=lambda row: row[0]) == everything
    assert (rest.dead, rest.mark) == (batch.dead, batch.mark)


@given(batches(), st.integers(0, PARTITIONS - 1))
def test_what_is_forwarded_is_the_record_as_it_came_and_stays_where_it_lands(batch: Events[Exposure], partition: int) -> None:
    _, astray = part(batch, homes(batch.keys, partition, PARTITIONS), ENOUGH)
    outputs = forwards("exposures", partition, astray)
    assert [(out.key, out.value) for out in outputs] == [(found.key, found.value) for found in astray]
    for found, out in zip(astray, outputs, strict=True):
        assert (out.topic, dict(out.headers)) == ("exposures", {FORWARDED: f"exposures/{partition}/{found.offset}".encode()})
        assert out.key is not None
        assert homes([out.key], out.partition, PARTITIONS) == {}, "it would be forwarded for ever"


def test_what_is_too_large_to_be_forwarded_is_a_dead_letter() -> None:
    batch = events_of([exposure(f"u-{i}") for i in range(20)])
    homeless = homes(batch.keys, 0, PARTITIONS)
    large = next(i for i, key in enumerate(batch.keys) if key in homeless)
    batch.values[large] = bytes(ENOUGH)
    rest, astray = part(batch, homeless, ENOUGH)
    [letter] = rest.dead
    assert (letter.offset, letter.key, letter.value) == (large, batch.keys[large], batch.values[large])
    size = len(batch.keys[large]) + ENOUGH
    home = homeless[batch.keys[large]]
    assert letter.reason.endswith(f"belongs to partition {home}: expected at most {ENOUGH} bytes to forward, not {size}")
    assert len(rest.events) + len(astray) == len(batch.events) - 1
    assert batch.dead == [], "the batch itself is as it was"
