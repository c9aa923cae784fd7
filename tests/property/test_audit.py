"""What the audit must call equal: where chunks end, when a worker was killed and how far the sweep has come."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from streams.join.decode import Events
from streams.records import Exposure, Reward
from tests.folding import Partition, events_of, experiment, exposure, reward, take_anyhow
from tests.stored import compared

SPEC = experiment(
    metrics={
        "thumbs_up": {"type": "binary", "window": "200s"},
        "spend": {"type": "value", "window": "300s", "aggregate": "last"},
    },
    objective="thumbs_up",
    segments=["pro"],
    grace="10s",
    period="60s",
)
SHORT = experiment(metrics={"thumbs_up": {"type": "binary", "window": "20s"}}, grace="10s", period="100s")

units = st.sampled_from(["u", "v", "\x00w"])
seeds = st.integers(0, 2**32)
times = st.integers(1000, 1200).map(float)
exposures = st.builds(exposure, unit=units, arm=st.sampled_from("aab"), ts=times, segment=st.sampled_from([None, "pro"]))
rewards = st.builds(
    reward,
    unit=units,
    value=st.sampled_from([0.0, 1.0]),
    ts=times,
    metric=st.sampled_from(["thumbs_up", "spend", "spend"]),
    experiment=st.sampled_from(["chat", None]),
    reward_id=st.sampled_from(["r1", "r2", "r3"]),
)


def batches(events: list[Exposure] | list[Reward], rng: random.Random) -> list[Events]:
    """As the log has them: where batches end is no chance of those who read it."""
    found = []
    while events:
        n = rng.choice([1, 2, 4])
        found.append(events_of(events[:n]))
        events = events[n:]
    return found


@given(st.lists(exposures, max_size=8), st.lists(rewards, max_size=12), seeds)
def test_the_same_logs_in_other_chunks_are_equal(xs: list[Exposure], rs: list[Reward], seed: int) -> None:
    """In `test_lives.py` units come back, too."""
    rng = random.Random(seed)
    logs = batches(xs, rng), batches(rs, rng)
    found = compared(take_anyhow(Partition([SPEC]), *logs, rng), take_anyhow(Partition([SPEC]), *logs, rng))
    assert found.equal, found.differences
    assert found.compared["unit"] == len({event.unit for event in [*xs, *rs]})


@given(st.lists(st.tuples(units, st.integers(0, 200), st.booleans()), min_size=1, max_size=25), seeds)
def test_where_the_sweep_stands_makes_no_difference(items: list[tuple[str, int, bool]], seed: int) -> None:
    rng = random.Random(seed)
    swept, kept = Partition([SHORT]), Partition([SHORT])
    for unit, ts, exposed in sorted(items, key=lambda item: item[1]):
        event = exposure(unit, ts=1000.0 + ts) if exposed else reward(unit, ts=1000.0 + ts)
        swept.chunk(event, sweep=rng.choice([0, 1, 100]))
        kept.chunk(event)
    found = compared(swept, kept)
    assert found.equal, found.differences
