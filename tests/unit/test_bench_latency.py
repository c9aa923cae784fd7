"""A reward has arrived with the first weights that were decided on a partial that counted it."""

from __future__ import annotations

import pytest

from tests.bench.latency import Seen, latencies, until_counted

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
    assert latencies(found, since=0.0) == ([2.0, 1.5, 2.0], 0)


def test_weights_of_other_partitions_contain_nothing_of_this_one() -> None:
    assert latencies(seen([1.0], [(1, 5)], [(2.0, {"0": 9, "2": 9})]), since=0.0) == ([], 1)


def test_a_reward_that_no_partial_counted_is_missing() -> None:
    assert latencies(seen([1.0, 2.0], [(1, 5)], [(3.0, {"1": 8})]), since=0.0) == ([2.0], 1)


def test_a_reward_counted_by_a_partial_that_no_weights_contain_is_missing() -> None:
    assert latencies(seen([1.0], [(1, 5)], [(3.0, {"1": 4})]), since=0.0) == ([], 1)


@pytest.mark.parametrize("since,waited", [(1.0, [2.0, 1.0]), (1.5, [1.0]), (9.0, [])])
def test_rewards_of_the_warm_up_are_left_out_but_not_forgotten(since: float, waited: list[float]) -> None:
    assert latencies(seen([1.0, 2.0], [(2, 5)], [(3.0, {"1": 5})]), since) == (waited, 0)
    assert latencies(seen([1.0, 2.0], [], []), since)[1] == 2


def test_the_joins_share_ends_with_the_partial() -> None:
    found = seen([1.0, 1.5, 2.0], [(2, 5), (2, 6), (3, 9)], [])
    found.heard[SLOT] = [2.0, 2.5, 3.5]
    assert until_counted(found, since=1.2) == [0.5, 1.5]
