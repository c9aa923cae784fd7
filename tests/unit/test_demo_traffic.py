"""What happens to requests follows from the seed, and the pace from the clock."""

from __future__ import annotations

from collections import Counter

import pytest

from streams.demo.traffic import DELAY_MAX_S, Pace, traffic


def test_every_row_comes_once_before_any_comes_again() -> None:
    rows = [request.row for request in traffic(50, 175, seed=3)]
    passes = [rows[i : i + 50] for i in range(0, 175, 50)]
    assert all(sorted(one) == list(range(50)) for one in passes[:3])
    assert max(Counter(passes[3]).values()) == 1
    assert passes[0] != passes[1] != list(range(50))


def test_the_seed_decides() -> None:
    assert list(traffic(10, 100, seed=1)) == list(traffic(10, 100, seed=1)) != list(traffic(10, 100, seed=2))


def test_some_are_early_some_doubled_and_delays_are_bounded() -> None:
    requests = list(traffic(100, 10_000, seed=0))
    for share in (
        sum(request.early for request in requests),
        sum(request.exposure_twice for request in requests),
        sum(request.reward_twice for request in requests),
    ):
        assert 50 < share < 200
    assert 0 < max(request.reward_delay_s for request in requests) <= DELAY_MAX_S
    # who is not early has its exposure sent at once
    assert all(request.exposure_delay_s == 0 for request in requests if not request.early)


def test_pace_follows_the_clock_and_drops_no_fraction() -> None:
    pace = Pace(100.0, now=10.0)
    taken = [pace.take(10.0 + i / 1000) for i in range(1, 1001)]
    assert sum(taken) == pytest.approx(100, abs=1)
    assert max(taken) == 1


def test_pace_makes_up_for_little_of_a_long_delay() -> None:
    pace = Pace(1000.0, now=0.0)
    assert pace.take(60.0) == 1000 * Pace.CATCH_UP_S
    assert pace.take(60.0) == 0
    assert pace.take(60.0105) == 10
