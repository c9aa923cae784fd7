"""Moments are a commutative group, and a function of the units alone: any order, interleaving, split and merge."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from allocator import Moments
from allocator.moments import STEPS_MAX, inverse_propensity, layout_of, quantise

METRICS = 3
LENGTH = layout_of(METRICS).length

moments = st.lists(st.integers(-(10**60), 10**60), min_size=LENGTH, max_size=LENGTH).map(lambda v: Moments(METRICS, tuple(v)))


@given(moments, moments, moments)
def test_a_commutative_group(a: Moments, b: Moments, c: Moments) -> None:
    zero = Moments.zero(METRICS)
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + zero == a
    assert a - a == zero
    assert (a + b) - b == a
    assert Moments.total(METRICS, [a.sums, b.sums, c.sums]) == a + b + c
    assert Moments.total(METRICS, []) == zero


@dataclass
class Unit:
    """A unit's propensity and the values each metric takes, one after the other; the last one stays."""

    propensity: float
    values: list[tuple[int, float]]


def in_range(resolution: float) -> st.SearchStrategy[float]:
    most = STEPS_MAX * resolution * 0.999
    return st.one_of(st.sampled_from([0.0, 1.0, -1.0, 0.5]), st.floats(-most, most))


RESOLUTIONS = (1.0, 0.01, 1e-6)
units = st.lists(
    st.builds(
        Unit,
        st.one_of(st.sampled_from([1.0, 0.5, 1e-6]), st.floats(1e-6, 1.0)),
        st.lists(st.integers(0, METRICS - 1).flatmap(lambda j: st.tuples(st.just(j), in_range(RESOLUTIONS[j]))), max_size=5),
    ),
    max_size=8,
)


def steps(j: int, value: float) -> int:
    return quantise(value, 1 / RESOLUTIONS[j])


def oracle(given_units: list[Unit]) -> list[Fraction]:
    """Final vectors of the units, in natural units as fractions, summed once and only then put in steps."""
    one = [Fraction(1, round(1 / r)) for r in RESOLUTIONS]
    million = 10**6
    total = [Fraction(0)] * LENGTH
    for unit in given_units:
        y = [Fraction(0)] * METRICS
        for j, value in unit.values:
            y[j] = steps(j, value) * one[j]
        w = Fraction(inverse_propensity(unit.propensity), million)
        pairs = [(j, k) for j in range(METRICS) for k in range(j, METRICS)]
        terms = [Fraction(1), *(y[j] / one[j] for j in range(METRICS)), *(y[j] * y[k] / one[j] / one[k] for j, k in pairs)]
        terms += [w * million, w * w * million**2]
        terms += [w * million * y[j] / one[j] for j in range(METRICS)]
        terms += [(w * million) ** 2 * y[j] / one[j] for j in range(METRICS)]
        terms += [(w * million * y[j] / one[j]) ** 2 for j in range(METRICS)]
        total = [a + b for a, b in zip(total, terms, strict=True)]
    return total


@given(units, st.data())
def test_any_interleaving_over_any_split_gives_the_true_integers(given_units: list[Unit], data: st.DataObject) -> None:
    """A unit's own changes keep their order, as those under one Kafka key do; all else is free."""
    layout = layout_of(METRICS)
    cells = [layout.empty() for _ in range(data.draw(st.integers(1, 4)))]
    cell_of = [data.draw(st.integers(0, len(cells) - 1)) for _ in given_units]
    state = [[0] * METRICS for _ in given_units]
    turns = [i for i, unit in enumerate(given_units) for _ in range(1 + len(unit.values))]
    done = [0] * len(given_units)
    for i in data.draw(st.permutations(turns)):
        unit, cell = given_units[i], cells[cell_of[i]]
        weight = inverse_propensity(unit.propensity)
        if done[i] == 0:
            layout.enter(cell, weight)
        else:
            j, value = unit.values[done[i] - 1]
            layout.change(cell, weight, state[i], j, steps(j, value))
        done[i] += 1
    assert all(layout.contradiction(cell) is None for cell in cells)
    merged = Moments.total(METRICS, data.draw(st.permutations(cells)))
    assert list(merged.sums) == oracle(given_units)


@given(units, st.integers(0, 7))
def test_a_unit_taken_back_was_never_there(given_units: list[Unit], which: int) -> None:
    layout, sums, kept = layout_of(METRICS), layout_of(METRICS).empty(), []
    for i, unit in enumerate(given_units):
        weight, y = inverse_propensity(unit.propensity), [0] * METRICS
        layout.enter(sums, weight)
        for j, value in unit.values:
            layout.change(sums, weight, y, j, steps(j, value))
        if i == which:
            for j in range(METRICS):
                layout.change(sums, weight, y, j, 0)
            layout.enter(sums, weight, -1)
        else:
            kept.append(unit)
    assert sums == oracle(kept)
