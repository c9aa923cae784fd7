"""Forgetting units changes nothing but the space they take: neither where the sweep stands nor whether there is one."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from streams.join.outcomes import Outcome
from streams.join.sweep import deadline_of
from streams.join.units import pack
from tests.folding import Partition, experiment, exposure, reward

SPEC = experiment(metrics={"thumbs_up": {"type": "binary", "window": "20s"}}, grace="10s", period="100s")
HORIZON_S = 30

units = st.sampled_from(["u", "v", "w", "x"])
events = st.lists(
    st.tuples(st.booleans(), units, st.integers(0, 200), st.sampled_from(["a", "a", "b"]), st.integers(0, 1)), max_size=25
)


def build(items: list[tuple[bool, str, int, str, int]]) -> list:
    """Events whose time mostly goes forward, some of them far behind."""
    return [
        exposure(unit, arm, ts=1000.0 + ts) if exposed else reward(unit, float(value), ts=1000.0 + ts)
        for exposed, unit, ts, arm, value in sorted(items, key=lambda item: item[2] + hash_of(item))
    ]


def hash_of(item: tuple[bool, str, int, str, int]) -> int:
    """Some disorder, the same in every run."""
    return (item[2] * 7919 + len(item[1]) + ord(item[1]) * 31) % 90


@given(events, st.randoms(use_true_random=False))
def test_a_sweep_changes_neither_moments_nor_counters(items: list, rng: random.Random) -> None:
    log = build(items)
    swept, kept = Partition([SPEC]), Partition([SPEC])
    at = 0
    while at < len(log):
        step = rng.choice([1, 2, 5])
        chunk = log[at : at + step]
        kept.chunk(*chunk)
        swept.chunk(*chunk, sweep=rng.choice([0, 1, 2, 100]))
        if rng.random() < 0.3:
            swept.restart()
        at += step
    assert swept.moments() == kept.moments()
    assert sum(swept.counters().values()) == sum(kept.counters().values()) == len(log)
    for partition in (swept, kept):
        partition.chunk(sweep=1000)  # ends a walk under way
        partition.sweep._next_at = 0.0
        partition.chunk(sweep=1000)
    assert swept.counters() == kept.counters()
    assert swept.stored.keys() == kept.stored.keys()


def test_what_is_past_its_deadline_goes_and_its_moments_stay() -> None:
    partition = Partition([SPEC]).chunk(exposure("u", ts=1000.0), reward("u", ts=1001.0), reward("waits", ts=1001.0))
    moments = partition.moments()
    later = 1000.0 + 2 * HORIZON_S
    partition.chunk(exposure("v", ts=later), reward("v", ts=later)).chunk(sweep=100)
    units_left = [key for key in partition.stored if not key.startswith(b"\x00")]
    assert units_left == [b"v"]
    assert partition.moments() == {name: [a + b for a, b in zip(sums, sums, strict=True)] for name, sums in moments.items()}
    assert partition.counters() == {"exposures.applied": 2, "rewards.applied": 2, "rewards.unmatched": 1}


def test_what_comes_after_its_horizon_is_late_and_not_used() -> None:
    partition = Partition([SPEC]).chunk(exposure("u", ts=1000.0), exposure("v", ts=1100.0), reward("v", ts=1100.0))
    moments = partition.moments()
    partition.chunk(exposure("w", ts=1100.0 - HORIZON_S - 1), reward("u", ts=1100.0 - HORIZON_S - 1))
    assert partition.moments() == moments
    assert partition.fold.counts["chat"][Outcome.EXPOSURE_LATE] == 1
    assert partition.fold.counts["chat"][Outcome.REWARD_LATE] == 1


@given(st.floats(0, 2.0**33))
def test_the_deadline_is_read_without_decoding_the_record(deadline: float) -> None:
    assert deadline_of(pack([deadline, [], {}])) == deadline
