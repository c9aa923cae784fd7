"""The phases of one experiment count as experiments of their own would, each with the exposures of its time."""

from __future__ import annotations

import random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.experiment import Experiment
from allocator.lifecycle import revise
from streams.join.cells import CellName
from streams.records import Exposure, Reward
from tests.folding import Partition, experiment

SINCE = 1100.0
METRICS = {"click": {"type": "binary", "window": "100s"}, "spend": {"type": "value", "window": "50s", "resolution": 0.25}}
LATER = {"spend": {"type": "value", "window": "80s", "resolution": 1, "cap": 2}, "visits": {"type": "count", "window": "40s"}}


def first(name: str) -> Experiment:
    return experiment(name, metrics=METRICS, objective="click", period="60s", segments=["pro"])


def second(name: str) -> Experiment:
    return experiment(name, metrics=LATER, objective="spend", period="0.7s", covariates=[{"name": "age", "resolution": 0.5}])


PHASED = revise(revise(None, first("chat")), second("chat"), phase_from=SINCE)
NAMES = {"chat": "first", "chat@2": "second"}

times = st.one_of(st.integers(1000, 1200).map(float), st.sampled_from([SINCE - 1e-6, SINCE, SINCE + 0.1, SINCE + 0.7]))
exposures = st.builds(
    Exposure,
    experiment=st.just("chat"),
    unit=st.sampled_from(["u", "v"]),
    arm=st.sampled_from(["a", "a", "a", "b"]),
    propensity=st.sampled_from([1.0, 0.5]),
    ts=times,
    exposure_id=st.sampled_from(["x1", "x2"]),
    segment=st.sampled_from([None, "pro"]),
    covariates=st.sampled_from([{}, {"age": 7.3}]),
)
rewards = st.builds(
    Reward,
    unit=st.sampled_from(["u", "v"]),
    metric=st.sampled_from(["click", "spend", "visits"]),
    value=st.sampled_from([0.0, 1.0, 3.0, 2.25]),
    ts=times,
    reward_id=st.sampled_from(["r1", "r2", "r3"]),
    experiment=st.just("chat"),
)


def parted(event: Exposure | Reward) -> Exposure | Reward:
    """The event as experiments of their own would see it: rewards count in all that they belong to."""
    if isinstance(event, Reward):
        return msgspec.structs.replace(event, experiment=None)
    return msgspec.structs.replace(event, experiment="first" if event.ts < SINCE else "second")


def folded(specs: list[Experiment], items: list[Exposure | Reward], steps: list[int], restarts: random.Random) -> Partition:
    partition, at = Partition(specs), 0
    for step in steps:
        partition.chunk(*items[at : at + step])
        at += step
        if restarts.random() < 0.3:
            partition.restart()
    return partition.chunk(*items[at:])


@settings(max_examples=400, deadline=None)
@given(st.lists(exposures | rewards, max_size=14), st.lists(st.integers(1, 5), max_size=6), st.integers(0, 1000))
def test_phases_count_as_experiments_of_their_own_would(items: list[Exposure | Reward], steps: list[int], seed: int) -> None:
    phased = folded([PHASED], items, steps, random.Random(seed))
    apart = folded([first("first"), second("second")], [parted(event) for event in items], steps, random.Random(seed))

    moments = {CellName(NAMES[name.experiment], *name[1:]): sums for name, sums in phased.moments().items()}
    assert moments == apart.moments()
    assert phased.counters() == apart.counters()


@settings(max_examples=200, deadline=None)
@given(st.lists(exposures, min_size=1, max_size=10), st.randoms(use_true_random=False))
def test_an_event_of_a_phase_by_its_inner_name_is_nobodys(items: list[Exposure], rng: random.Random) -> None:
    named = [msgspec.structs.replace(x, experiment="chat@2") for x in items]
    partition = Partition([PHASED]).chunk(*named)
    assert partition.moments() == {}
    assert partition.counters() == {"exposures.dead": len(named)}
