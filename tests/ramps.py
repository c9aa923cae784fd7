"""Experiments with stages, and what is counted of them, for the tests of the ramp."""

from __future__ import annotations

from typing import Any

import msgspec

from allocator.experiment import Experiment
from allocator.moments import Moments, inverse_propensity, layout_of
from allocator.ramp import Word
from allocator.spec import load_experiment
from allocator.standing import Action, Breach

__all__ = ["RAMP", "breach", "counted", "ramped", "with_word"]

RAMP = [
    {"enrolment": "1%", "min_time": "1h", "min_units": 1000},
    {"enrolment": "10%", "advance": "manual", "name": "a tenth"},
    {"enrolment": "50%", "min_units": 5000},
    {"enrolment": "90%"},
]


def ramped(stages: Any = RAMP, **changes: Any) -> Experiment:
    """Two arms whose weights have nothing to move for."""
    fields = {
        "experiment": "chat",
        "arms": ["a", "b"],
        "metrics": {"good": "binary"},
        "constraints": {"warmup": 10**9, "dead_band": 0.3},
        **changes,
    }
    return load_experiment(fields | ({"stages": stages} if stages else {}))


def counted(**units: int) -> dict[str, Moments]:
    """Arm → moments of so many units, at equal propensities and without a success."""
    weight, found = inverse_propensity(1 / max(2, len(units))), {}
    for arm, n in units.items():
        sums = layout_of(1).empty()
        layout_of(1).enter(sums, weight, n)
        found[arm] = Moments(1, tuple(sums))
    return found


def breach(ts: float, action: Action = "evict") -> Breach:
    """Of arm b."""
    return Breach(metric="good", arm="b", action=action, version=3, ts=ts, units=700, estimate=-0.05, bound=-0.02)


def with_word(experiment: Experiment, go: Any, place: int, since: float, why: str = "") -> Experiment:
    """As if somebody had said so of that stage."""
    word = Word(go=go, enrolment=experiment.stages[place].enrolment, since=since, why=why)
    return msgspec.structs.replace(experiment, word=word)
