"""Per-segment Thompson: what a segment borrows, and from whom."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from allocator import ArgumentError, load_experiment
from allocator.policies import PerSegment, Thompson
from allocator.quadrature import FloatArray
from tests.trained import Cells, asked, context_of, sums_of

SEGMENTS = ("free", "pro", "team", "trial")


def experiment(policy: str = "per-segment") -> Any:
    fields = {"experiment": "x", "arms": ["a", "b"], "metrics": {"good": "binary"}}
    return load_experiment({**fields, "segments": list(SEGMENTS), "policy": policy})


def cells(rates: dict[str, tuple[float, float]], n: dict[str, tuple[int, int]]) -> Cells:
    return {
        (segment, 0, arm): sums_of(n[segment][k], [round(rates[segment][k] * n[segment][k])])
        for segment in rates
        for k, arm in enumerate("ab")
    }


def weights(found: Cells, segment: str | None, policy: str = "per-segment") -> FloatArray:
    spec = experiment(policy)
    return asked(spec, context_of(spec, found, 0.0, segment))


def note(found: Cells, segment: str | None) -> str:
    context = context_of(experiment(), found, 0.0, segment)
    return PerSegment().choose(context.posteriors(), context).note


EVEN = dict.fromkeys(SEGMENTS, (2000, 2000))


def test_segments_that_do_not_differ_are_served_as_one() -> None:
    """Levels differ, the arms' difference does not: every segment knows what all of them know."""
    found = cells({s: (0.20 + 0.1 * g, 0.22 + 0.1 * g) for g, s in enumerate(SEGMENTS)}, EVEN)
    whole = weights(found, None)
    for segment in (*SEGMENTS, "other"):
        np.testing.assert_allclose(weights(found, segment), whole, atol=1e-12)
        assert note(found, segment) == "100 % pooled with the other segments"
    alone = weights(found, "pro", "thompson")
    assert whole[1] > alone[1] > 0.9


def test_segments_that_differ_are_served_for_themselves() -> None:
    rates = {"free": (0.2, 0.3), "pro": (0.3, 0.2), "team": (0.2, 0.3), "trial": (0.3, 0.2)}
    found = cells(rates, EVEN)
    assert weights(found, "free")[1] > 0.999
    assert weights(found, "pro")[0] > 0.999


def test_a_small_segment_leans_on_the_others_a_large_one_does_not() -> None:
    rates = {"free": (0.20, 0.23), "pro": (0.20, 0.22), "team": (0.20, 0.25), "trial": (0.25, 0.20)}
    small = weights(cells(rates, {**EVEN, "trial": (40, 40)}), "trial")
    alone = weights(cells(rates, {**EVEN, "trial": (40, 40)}), "trial", "thompson")
    large = weights(cells(rates, {**EVEN, "trial": (20_000, 20_000)}), "trial")
    assert alone[0] > 0.6
    assert small[1] > 0.8
    assert large[0] > 0.999


def test_shares_that_differ_by_segment_do_not_make_an_arm_look_better() -> None:
    """Simpson: b is worse everywhere, but served where rewards are high."""
    rates = {"free": (0.12, 0.10), "pro": (0.52, 0.50), "team": (0.12, 0.10), "trial": (0.52, 0.50)}
    n = {"free": (9000, 1000), "pro": (1000, 9000), "team": (9000, 1000), "trial": (1000, 9000)}
    found = cells(rates, n)
    assert weights(found, None, "thompson")[1] > 0.999, "the plain means are fooled"
    assert weights(found, None)[0] > 0.95


def test_readouts_show_the_posteriors_the_weights_rest_on() -> None:
    found = cells(dict.fromkeys(SEGMENTS, (0.2, 0.3)), EVEN)
    context = context_of(experiment(), found, 0.0, "pro")
    choice = PerSegment().choose(context.posteriors(), context)
    assert choice.posteriors is not None
    np.testing.assert_allclose(Thompson().weights(choice.posteriors), choice.weights)
    np.testing.assert_allclose(choice.posteriors.mean, [0.2, 0.3], atol=1e-3)


def test_without_units_the_split_is_even() -> None:
    for segment in (None, "pro", "other"):
        np.testing.assert_allclose(weights({}, segment), 0.5)


def test_it_needs_the_context() -> None:
    context = context_of(experiment(), {})
    with pytest.raises(ArgumentError, match="context"):
        PerSegment().weights(context.posteriors())
