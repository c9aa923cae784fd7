"""Which batches make the next chunk of the join."""

from __future__ import annotations

import pytest

from streams.join.cut import Chunk, cut, linger_s
from streams.queues import SourceQueue
from streams.seam import Batch

TOPICS = ("exposures", "rewards")
Times = tuple[int, int]


def queued(*times: Times, count: int = 10) -> SourceQueue:
    """One batch of `count` records for each (first, last) log time."""
    queue = SourceQueue(0)
    batches = [Batch(i * count, (i + 1) * count, count, first, last, None) for i, (first, last) in enumerate(times)]
    assert queue.put(batches)
    return queue


def chunk(exposures: SourceQueue, rewards: SourceQueue, *, at_end: str = "", records_max: int = 1000) -> tuple[int, int] | None:
    """How many batches of each are taken; `at_end` names the topics that have no more to fetch."""
    made: Chunk | None = cut(exposures, rewards, records_max, lambda topic, _: topic in at_end, TOPICS)
    return made and (len(made[0]), len(made[1]))


def test_nothing_queued_is_no_chunk() -> None:
    for at_end in ("", "exposures", "rewards", "exposures rewards"):
        assert chunk(queued(), queued(), at_end=at_end) is None


def test_all_of_both_when_both_are_at_their_end() -> None:
    assert chunk(queued((0, 10)), queued((500, 600), (600, 700)), at_end="exposures rewards") == (1, 2)


def test_waits_for_the_side_that_has_more_to_fetch() -> None:
    assert chunk(queued((0, 10)), queued()) is None
    assert chunk(queued(), queued((0, 10))) is None
    assert chunk(queued((0, 10)), queued(), at_end="exposures") is None


def test_does_not_wait_for_a_side_at_its_end() -> None:
    assert chunk(queued((0, 10)), queued(), at_end="rewards") == (1, 0)
    assert chunk(queued(), queued((0, 10)), at_end="exposures") == (0, 1)


def test_rewards_stop_at_the_log_time_the_exposures_have_reached() -> None:
    rewards = queued((0, 90), (90, 100), (95, 101))
    assert chunk(queued((0, 50), (50, 100)), rewards, at_end="rewards") == (2, 2)
    assert [b.last_ms for b in rewards.batches] == [101]


def test_exposures_go_as_far_as_rewards_have_reached_and_one_begun_batch_further() -> None:
    exposures = queued((0, 50), (60, 150), (101, 200))
    assert chunk(exposures, queued((10, 100)), at_end="exposures") == (2, 1)
    assert [b.first_ms for b in exposures.batches] == [101]


def test_the_side_that_has_come_less_far_bounds_the_other() -> None:
    assert chunk(queued((0, 100)), queued((0, 50), (50, 300))) == (1, 1)
    assert chunk(queued((0, 100), (100, 400)), queued((0, 50))) == (1, 1)


def test_a_chunk_may_be_of_one_side_only() -> None:
    assert chunk(queued((0, 100)), queued((200, 300))) == (1, 0)
    assert chunk(queued((200, 300)), queued((0, 100))) == (0, 1)


def test_a_chunk_holds_about_the_most_records_wanted() -> None:
    exposures, rewards = queued(*[(i, i + 1) for i in range(9)]), queued(*[(i, i + 1) for i in range(9)])
    assert chunk(exposures, rewards, at_end="exposures rewards", records_max=25) == (3, 3)
    assert chunk(exposures, rewards, at_end="exposures rewards", records_max=1) == (1, 1)


def test_a_side_with_more_queued_is_not_at_its_end() -> None:
    # nothing is left to fetch, but the rest of the queue comes later: rewards beyond it must wait
    assert chunk(queued((0, 10), (10, 20)), queued((15, 16)), at_end="exposures rewards", records_max=10) == (1, 0)


def test_always_takes_something_when_both_sides_have_something() -> None:
    for exposed in ((0, 10), (5, 5), (50, 60)):
        for rewarded in ((0, 10), (5, 5), (50, 60), (0, 100)):
            taken = chunk(queued(exposed), queued(rewarded))
            assert taken is not None
            assert sum(taken) > 0


def test_ranges_without_records_are_taken_like_others() -> None:
    exposures = SourceQueue(0)
    exposures.put([Batch(0, 3, 0, 5, 7, None)])
    assert chunk(exposures, queued(), at_end="exposures rewards") == (1, 0)


@pytest.mark.parametrize(
    "records, until_due_s, wait_s",
    [
        (1, 0.03, 0.03),  # what comes meanwhile shares the commit
        (999, 0.03, 0.03),
        (1000, 0.03, 0.0),  # a whole chunk: far behind, or many events
        (0, 0.03, 0.0),  # nothing to cut: others decide when to look again
        (1, 0.0, 0.0),
        (1, -5.0, 0.0),
    ],
)
def test_less_than_a_chunk_waits_until_partials_are_due(records: int, until_due_s: float, wait_s: float) -> None:
    assert linger_s(records, 1000, until_due_s) == wait_s
