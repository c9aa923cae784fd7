"""Caps at a quantile: what a spec says, and what the units of a warm-up make of it."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from allocator.caps import kept_caps, units_needed, with_caps, without_cap
from allocator.errors import SpecErrors
from allocator.experiment import Experiment
from allocator.spec import load_experiment


def spec(**cap: Any) -> Experiment:
    metrics = {"spend": {"type": "value", **cap}, "visits": {"type": "count", "cap": 9}}
    return load_experiment({"experiment": "shop", "arms": ["a", "b"], "metrics": metrics, "objective": "spend"})


QUANTILE = spec(cap={"quantile": 0.9})


def test_a_quantile_is_no_cap_until_it_is_known_and_travels_with_it() -> None:
    assert (QUANTILE.metrics["spend"].cap, QUANTILE.metrics["spend"].cap_quantile) == (None, 0.9)
    assert without_cap(QUANTILE) == ("spend",)
    known = with_caps(QUANTILE, {"spend": np.arange(1.0, 101.0)})
    assert known.metrics["spend"].cap == 90.0
    assert without_cap(known) == ()
    assert load_experiment(msgspec.json.decode(msgspec.json.encode(known))) == known


def test_the_quantile_is_of_sizes_and_of_a_value_that_some_unit_has() -> None:
    values = np.concatenate([np.zeros(80), np.full(15, -3.5), np.full(5, 1000.0)])
    assert with_caps(QUANTILE, {"spend": values}).metrics["spend"].cap == 3.5


@pytest.mark.parametrize("quantile,needed", [(0.5, 20), (0.9, 100), (0.99, 1000), (0.999, 10_000)])
def test_ten_units_must_lie_above_it(quantile: float, needed: int) -> None:
    assert units_needed(quantile) == needed
    wanted = spec(cap={"quantile": quantile})
    assert with_caps(wanted, {"spend": np.arange(float(needed - 1))}) is wanted
    assert with_caps(wanted, {}) is wanted
    assert without_cap(with_caps(wanted, {"spend": np.arange(float(needed))})) == ()


def test_a_quantile_of_zero_is_refused_by_name() -> None:
    values = np.concatenate([np.zeros(950), np.ones(50)])
    with pytest.raises(SpecErrors, match=r"metrics\.spend\.cap\.quantile: 0\.9: .* 50 of 1000 units"):
        with_caps(QUANTILE, {"spend": values})


def test_a_spec_that_is_applied_again_keeps_its_number() -> None:
    current = with_caps(QUANTILE, {"spend": np.arange(1.0, 101.0)})
    assert kept_caps(current, QUANTILE) == current
    assert kept_caps(None, QUANTILE) == QUANTILE
    other = spec(cap={"quantile": 0.95})
    assert without_cap(kept_caps(current, other)) == ("spend",), "another quantile is another cap"


@pytest.mark.parametrize(
    "metric,path",
    [
        ({"type": "value", "cap": {"quantile": 1}}, r"cap\.quantile: 1: expected a number from 0\.5"),
        ({"type": "value", "cap": {"quantile": 0.2}}, r"cap\.quantile: 0\.2"),
        ({"type": "value", "cap": {"quantile": True}}, r"cap\.quantile: True"),
        ({"type": "value", "cap": {}}, r"cap\.quantile: 'missing'"),
        ({"type": "value", "cap": {"quantile": 0.9, "units": 5}}, r"cap\.units: 5"),
        ({"type": "binary", "cap": {"quantile": 0.9}}, r"cap\.quantile: 0\.9: expected nothing: a binary"),
    ],
)
def test_a_wrong_quantile_is_named(metric: dict[str, Any], path: str) -> None:
    with pytest.raises(SpecErrors, match=path):
        load_experiment({"experiment": "shop", "arms": ["a"], "metrics": {"spend": metric}})
