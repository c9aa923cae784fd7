"""The walk over the store that finds the units to forget."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.join.sweep import LOOKS_PER_EVENT, SLACK, Sweep, deadline_of
from streams.join.units import pack
from streams.state.store import Store, escape

T = 1_764_000_000
HORIZON_S = 1000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store")
    yield opened
    opened.close()


def record(deadline: float) -> bytes:
    return pack([float(deadline), [], {}])


def put(store: Store, **deadlines: float) -> None:
    keys = [escape(unit.encode()) for unit in deadlines]
    store.write(keys, [record(deadline) for deadline in deadlines.values()], 1)


def walk(sweep: Sweep, watermark: float, budget: int = 100) -> list[bytes]:
    """Keys found from here to the end of a walk."""
    found = [key for key, _ in sweep.stale(watermark, HORIZON_S, budget)]
    while sweep.walking:
        found += [key for key, _ in sweep.stale(watermark, HORIZON_S, budget)]
    return found


@pytest.mark.parametrize("deadline", [0.0, 5.5, float(T), 2.0**32 + 5])
def test_the_deadline_is_read_without_decoding_the_record(deadline: float) -> None:
    assert deadline_of(record(deadline)) == deadline
    assert deadline_of(pack([deadline, [[1, 2.0, "x", 3, [0]]] * 40, {"r": [0, 1.0, 2.0]}])) == deadline


@pytest.mark.parametrize("budget", [1, 2, 100])
def test_finds_what_is_past_its_deadline_and_nothing_else(store: Store, budget: int) -> None:
    put(store, a=T + 10, b=T + 30, c=T + 20, d=T + 21)
    assert walk(Sweep(store), T + 20.5, budget) == [b"a", b"c"]


def test_a_chunk_without_events_looks_at_nothing(store: Store) -> None:
    put(store, old=T - 1)
    sweep = Sweep(store)
    assert sweep.stale(T, HORIZON_S, 0) == []
    assert walk(sweep, T) == [b"old"]


def test_the_reserved_records_are_not_looked_at(store: Store) -> None:
    store.write([b"\x00cell\x00", b"\x00checkpoint"], [record(1), record(1)], 1)
    put(store, **{"\x00escaped": T, "\x01too": T})
    assert walk(Sweep(store), T + 1) == [b"\x01\x00escaped", b"\x01\x01too"]


def test_a_unit_that_came_back_during_the_walk_is_kept(store: Store) -> None:
    """Regression: the walk sees the store as it was when it began, and the unit was forgotten with its new events."""
    put(store, a=T + 100, b=T + 100)
    sweep = Sweep(store)
    assert sweep.stale(T + 50, HORIZON_S, 1) == []
    put(store, b=T + 900)
    assert walk(sweep, T + 200) == []


def test_a_unit_forgotten_during_the_walk_is_not_found_again(store: Store) -> None:
    put(store, a=T + 100, b=T + 100)
    sweep = Sweep(store)
    sweep.stale(T + 50, HORIZON_S, 1)
    store.write([b"b"], [None], 2)
    assert walk(sweep, T + 200) == []


def test_the_next_walk_waits_until_a_share_of_the_horizon_has_passed(store: Store) -> None:
    put(store, a=T + 500)
    sweep = Sweep(store)
    assert walk(sweep, T) == []
    again = T + 500 + SLACK * HORIZON_S
    assert sweep.stale(again - 1, HORIZON_S, 100) == []
    assert not sweep.walking
    assert walk(sweep, again + 1) == [b"a"]


# -- keeping up ------------------------------------------------------------------------------------------------------------------


class Shelf:
    """A store of nothing but deadlines."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}

    def scan_from(self, key: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted((k, v) for k, v in self.kept.items() if k >= key))

    def shrink(self) -> None:
        """It has no disk."""


LIVE, CHUNK_UNITS, EVENTS_A_UNIT = 400, 20, 2


def most_kept(looks_per_event: float, units: int = 6000) -> int:
    """Records in the store at most, with `LIVE` units within their horizon at any time, once it has had time to settle."""
    shelf, most = Shelf(), 0
    sweep = Sweep(shelf)
    for n in range(0, units, CHUNK_UNITS):
        now = T + n * HORIZON_S / LIVE
        for key, _ in sweep.stale(now, HORIZON_S, int(looks_per_event * EVENTS_A_UNIT * CHUNK_UNITS)):
            del shelf.kept[key]
        for unit in range(n, n + CHUNK_UNITS):
            shelf.kept[b"u%08x" % (unit * 2_654_435_761 & 0xFFFFFFFF)] = record(T + unit * HORIZON_S / LIVE + HORIZON_S)
        most = max(most, len(shelf.kept))
    return most


def test_the_store_settles_however_fast_units_come() -> None:
    assert most_kept(LOOKS_PER_EVENT) <= LIVE * (1 + SLACK) / (1 - 1 / (LOOKS_PER_EVENT * EVENTS_A_UNIT)) + CHUNK_UNITS


def test_a_walk_slower_than_what_comes_would_let_it_grow() -> None:
    """Control and regression: a look for every second unit, about as many as there were before."""
    assert most_kept(0.25) > 4 * LIVE
