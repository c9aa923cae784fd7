"""The verdict on the sample ratio that a gate asks for: what is off is found, and arms that came or went are no alarm."""

from __future__ import annotations

import numpy as np

from allocator.evidence import Evidence, Sums
from allocator.moments import inverse_propensity, layout_of
from allocator.sample_ratio import ALPHA, sample_ratio_clean
from tests.ramps import ramped

AB = ramped(constraints={"floor": 0.02})
ABC = ramped(arms=["a", "b", "c"], constraints={"floor": 0.02})


def cell(*groups: tuple[int, float]) -> list[int]:
    """(units, propensity) …"""
    sums = layout_of(1).empty()
    for units, propensity in groups:
        layout_of(1).enter(sums, inverse_propensity(propensity), units)
    return sums


def evidence(arms: tuple[str, ...] = ("a", "b"), periods: dict[int, Sums] | None = None, **cells: list[int]) -> Evidence:
    return Evidence(arms, 1, {"": cells}, periods or {})


def test_units_as_promised_are_clean_and_others_are_not() -> None:
    assert sample_ratio_clean(AB, evidence(a=cell((50_100, 0.5)), b=cell((49_900, 0.5))), "ab")
    assert not sample_ratio_clean(AB, evidence(a=cell((51_500, 0.5)), b=cell((48_500, 0.5))), "ab")
    assert sample_ratio_clean(AB, evidence(), "ab"), "nothing known"


def test_weights_that_moved_are_no_mismatch() -> None:
    assert sample_ratio_clean(AB, evidence(a=cell((5000, 0.5), (1000, 0.1)), b=cell((5000, 0.5), (9000, 0.9))), "ab")
    assert not sample_ratio_clean(AB, evidence(a=cell((5000, 0.5), (9000, 0.1)), b=cell((5000, 0.5), (1000, 0.9))), "ab")


def test_an_arm_that_was_removed_counts_among_the_units() -> None:
    third = cell((10_000, 1 / 3))
    assert sample_ratio_clean(AB, evidence(a=third, b=third, gone=third), "ab")
    assert not sample_ratio_clean(AB, evidence(a=third, b=third), "ab"), "the control: without it units are missing"


def test_an_arm_that_came_later_is_not_judged_by_the_time_before() -> None:
    early, late = cell((30_000, 0.5)), cell((3000, 1 / 3))
    both = [early[i] + late[i] for i in range(len(early))]
    cells = {"a": both, "b": both, "c": late}
    found = Evidence(("a", "b", "c"), 1, {"": cells}, {1: {"a": early, "b": early}, 2: {"a": late, "b": late, "c": late}})
    assert sample_ratio_clean(ABC, found, "abc")
    assert not sample_ratio_clean(ABC, Evidence(("a", "b", "c"), 1, {"": cells}), "abc"), "the control: periods tell"


def test_an_arm_without_a_share_is_not_judged_and_the_others_are() -> None:
    arms = ("a", "b", "c")
    evicted = {"a": cell((20_000, 0.5)), "b": cell((20_000, 0.5))}
    assert sample_ratio_clean(ABC, evidence(arms, **evicted), ("a", "b"))
    assert not sample_ratio_clean(ABC, evidence(arms, a=cell((22_000, 0.5)), b=cell((18_000, 0.5))), ("a", "b"))
    lost = {"a": cell((20_000, 1 / 3)), "b": cell((20_000, 1 / 3)), "c": cell((15_000, 1 / 3))}
    assert not sample_ratio_clean(ABC, evidence(arms, **lost), ("a", "b")), "what one arm loses shows in the others"


def test_propensities_below_the_floor_of_now_are_those_of_an_earlier_floor() -> None:
    spec = ramped(constraints={"floor": 0.2})
    assert sample_ratio_clean(spec, evidence(a=cell((100, 0.01)), b=cell((9900, 0.99))), "ab")
    assert not sample_ratio_clean(spec, evidence(a=cell((3000, 0.01)), b=cell((7000, 0.99))), "ab")


def test_false_alarms_keep_to_alpha_however_often_it_is_asked() -> None:
    """300 experiments asked 25 times each, at weights that move: more than 15 alarms would be more than alpha."""
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(300):
        a, b = cell(), cell()
        for _ in range(25):
            share = rng.choice([0.1, 0.5, 0.9])
            n = rng.binomial(80, share)
            a, b = np.add(a, cell((int(n), share))).tolist(), np.add(b, cell((80 - int(n), 1 - share))).tolist()
            if not sample_ratio_clean(AB, evidence(a=a, b=b), "ab", alpha=0.05):
                alarms += 1
                break
    assert alarms <= 15
    assert ALPHA == 0.001
