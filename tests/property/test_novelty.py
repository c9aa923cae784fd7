"""Laws of the novelty test: order of cells, units of time and of the metric, and the origin of time mean nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.inference.effects import EffectTable
from allocator.inference.novelty import NoveltyResult, novelty

cells = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(-100, 100), st.sampled_from([1.0, 2.0, 5.0])), max_size=20
)
Cells = list[tuple[int, int, int, float]]
MARGIN = 30.0


def table_of(given_cells: Cells) -> EffectTable:
    return EffectTable.of(*([cell[i] for cell in given_cells] for i in range(4)))


def numbers(result: NoveltyResult, scale: float = 1.0, time: float = 1.0) -> list[float]:
    in_metric = [result.change, *result.change_interval, result.average, *result.average_interval]
    in_metric += [result.long_run, *result.long_run_interval, result.cohort_change]
    return [*(v * scale for v in in_metric), result.p, result.cohort_p, result.decay_s * time]


def same(one: NoveltyResult, other: NoveltyResult, scale: float = 1.0, time: float = 1.0) -> None:
    assert other.verdict == one.verdict
    assert numbers(other) == pytest.approx(numbers(one, scale, time), rel=1e-5, abs=1e-5 * scale, nan_ok=True)


@given(cells, st.randoms(use_true_random=False))
def test_the_order_of_cells_means_nothing(given_cells: Cells, random: object) -> None:
    shuffled = list(given_cells)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    same(novelty(table_of(given_cells), margin=MARGIN), novelty(table_of(shuffled), margin=MARGIN))


@given(cells, st.sampled_from([1e-3, 7.0, 1e4]))
def test_scaling_the_metric_scales_the_effects(given_cells: Cells, factor: float) -> None:
    table = table_of(given_cells)
    scaled = replace(table, effect=table.effect * factor, se=table.se * factor)
    same(novelty(table, margin=MARGIN), novelty(scaled, margin=MARGIN * factor), scale=factor)


@given(cells, st.sampled_from([0.125, 86_400.0]), st.integers(0, 10**6))
def test_the_unit_and_the_origin_of_time_mean_nothing(given_cells: Cells, factor: float, origin: int) -> None:
    table = table_of(given_cells)
    moved = replace(table, age_s=table.age_s * factor, cohort_s=table.cohort_s * factor + origin)
    same(novelty(table, margin=MARGIN), novelty(moved, margin=MARGIN), time=factor)


@given(cells)
def test_turning_the_metric_turns_the_verdict(given_cells: Cells) -> None:
    table = table_of(given_cells)
    up = novelty(table, "up", margin=MARGIN)
    turned = novelty(replace(table, effect=-table.effect), "down", margin=MARGIN)
    assert turned.verdict == up.verdict
    assert turned.change == pytest.approx(-up.change, nan_ok=True)
    assert turned.long_run == pytest.approx(-up.long_run, rel=1e-6, abs=1e-9, nan_ok=True)


@given(cells)
def test_a_verdict_is_in_order(given_cells: Cells) -> None:
    found = novelty(table_of(given_cells))
    assert 0 <= found.p <= 1
    if given_cells:
        assert found.long_run_interval[0] <= found.long_run <= found.long_run_interval[1]
        assert np.isfinite(found.average)
