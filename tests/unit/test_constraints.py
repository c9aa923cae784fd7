"""Floor, maximum shift and whole parts per million."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.constraints import capped, lifted, limited, to_ppm, to_shares, with_floor, with_reserved
from allocator.weights import PPM


@st.composite
def shares(draw: st.DrawFn, arms: int | None = None) -> np.ndarray:  # type: ignore[type-arg]
    k = draw(st.integers(1, 100)) if arms is None else arms
    raw = np.array(draw(st.lists(st.one_of(st.just(0.0), st.floats(1e-9, 1.0)), min_size=k, max_size=k)))
    return raw / raw.sum() if raw.sum() > 0 else np.full(k, 1 / k)


@given(shares(), st.floats(0, 1))
def test_floor_identity(weights: np.ndarray, part: float) -> None:  # type: ignore[type-arg]
    floor = part / len(weights)
    p = with_floor(weights, floor)
    assert p.min() >= floor
    assert p.sum() == pytest.approx(1)
    np.testing.assert_allclose((p - floor), (1 - len(p) * floor) * weights, atol=1e-15)


@given(shares(), st.floats(0, 1), st.floats(0, 1), st.data())
def test_the_reserved_share_is_kept_once_the_floor_is_applied(
    weights: np.ndarray,  # type: ignore[type-arg]
    reserved: float,
    part: float,
    data: st.DataObject,
) -> None:
    k, control = len(weights), data.draw(st.integers(0, len(weights) - 1))
    floor = part * min(1 / k, (1 - reserved) / max(1, k - 1))
    raised = with_reserved(weights, control, reserved, floor)
    assert raised.sum() == pytest.approx(1)
    assert raised.min() >= 0
    if k > 1:
        assert with_floor(raised, floor)[control] >= reserved - 1e-9
    if with_floor(weights, floor)[control] >= reserved:
        np.testing.assert_allclose(raised, weights, atol=1e-9)
    others = np.arange(k) != control
    if raised[others].sum() > 0:
        np.testing.assert_allclose(raised[others] * weights[others].sum(), weights[others] * raised[others].sum(), atol=1e-12)


@given(shares(), st.floats(0, 1))
def test_the_cap_takes_from_who_is_above_and_gives_in_proportion(weights: np.ndarray, part: float) -> None:  # type: ignore[type-arg]
    cap = 1 / len(weights) + part * (1 - 1 / len(weights))
    out = capped(weights, cap)
    assert out.sum() == pytest.approx(1)
    assert out.max() <= cap + 1e-12
    free = out < cap - 1e-9
    assert np.all(out[free] >= weights[free] - 1e-12)
    np.testing.assert_allclose(out[free] * weights[free].sum(), weights[free] * out[free].sum(), atol=1e-9)


def test_what_the_cap_frees_can_push_another_arm_to_the_cap() -> None:
    np.testing.assert_allclose(capped(np.array([0.7, 0.25, 0.05]), 0.4), [0.4, 0.4, 0.2])
    np.testing.assert_allclose(capped(np.array([1.0, 0.0, 0.0]), 0.5), [0.5, 0.25, 0.25])


@given(shares(), st.floats(0, 1))
def test_lifting_raises_only_who_is_below(weights: np.ndarray, part: float) -> None:  # type: ignore[type-arg]
    floor = part / len(weights)
    p = lifted(weights, floor)
    assert p.min() >= floor - 1e-12
    assert p.sum() == pytest.approx(1)
    above = weights >= floor
    assert (p[above] <= weights[above] + 1e-12).all()
    assert (p[~above] <= floor + 1e-12).all()


@given(st.integers(1, 50).flatmap(lambda k: st.tuples(shares(k), shares(k))), st.floats(0.001, 1))
def test_no_arm_moves_further_than_allowed(pair: tuple[np.ndarray, np.ndarray], most: float) -> None:  # type: ignore[type-arg]
    start, target = pair
    p = limited(start, target, most)
    assert np.abs(p - start).max() <= most + 1e-12
    assert p.sum() == pytest.approx(1)
    assert (p >= np.minimum(start, target) - 1e-12).all()
    assert (p <= np.maximum(start, target) + 1e-12).all()
    if np.abs(target - start).max() <= most:
        assert p.tolist() == target.tolist()


@given(shares())
def test_ppm_sum_to_a_million_and_err_by_less_than_one(weights: np.ndarray) -> None:  # type: ignore[type-arg]
    ppm = to_ppm(weights)
    assert sum(ppm) == PPM
    assert np.abs(np.array(ppm) - weights * PPM).max() < 1 + 1e-5


@given(shares())
def test_ppm_survive_the_way_back(weights: np.ndarray) -> None:  # type: ignore[type-arg]
    ppm = to_ppm(weights)
    assert to_ppm(to_shares(ppm)) == ppm


def test_ties_go_to_the_earlier_arm() -> None:
    assert to_ppm(np.full(3, 1 / 3)) == (333_334, 333_333, 333_333)
    assert to_ppm(np.full(7, 1 / 7)) == (142_858,) + (142_857,) * 6
    many = to_ppm(np.array([16_000.5, 17_332 + 5 / 6] * 30) / PPM)  # forty to give: thirty to 5/6, ten to the first halves
    assert many[1::2] == (17_333,) * 30
    assert many[::2] == (16_001,) * 10 + (16_000,) * 20


def test_a_share_of_whole_ppm_keeps_them() -> None:
    assert to_ppm(np.array([0.29, 0.57, 0.14])) == (290_000, 570_000, 140_000)
    for part in range(1, 1000):
        assert to_ppm(np.array([part / 1000, 1 - part / 1000]))[0] == part * 1000
