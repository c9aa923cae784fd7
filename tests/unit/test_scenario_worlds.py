"""The worlds of the scenarios are what they say: means, effects, segments and novelty, from a seed."""

from __future__ import annotations

import math
from collections import Counter
from itertools import islice
from typing import get_args

import numpy as np
import pytest

from allocator.segments import segment_of
from allocator.spec import load_experiment
from streams.demo import Story
from streams.demo.scenarios import SCENARIOS
from streams.demo.scenarios.creators import best_mix
from streams.demo.scenarios.scenario import Scenario
from streams.demo.scenarios.world import Person, Truth, World

WORLD = World(
    metrics={
        "clicked": Truth("binary", {"a": 0.2, "b": 0.4}, lift={"new": {"a": 0.5}}, novelty={"new": 1.0}),
        "spent": Truth("value", {"a": 10.0, "b": 20.0}, cv=0.5, lift={"new": {"a": -0.1, "b": -0.1}}),
    },
    segments={"a": 0.25, "b": 0.75},
    people=40_000,
    days=10.0,
    fade_days=2.0,
)


@pytest.fixture(scope="module")
def crowd() -> list[Person]:
    return list(WORLD.crowd(seed=3))


@pytest.fixture(params=SCENARIOS.values(), ids=SCENARIOS)
def scenario(request: pytest.FixtureRequest) -> Scenario:
    found: Scenario = request.param
    return found


def test_the_command_offers_every_scenario() -> None:
    assert get_args(Story) == tuple(SCENARIOS)


def test_the_crowd_follows_from_the_seed() -> None:
    again = list(World(WORLD.metrics, WORLD.segments, 5000, 10.0).crowd(3))
    assert again == list(World(WORLD.metrics, WORLD.segments, 5000, 10.0).crowd(3))
    assert again[:10] != list(World(WORLD.metrics, WORLD.segments, 10, 10.0).crowd(4))


def test_everybody_comes_once_in_order_within_the_days(crowd: list[Person]) -> None:
    assert [person.number for person in crowd] == list(range(WORLD.people))
    days = [person.day for person in crowd]
    assert days == sorted(days)
    assert days[0] == 0.0
    assert days[-1] == pytest.approx(10.0, abs=1e-3)
    shares = Counter(person.segment for person in crowd)
    assert shares["a"] / WORLD.people == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / WORLD.people))


def test_an_effect_is_relative_and_novelty_fades() -> None:
    assert WORLD.mean("clicked", "old", "a", 0.0) == 0.2
    assert WORLD.mean("clicked", "new", "a", 0.0) == pytest.approx(0.2 * 2.5)
    assert WORLD.mean("clicked", "new", "a", 2.0) == pytest.approx(0.2 * (1.5 + math.exp(-1)))
    assert WORLD.mean("clicked", "new", "b", math.inf) == 0.4
    assert WORLD.average("spent", "new") == pytest.approx(0.9 * 17.5)
    assert WORLD.effect("clicked", "new", "old", day=math.inf) == pytest.approx(0.25 * 0.1)


@pytest.mark.parametrize("arm", ["old", "new"])
@pytest.mark.parametrize("metric", WORLD.metrics)
@pytest.mark.parametrize("segment", [None, "a", "b"])
def test_what_people_do_has_the_mean_that_is_said(crowd: list[Person], metric: str, arm: str, segment: str | None) -> None:
    place = list(WORLD.metrics).index(metric)
    values = np.array([WORLD.outcome(metric, place, arm, p) for p in crowd if segment in (None, p.segment)])
    error = values.std() / math.sqrt(len(values))
    assert abs(values.mean() - WORLD.average(metric, arm, segment)) < 4 * error


def test_a_value_is_positive_and_varies_as_is_said(crowd: list[Person]) -> None:
    values = np.array([WORLD.outcome("spent", 1, "new", p) for p in crowd if p.segment == "b"])
    assert values.min() > 0
    assert values.std() / values.mean() == pytest.approx(0.5, rel=0.02)


