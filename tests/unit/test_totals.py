"""The newest partial of every partition and cell, summed."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec

from allocator.delay import LAG_BINS
from allocator.moments import Moments, layout_of
from streams.allocate.totals import Totals
from streams.records import COUNTERS, Cell, Partial, VersionUnits
from tests.folding import experiment

CHAT = experiment()


def units(n: int, successes: int = 0) -> list[int]:
    """Sums of one metric over `n` units with propensity 1, the first `successes` of them with the value 1."""
    layout = layout_of(1)
    sums = layout.empty()
    for i in range(n):
        layout.enter(sums, 1_000_000)
        if i < successes:
            layout.change(sums, 1_000_000, [0], 0, 1)
    return sums


def partial(seq: int, cell: Cell, *, partition: int = 0, period: int = 0, **fields: Any) -> Partial:
    return Partial(experiment="chat", partition=partition, period=period, seq=seq, cell=cell, **fields)


def counters(seq: int, partition: int = 0, **fields: Any) -> Partial:
    return Partial(experiment="chat", partition=partition, period=COUNTERS, seq=seq, **fields)


def cell(
    arm: str,
    n: int = 0,
    successes: int = 0,
    *,
    segment: str = "",
    holdback: bool = False,
    lags: list[dict[int, int]] | None = None,
) -> Cell:
    return Cell(segment, arm, holdback, units(n, successes), lags or [])


def trained(totals: Totals) -> dict[str, tuple[int, int]]:
    """{arm: (n, sum)} of arms that have a cell."""
    found = totals.training(CHAT)
    seen = {arm for sums in found.segments.values() for arm in sums}
    return {arm: (m.n, m.sum(0)) for arm, m in zip(found.arms, found.total, strict=True) if arm in seen}


def taking(*partials: Partial) -> Totals:
    totals = Totals()
    for each in partials:
        totals.replace(each)
    return totals


def test_nothing_is_known_at_first() -> None:
    totals = Totals()
    assert (trained(totals), totals.counters(), totals.inputs(), totals.event_ts) == ({}, {}, {}, 0.0)
    assert totals.held_back(CHAT) == Moments.zero(1)


def test_the_newest_partial_replaces_the_one_before() -> None:
    totals = taking(partial(1, cell("a", 10, 1)))
    assert totals.replace(partial(2, cell("a", 12, 3)))
    assert trained(totals) == {"a": (12, 3)}


def test_a_replay_changes_nothing() -> None:
    totals = taking(partial(1, cell("a", 10)), partial(5, cell("a", 12)))
    for seq in (1, 4, 5):
        assert not totals.replace(partial(seq, cell("a", 99)))
    assert trained(totals) == {"a": (12, 0)}


def test_partitions_and_periods_add_up() -> None:
    totals = taking(
        partial(1, cell("a", 1, 1)),
        partial(1, cell("b", 2)),
        partial(1, cell("a", 10), period=1),
        partial(7, cell("a", 100, 50), partition=3, period=1),
    )
    assert trained(totals) == {"a": (111, 51), "b": (2, 0)}
    totals.replace(partial(8, cell("a", 200, 60), partition=3, period=1))
    assert trained(totals) == {"a": (211, 61), "b": (2, 0)}


def test_a_cell_of_which_nothing_new_is_said_stays() -> None:
    totals = taking(partial(1, cell("a", 5)), partial(1, cell("b", 5)), partial(2, cell("a", 6)))
    assert trained(totals) == {"a": (6, 0), "b": (5, 0)}


def test_a_partial_of_neither_a_cell_nor_counters_is_left_alone() -> None:
    """Before there was one a cell, a partial held all cells of a period."""
    written = msgspec.json.decode(msgspec.json.encode(partial(1, cell("a", 1))))
    written["cells"] = [written.pop("cell")]
    totals = Totals()
    assert not totals.replace(msgspec.convert(written, Partial))
    assert (trained(totals), totals.inputs()) == ({}, {})


def test_segments_are_trained_on_together_and_the_holdback_is_not() -> None:
    totals = taking(
        partial(1, cell("a", 1)),
        partial(1, cell("a", 10, segment="pro")),
        partial(1, cell("a", 100, 40, holdback=True)),
        partial(1, cell("a", 1000, 1, segment="pro", holdback=True), partition=1),
    )
    assert trained(totals) == {"a": (11, 0)}
    held_back = totals.held_back(CHAT)
    assert (held_back.sums[0], held_back.sums[1]) == (1100, 41)


def test_counters_add_up_over_partitions_and_are_not_kept_by_period() -> None:
    totals = taking(
        counters(1, counters={"rewards.applied": 3, "exposures.applied": 4}),
        counters(2, counters={"rewards.applied": 5, "exposures.applied": 6}),
        counters(1, 1, counters={"exposures.applied": 10, "rewards.late": 1}),
        partial(9, cell("a", 1), period=3),
    )
    assert totals.counters() == {"exposures.applied": 16, "rewards.applied": 5, "rewards.late": 1}
    assert list(totals.counters()) == sorted(totals.counters())


def test_counters_may_fall_when_a_waiting_reward_is_applied() -> None:
    totals = taking(
        counters(1, counters={"rewards.waiting": 2}),
        counters(2, counters={"rewards.applied": 2}),
    )
    assert totals.counters() == {"rewards.applied": 2}


def test_inputs_name_the_newest_sequence_number_of_every_partition() -> None:
    a = cell("a")
    totals = taking(partial(3, a), partial(8, a, period=1), partial(2, a, period=2), counters(5, 10), partial(4, a, partition=2))
    assert totals.inputs() == {"0": 8, "2": 4, "10": 5}


def test_a_state_begun_anew_replaces_all_that_the_one_before_has_published() -> None:
    totals = taking(
        partial(70, cell("a", 100), epoch=1),
        partial(71, cell("a", 1000), epoch=1, period=1),
        counters(71, epoch=1, counters={"exposures.applied": 1100}),
        partial(5, cell("a", 7), partition=1, epoch=1),
    )
    assert totals.replace(partial(1, cell("a", 3), epoch=2))
    assert (trained(totals), totals.counters(), totals.inputs()) == ({"a": (10, 0)}, {}, {"0": 1, "1": 5})
    assert not totals.replace(partial(72, cell("a", 1001), epoch=1, period=1))
    assert totals.replace(partial(2, cell("a", 20), epoch=2, period=1))
    assert trained(totals) == {"a": (30, 0)}


def test_without_epochs_a_state_begun_anew_would_not_be_heard() -> None:
    """The control of the test above."""
    totals = taking(partial(70, cell("a", 100)), partial(71, cell("a", 1000), period=1))
    assert not totals.replace(partial(1, cell("a", 3)))
    assert trained(totals) == {"a": (1100, 0)}


def test_the_newest_event_time_is_kept() -> None:
    totals = taking(counters(1, event_ts=100.0), counters(1, 1, event_ts=90.0), counters(1, event_ts=500.0))
    assert totals.event_ts == 100.0  # the last one is a replay under a number known already


def test_partials_are_not_changed_by_what_comes_after() -> None:
    first = partial(1, cell("a", 10))
    taking(first, partial(1, cell("a", 5), partition=1))
    assert first == partial(1, cell("a", 10))


def test_training_is_there_by_segment_and_by_period_too() -> None:
    cells = [cell("a", 5, 2, segment="pro"), cell("b", 4, segment="free"), cell("a", 9, holdback=True)]
    first = [partial(1, each, period=3) for each in cells]
    totals = taking(*first, partial(2, cell("a", 1, 1, segment="pro"), period=2, partition=1))
    found = totals.training(CHAT)
    assert {name: [m.n for m in arms] for name, arms in found.by_segment.items()} == {"free": [0, 4], "pro": [6, 0]}
    assert {period: [m.n for m in arms] for period, arms in found.by_period.items()} == {2: [1, 0], 3: [5, 4]}
    assert [m.sum(0) for m in found.total] == [3, 0]


def late(bin_: int, count: int = 1) -> list[int]:
    row = [0] * LAG_BINS
    row[bin_] = count
    return row


def test_lags_add_up_over_partitions_by_period_arm_and_metric() -> None:
    totals = taking(
        partial(1, cell("a", lags=[{3: 1}], segment="pro"), period=1),
        partial(1, cell("a", lags=[{}, {4: 1}]), period=1),
        partial(1, cell("a", lags=[{}, {4: 2}]), period=1, partition=1),
        partial(1, cell("b", lags=[{0: 1}]), period=1, partition=1),
        partial(1, cell("a", lags=[{3: 5}]), period=2),
    )
    found = totals.training(CHAT)
    assert found.lags == {1: {"a": [late(3), late(4, 3)], "b": [late(0)]}, 2: {"a": [late(3, 5)]}}
    assert found.every_lag == {"a": [late(3, 6), late(4, 3)], "b": [late(0)]}
    assert dataclasses.replace(found, all_lags=None).every_lag == found.every_lag
    totals.replace(partial(2, cell("a", lags=[{3: 2}], segment="pro"), period=1))
    assert totals.training(CHAT).every_lag == {"a": [late(3, 7), late(4, 3)], "b": [late(0)]}


def test_lags_of_a_state_begun_anew_replace_those_before() -> None:
    totals = taking(
        partial(9, cell("a", lags=[{3: 1}]), period=1, epoch=1), partial(1, cell("a", lags=[{5: 1}]), period=2, epoch=2)
    )
    assert totals.training(CHAT).every_lag == {"a": [late(5)]}


def test_rewards_were_read_up_to_what_the_furthest_partition_says() -> None:
    totals = Totals()
    assert totals.training(CHAT).read_until is None
    totals.replace(counters(1, read_until=100.0))
    totals.replace(counters(1, 1, read_until=90.0))
    assert totals.training(CHAT).read_until == 100.0
    totals.replace(counters(1, epoch=1, read_until=50.0))
    assert totals.training(CHAT).read_until == 90.0


def test_partials_without_lags_can_be_read() -> None:
    """Those of workers that did not count them."""
    written = msgspec.json.decode(msgspec.json.encode(partial(1, cell("a", 1))))
    written["cell"].pop()
    assert "read_until" not in written
    totals = taking(msgspec.convert(written, Partial))
    assert (totals.training(CHAT).lags, totals.training(CHAT).read_until) == ({}, None)


def test_versions_are_those_of_the_counters_partials_and_replaced_with_them() -> None:
    totals = taking(
        counters(1, 0, versions=[VersionUnits(7, 10.0, {"a": (1, 2)})]),
        counters(2, 0, versions=[VersionUnits(7, 20.0, {"a": (3, 6)})]),
        counters(1, 1, versions=[VersionUnits(7, 15.0, {"a": (1, 2), "b": (1, 2)}), VersionUnits(8, 30.0, {"b": (2, 4)})]),
    )
    assert totals.versions().rows == [VersionUnits(7, 20.0, {"a": (4, 8), "b": (1, 2)}), VersionUnits(8, 30.0, {"b": (2, 4)})]
    assert totals.versions().older is None
