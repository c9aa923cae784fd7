"""Sample sizes for two proportions, without chance."""

from __future__ import annotations

from allocator.inference import Design, Proportion, sample_size
from tests.reproduce.rows import Answer, Row, Study, exactly

__all__ = ["STUDIES"]

UNITS = {(0.10, 0.11): 14_748.05, (0.5, 0.45): 1561.93, (0.05, 0.055): 31_230.69}
"""Rates of control and treatment → units an arm."""


def _key(control: float, treatment: float) -> str:
    return f"{control:g} / {treatment:g}"


def units_an_arm(_runs: int, _seed: int) -> Answer:
    """Two-sided .05, power .8."""
    return {
        _key(control, treatment): exactly(sample_size(Proportion(control), treatment - control, Design()).units[0])
        for control, treatment in UNITS
    }


_ROWS = tuple(
    Row(_key(*rates), f"units an arm, rates {_key(*rates)}, two-sided .05, power .8", n, 0.005, "normal approximation", "C")
    for rates, n in UNITS.items()
)
STUDIES: tuple[Study, ...] = (Study("sample-size", "Power", "computed", _ROWS, units_an_arm, 1, 1, 0.1),)