def test_one_persons_outcomes_share_their_luck(crowd: list[Person]) -> None:
    """So that the two histories of a scenario are of the same people."""
    better = [p for p in crowd[:1000] if WORLD.outcome("clicked", 0, "old", p) > WORLD.outcome("clicked", 0, "new", p)]
    assert better == []


def test_binary_means_are_probabilities_at_all_times(scenario: Scenario) -> None:
    world = scenario.world
    arms = {arm if isinstance(arm, str) else arm["id"] for spec in scenario.specs for arm in spec["arms"]}
    assert sum(world.segments.values()) == pytest.approx(1.0)
    for metric, truth in world.metrics.items():
        assert set(truth.base) == set(world.segments)
        assert set(truth.lift) | set(truth.novelty) <= arms
        for arm in arms:
            for segment in world.segments:
                means = [world.mean(metric, arm, segment, day) for day in (0.0, world.days, math.inf)]
                assert min(means) > 0
                assert truth.kind == "value" or max(means) < 1


def test_a_control_is_what_it_was(scenario: Scenario) -> None:
    for spec in scenario.specs:
        for metric in scenario.world.metrics:
            base = sum(share * scenario.world.metrics[metric].base[s] for s, share in scenario.world.segments.items())
            assert scenario.world.average(metric, spec["control"]) == pytest.approx(base)


def test_the_recommender_is_what_its_story_says() -> None:
    world = SCENARIOS["recommender"].world
    assert world.effect("add_to_cart", "new", "old") / world.average("add_to_cart", "old") == pytest.approx(0.05)
    assert world.effect("revenue", "new", "old") / world.average("revenue", "old") == pytest.approx(-0.03)
    oec = [world.average("add_to_cart", arm) + 0.002 * world.average("revenue", arm) for arm in ("old", "new")]
    assert oec[1] > oec[0]  # only the guardrail is against it


def test_cohorts_differ_and_their_novelty_is_gone_in_two_weeks() -> None:
    world = SCENARIOS["cohorts"].world
    lasting = {
        (arm, segment): world.effect("played", arm, "charts", segment, math.inf)
        for arm in ("depth", "breadth")
        for segment in ("heavy", "light")
    }
    assert lasting["depth", "heavy"] == lasting["breadth", "light"] == pytest.approx(0.06)
    assert lasting["depth", "light"] == lasting["breadth", "heavy"] == pytest.approx(-0.03)
    start, end = (world.effect("played", "breadth", "charts", day=day) for day in (0.0, 14.0))
    assert start - world.effect("played", "breadth", "charts", day=math.inf) == pytest.approx(0.15)
    assert end - world.effect("played", "breadth", "charts", day=math.inf) < 0.005


def test_the_cut_of_the_spec_parts_people_as_the_world_does() -> None:
    [spec] = SCENARIOS["cohorts"].specs
    rule = load_experiment(spec).segment_rule
    assert rule is not None
    crowd = list(islice(SCENARIOS["cohorts"].world.crowd(seed=1), 5000))
    assert all(segment_of(rule, person.traits) == person.segment for person in crowd)
    assert {person.segment for person in crowd} == {"heavy", "light"}


def test_the_best_mix_for_creators_is_on_the_frontier() -> None:
    mix, world = best_mix(), SCENARIOS["creators"].world
    free = 1 - 0.15 - 3 * 0.05  # not reserved, nor the floors of the others
    assert mix == pytest.approx({"present": 0.15, "lively": 0.05 + 8 / 9 * free, "viral": 0.05 + free / 9, "niche": 0.05})
    wanted = {"lively": 8 / 9, "viral": 1 / 9}
    served = sum(share * world.average("creator_satisfaction", arm) for arm, share in wanted.items())
    assert served == pytest.approx(0.98 * world.average("creator_satisfaction", "present"))
    problems = {world.average("problems", arm) for arm in mix}
    assert len(problems) == 1
