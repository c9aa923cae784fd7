"""Laws of namespaces: a unit is in at most one experiment of each, and growing moves nobody."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from allocator.assignment import Assigner
from allocator.decide import decide
from allocator.experiment import Experiment
from allocator.lifecycle import revise
from allocator.namespaces import PLACES, Namespace, Range, conflicts, free, merged, overlap, place
from allocator.spec import load_experiment
from allocator.weights import Weights

SMALLEST = load_experiment({"experiment": "e", "arms": ["a", "b"], "metrics": {"m": "binary"}, "lease": "1h"})

places = st.integers(0, PLACES)
ranges = st.tuples(places, places).map(sorted).filter(lambda pair: pair[0] < pair[1]).map(tuple)
several = st.lists(ranges, max_size=6)
units = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def holding(name: str, held: list[Range]) -> Experiment:
    shares = tuple((low / PLACES, high / PLACES) for low, high in merged(held))
    return msgspec.structs.replace(SMALLEST, experiment=name, namespace=Namespace(name="home-page", ranges=shares))


def published(experiment: Experiment) -> Weights:
    return decide(experiment, {}, None, 0.0).weights


def held_by(one: int, ranges: tuple[Range, ...]) -> bool:
    return any(low <= one < high for low, high in ranges)


@given(several, st.integers(0, PLACES - 1))
def test_what_is_free_is_all_that_is_not_taken(taken: list[Range], one: int) -> None:
    assert held_by(one, free(taken)) != held_by(one, tuple(taken))
    assert free(free(taken)) == merged(taken)


@given(several, several, st.integers(0, PLACES - 1))
def test_an_overlap_is_what_both_have(some: list[Range], others: list[Range], one: int) -> None:
    assert held_by(one, overlap(some, others)) == (held_by(one, tuple(some)) and held_by(one, tuple(others)))


@given(st.lists(several.filter(bool), min_size=1, max_size=5), st.lists(units, min_size=20, max_size=20))
def test_a_unit_is_in_at_most_one_experiment_of_a_namespace(wishes: list[list[Range]], some: list[str]) -> None:
    """Whatever owners wish for, in any order: those that `conflicts` lets in share no unit."""
    let_in: list[Experiment] = []
    for i, wish in enumerate(wishes):
        wanted = holding(f"e-{i}", wish)
        if not conflicts(wanted, let_in):
            let_in.append(wanted)
    assigners = [Assigner(published(experiment)) for experiment in let_in]
    for unit in some:
        found = [assigner.assign(unit, 1.0) for assigner in assigners]
        assert sum(one.enrolled for one in found) <= 1
        assert [one.enrolled for one in found] == [
            held_by(place("home-page", unit), e.namespace.places) for e in let_in if e.namespace
        ]


@given(several.filter(bool), several, st.lists(units, min_size=20, max_size=20))
def test_growing_moves_no_unit(held: list[Range], more: list[Range], some: list[str]) -> None:
    before = holding("e", held)
    after = revise(before, holding("e", [*held, *more]))
    small, large = Assigner(published(before)), Assigner(published(after))
    for unit in some:
        if (was := small.assign(unit, 1.0)).enrolled:
            assert large.assign(unit, 1.0) == was
