"""Pooled against standardised means: classical numbers, and silence where nothing is to be said."""

from __future__ import annotations

import numpy as np
import pytest

from allocator.errors import ArgumentError
from allocator.inference.simpson import simpson
from allocator.moments import Moments
from tests.trained import sums_of


def cells(*rows: tuple[int, int]) -> list[Moments]:
    """(successes, units) an arm."""
    return [Moments(1, tuple(sums_of(n, [s]))) for s, n in rows]


def test_kidney_stones():
    """Charig, Webb, Payne & Wickham (1986), BMJ 292: open surgery is better for small and large stones, and worse pooled."""
    stones = {"small": cells((234, 270), (81, 87)), "large": cells((55, 80), (192, 263))}
    found = simpson(stones, ["puncture", "surgery"], "puncture", 0)
    assert found.pooled == pytest.approx((289 / 350, 273 / 350))
    assert found.standardised == pytest.approx((0.7789, 0.8325), abs=2e-4)  # as in Julious & Mullee (1994), BMJ 309
    assert (found.pooled_best, found.standardised_best) == ("puncture", "surgery")
    (reversal,) = found.reversals
    assert (reversal.arm, reversal.pooled < 0 < reversal.standardised) == ("surgery", True)
    assert found.warned
    assert "surgery against puncture: pooled -0.0457, with segments weighed alike +0.0537" in found.reason


def test_berkeley_departments():
    """Bickel, Hammel & O'Connell (1975): admitted and applied, men and women, departments A to F."""
    departments = {
        "A": cells((512, 825), (89, 108)),
        "B": cells((353, 560), (17, 25)),
        "C": cells((120, 325), (202, 593)),
        "D": cells((138, 417), (131, 375)),
        "E": cells((53, 191), (94, 393)),
        "F": cells((22, 373), (24, 341)),
    }
    found = simpson(departments, ["men", "women"], "men", 0)
    assert found.pooled == pytest.approx((0.445, 0.304), abs=1e-3)
    assert found.standardised == pytest.approx((0.387, 0.430), abs=1e-3)
    assert found.warned


def test_alike_arms_agree():
    found = simpson({"x": cells((10, 100), (20, 100)), "y": cells((50, 100), (60, 100))}, ["a", "b"], "a", 0)
    assert not found.warned
    assert found.reason == "pooled and standardised means agree"
    assert found.pooled == pytest.approx(found.standardised)


def test_the_best_arm_may_turn_without_control():
    """b and c both beat control either way; which of them is ahead depends on who got the good segment."""
    found = simpson(
        {"good": cells((600, 1000), (1440, 1800), (180, 200)), "bad": cells((100, 1000), (30, 200), (540, 1800))},
        ["a", "b", "c"],
        "a",
        0,
    )
    assert (found.pooled_best, found.standardised_best) == ("b", "c")
    assert [(r.arm, r.against) for r in found.reversals] == [("c", "b")]


def test_down_is_better_for_some_metrics():
    found = simpson({"x": cells((1, 10), (2, 10)), "y": cells((1, 10), (2, 10))}, ["a", "b"], "a", 0, direction="down")
    assert found.pooled_best == found.standardised_best == "a"


def test_chance_imbalance_is_no_warning():
    """Equal arms, segments far apart: signs often differ, a warning is rare."""
    rng, warned, turned = np.random.default_rng(3), 0, 0
    for _ in range(400):
        segments = {}
        for name, rate in (("x", 0.1), ("y", 0.6)):
            n = rng.binomial(2000, 0.5)
            segments[name] = cells(*((rng.binomial(k, rate), k) for k in (n, 2000 - n)))
        found = simpson(segments, ["a", "b"], "a", 0)
        warned += found.warned
        turned += (found.pooled[1] - found.pooled[0]) * (found.standardised[1] - found.standardised[0]) < 0
    assert turned > 20  # there was something to keep quiet about
    assert warned <= 8


def test_segments_without_an_arm_are_left_out():
    found = simpson({"x": cells((1, 10), (2, 10)), "new": cells((5, 10), (0, 0)), "none": cells((0, 0), (0, 0))}, "ab", "a", 0)
    assert (list(found.shares), found.left_out) == (["x"], ("new",))
    assert found.pooled == pytest.approx((0.1, 0.2))
    nothing = simpson({"x": cells((1, 10), (0, 0)), "y": cells((0, 0), (1, 10))}, "ab", "a", 0)
    assert (nothing.warned, nothing.pooled_best, nothing.reason) == (False, None, "no segment has units of every arm")


def test_arguments():
    with pytest.raises(ArgumentError, match="control"):
        simpson({}, ["a", "b"], "c", 0)
    with pytest.raises(ArgumentError, match="1 moments"):
        simpson({"x": cells((1, 10))}, ["a", "b"], "a", 0)
