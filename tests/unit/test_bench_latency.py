"""A reward has arrived with the first weights that were decided on a partial that counted it."""

from __future__ import annotations

import orjson
import pytest

from tests.bench.latency import Load, Seen, latencies, missing, newest_ages, until_counted

SLOT = ("exp-0", 1)


def seen(sent: list[float], counted: list[tuple[int, int]], weights: list[tuple[float, dict[str, int]]]) -> Seen:
    found = Seen()
    found.sent[SLOT] = sent
    found.counted[SLOT] = counted
    found.weights["exp-0"] = list(weights)
    return found


def test_each_reward_waits_for_the_first_weights_that_contain_it() -> None:
    # Commit 5 counted two rewards, commit 9 the third; the weights of time 3.0 were decided on a commit in between.
    found = seen([1.0, 1.5, 2.0], [(2, 5), (3, 9)], [(2.5, {"1": 4}), (3.0, {"1": 7}), (4.0, {"1": 9})])
    assert latencies(found, since=0.0) == [2.0, 1.5, 2.0]
    assert missing(found) == 0


def test_weights_of_other_partitions_contain_nothing_of_this_one() -> None:
    found = seen([1.0], [(1, 5)], [(2.0, {"0": 9, "2": 9})])
    assert (latencies(found, since=0.0), missing(found)) == ([], 1)


def test_a_reward_that_no_partial_counted_is_missing() -> None:
    found = seen([1.0, 2.0], [(1, 5)], [(3.0, {"1": 8})])
    assert (latencies(found, since=0.0), missing(found)) == ([2.0], 1)


def test_a_reward_counted_by_a_partial_that_no_weights_contain_is_missing() -> None:
    found = seen([1.0], [(1, 5)], [(3.0, {"1": 4})])
    assert (latencies(found, since=0.0), missing(found)) == ([], 1)


@pytest.mark.parametrize("since,waited", [(1.0, [2.0, 1.0]), (1.5, [1.0]), (9.0, [])])
def test_rewards_of_the_warm_up_are_left_out_but_not_forgotten(since: float, waited: list[float]) -> None:
    assert latencies(seen([1.0, 2.0], [(2, 5)], [(3.0, {"1": 5})]), since) == waited
    assert missing(seen([1.0, 2.0], [], [])) == 2


def test_the_joins_share_ends_with_the_partial() -> None:
    found = seen([1.0, 1.5, 2.0], [(2, 5), (2, 6), (3, 9)], [])
    found.heard[SLOT] = [2.0, 2.5, 3.5]
    assert until_counted(found, since=1.2) == [0.5, 1.5]


def test_the_age_of_weights_is_that_of_the_newest_reward_in_them() -> None:
    found = seen([1.0, 1.5, 2.0], [(2, 5), (3, 9)], [(2.5, {"1": 5}), (2.75, {"1": 5}), (4.0, {"1": 9})])
    assert newest_ages(found, since=0.0) == [1.0, 2.0]  # the second weights have nothing new
    assert newest_ages(found, since=1.75) == [2.0]


def test_a_load_spreads_units_over_experiments_arms_and_segments() -> None:
    load = Load.of(rate=60, seconds=20.0, experiments=10, metrics=5, segments=3)
    assert (load.per_s, len(load.units)) == (10, 200)
    segments = {orjson.loads(load.exposure(i, 0.0))["segment"] for i in range(200)}
    assert segments == {"segment-0", "segment-1", "segment-2"}
    assert {orjson.loads(r)["metric"] for r in load.rewards(0, 0.0)} == {"thumbs_up", "value-1", "value-2", "value-3", "value-4"}
    assert all(orjson.loads(load.rewards(i, 0.0)[0])["value"] in (0, 1) for i in range(200))
