"""Namespaces: who holds what, what is refused and why, and that growing is all a running experiment may do."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from scipy import stats

from allocator.decide import decide
from allocator.errors import SpecErrors
from allocator.experiment import Experiment
from allocator.lifecycle import revise
from allocator.namespaces import conflicts, conflicts_among, free, holdings, place, seed_of, written
from allocator.publication import _seed
from allocator.spec import load_experiment

UNITS = 20_000


def spec(name: str, *ranges: list[Any], namespace: str = "home-page", **changes: Any) -> Experiment:
    fields: dict[str, Any] = {"experiment": name, "arms": ["a", "b"], "metrics": {"m": "binary"}, "owner": f"team-{name}"}
    if ranges:
        fields["namespace"] = {"name": namespace, "ranges": list(ranges)}
    return load_experiment(fields | changes)


def texts(errors: list[Any]) -> list[str]:
    return [str(error) for error in errors]


def test_an_overlap_names_the_other_experiment_its_owner_and_what_is_free() -> None:
    others = [spec("reco", ["0%", "30%"]), spec("banner", ["60%", "80%"]), spec("search", ["0%", "100%"], namespace="results")]
    wanted = "namespace: '20%–70%': expected units of home-page that are free, 30%–60%, 80%–100%:"
    assert texts(conflicts(spec("new", ["20%", "70%"]), others)) == [
        f"{wanted} reco, owner team-reco, holds 20%–30%",
        f"{wanted} banner, owner team-banner, holds 60%–70%",
    ]
    assert conflicts(spec("new", ["30%", "60%"]), others) == []


def test_nothing_is_free_and_no_owner_is_named() -> None:
    [error] = conflicts(spec("new", [0, 0.5]), [spec("reco", [0, 1], owner="")])
    assert "that are free, nothing: reco, owner not named, holds 0%–50%" in str(error)


@pytest.mark.parametrize("status", ["running", "paused"])
def test_who_is_over_holds_nothing(status: str) -> None:
    holder = msgspec.structs.replace(spec("reco", [0, 1]), status=status)
    assert len(conflicts(spec("new", [0, 0.5]), [holder])) == 1
    assert conflicts(spec("new", [0, 0.5]), [msgspec.structs.replace(holder, status="stopped")]) == []
    assert conflicts(msgspec.structs.replace(spec("new", [0, 0.5]), status="stopped"), [holder]) == []


def test_an_experiment_is_not_in_its_own_way() -> None:
    assert conflicts(spec("reco", [0, 0.5]), [spec("reco", [0, 0.3])]) == []
    assert conflicts(spec("reco"), [spec("other", [0, 1])]) == []


def test_a_namespace_is_of_one_kind_of_unit() -> None:
    [error] = conflicts(spec("new", [0.5, 1], unit="session"), [spec("reco", [0, 0.5], unit="user")])
    assert str(error) == "unit: 'session': expected user, as in reco, owner team-reco, of the namespace home-page"


def test_specs_applied_together_are_checked_among_themselves() -> None:
    wanted = [spec("x", [0, 0.5]), spec("y", [0.5, 0.9]), spec("z", [0.4, 0.6])]
    assert [len(errors) for errors in conflicts_among(wanted, {})] == [0, 0, 2]
    in_force = {"x": spec("x", [0, 0.3]), "w": spec("w", [0.8, 1])}
    assert [len(errors) for errors in conflicts_among(wanted, in_force)] == [0, 1, 2]
    over = {"z": msgspec.structs.replace(wanted[2], status="stopped")}
    assert [len(errors) for errors in conflicts_among([wanted[2], *wanted[:2]], over)] == [0, 0, 0]


def test_holdings_are_by_namespace_in_the_order_of_places() -> None:
    found = holdings([spec("y", [0.5, 0.7], [0.9, 1]), spec("x", [0, 0.5]), spec("r", [0, 1], namespace="results"), spec("none")])
    assert [(name, [(held.experiment, written(held.ranges)) for held in held_by]) for name, held_by in found.items()] == [
        ("home-page", [("x", "0%–50%"), ("y", "50%–70%, 90%–100%")]),
        ("results", [("r", "0%–100%")]),
    ]
    assert written(free(r for held in found["home-page"] for r in held.ranges)) == "70%–90%"


# ---- resize ----


@pytest.mark.parametrize(
    "ranges", [([0, 0.3],), ([0, 0.5],), ([0, 0.3], [0.6, 0.7]), ([0, 0.1], [0.1, 0.3]), ([0.2, 1], [0, 0.2])]
)
def test_a_running_experiment_may_grow(ranges: tuple[list[Any], ...]) -> None:
    wanted = spec("reco", *ranges)
    assert revise(spec("reco", [0, 0.3]), wanted).namespace == wanted.namespace


@pytest.mark.parametrize(
    "wanted,message",
    [
        (spec("reco", ["0%", "20%"]), "namespace: 'without 20%–30%': expected all of 0%–30%: who is enrolled stays"),
        (spec("reco", ["10%", "60%"]), "namespace: 'without 0%–10%'"),
        (spec("reco", ["0%", "30%"], namespace="other"), "namespace: 'other': expected home-page, the same as"),
        (spec("reco"), "namespace: 'none': expected home-page, the same as"),
    ],
)
def test_a_running_experiment_may_not_lose_units(wanted: Experiment, message: str) -> None:
    with pytest.raises(SpecErrors, match=message):
        revise(spec("reco", ["0%", "30%"]), wanted)


def test_an_experiment_on_all_units_cannot_move_into_a_namespace() -> None:
    with pytest.raises(SpecErrors, match="namespace: 'home-page': expected none, the same as"):
        revise(spec("reco"), spec("reco", [0, 0.3]))


# ---- places ----


def test_what_is_published_is_the_seed_of_the_name_and_the_ranges_in_ppm() -> None:
    weights = decide(spec("reco", ["0%", "10%"], ["50%", "60.5%"]), {}, None, 0.0).weights
    assert weights.namespace is not None
    assert (weights.namespace.name, weights.namespace.seed) == ("home-page", seed_of("home-page"))
    assert weights.namespace.ranges == ((0, 100_000), (500_000, 605_000))


def test_no_seed_of_an_experiment_is_that_of_a_namespace() -> None:
    assert seed_of("enrolment") != _seed("namespace", "enrolment")


def test_layers_are_independent() -> None:
    """A unit's place in one namespace says nothing on its place in another: chi-square over tenths by tenths."""
    counts = [[0] * 10 for _ in range(10)]
    for i in range(UNITS):
        counts[place("home-page", f"u-{i}") // 100_000][place("results", f"u-{i}") // 100_000] += 1
    assert stats.chi2_contingency(counts).pvalue > 0.001
    assert stats.chisquare([sum(row) for row in counts]).pvalue > 0.001


def test_the_chi_square_sees_a_layer_that_is_not_independent() -> None:
    counts = [[0] * 10 for _ in range(10)]
    for i in range(UNITS):  # the places of one namespace for one unit in ten, else another's
        other = "home-page" if i % 10 == 0 else "results"
        counts[place("home-page", f"u-{i}") // 100_000][place(other, f"u-{i}") // 100_000] += 1
    assert stats.chi2_contingency(counts).pvalue < 1e-9
