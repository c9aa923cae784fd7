"""Posteriors that compare arms where segments have weights of their own."""

from __future__ import annotations

import numpy as np
import pytest

from allocator.policies import Context
from allocator.spec import load_experiment
from allocator.standardise import comparable_posteriors
from tests.trained import evidence_of, sums_of

CELLS = {
    ("x", 0, "a"): sums_of(900, [90]), ("x", 0, "b"): sums_of(100, [9]),
    ("y", 0, "a"): sums_of(100, [60]), ("y", 0, "b"): sums_of(900, [531]),
}  # fmt: skip


def test_segments_with_weights_of_their_own_are_weighed_alike():
    """a is better in both segments, b has the better pooled mean."""
    spec = {"experiment": "e", "arms": ["a", "b"], "metrics": {"m": "binary"}, "segments": ["x", "y"]}
    own, shared = load_experiment({**spec, "policy": "per-segment"}), load_experiment(spec)
    evidence = evidence_of(own, CELLS)
    pooled, fair = comparable_posteriors(shared, evidence, 0.0), comparable_posteriors(own, evidence, 0.0)
    assert pooled.mean == pytest.approx([0.15, 0.54], abs=0.01)
    assert fair.mean == pytest.approx([0.35, 0.34], abs=0.01)
    x, y = (Context.of(own, evidence, 0.0, name).posteriors() for name in ("x", "y"))
    assert fair.sd == pytest.approx(np.hypot(x.sd, y.sd) / 2)
    assert "segments" in fair.method


def test_one_segment_is_the_whole():
    experiment = load_experiment(
        {"experiment": "e", "arms": ["a", "b"], "metrics": {"m": "binary"}, "segments": ["x", "y"], "policy": "per-segment"}
    )
    evidence = evidence_of(experiment, {key: sums for key, sums in CELLS.items() if key[0] == "x"})
    assert comparable_posteriors(experiment, evidence, 0.0).method == Context.of(experiment, evidence, 0.0).posteriors().method
