"""The constraints of a spec: ``constraints: {floor: 2%, max_shift: 0.1}``, what `allocator.constraints` does to shares.

What holds between them is checked here: a cap that all arms can keep, and a floor that the reserved share leaves room for.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from allocator.experiment import Constraints
from allocator.shares import from_percent
from allocator.spec_priors import Report

__all__ = ["read_constraints"]

_FIELDS = tuple(field.encode_name for field in msgspec.structs.fields(Constraints))
ROUNDING = 1e-12


def read_constraints(path: str, value: Any, arms: int, report: Report) -> Constraints:
    """All of them; those left out have their defaults, the floor one that fits the number of arms.

    Parameters
    ----------
    arms : their number, 0 where the spec has none that can be read.
    """
    default = Constraints()
    if not isinstance(value, Mapping):
        report(path, value, f"a mapping of {', '.join(_FIELDS)}")
        return default
    for key in value:
        if key not in _FIELDS:
            near = difflib.get_close_matches(str(key), _FIELDS, 1)
            hint = f"a known field; did you mean {near[0]!r}?" if near else f"one of {', '.join(_FIELDS)}"
            report(f"{path}.{key}", value[key], hint)

    def share(name: str, otherwise: float, expected: str, holds: Callable[[float], bool]) -> float:
        return _share(f"{path}.{name}", value.get(name, otherwise), expected, holds, report)

    most = 1 / arms if arms else 1.0
    cap_rule = f"a share of at least {most:.4g}, one over the number of arms, at most 1"
    cap = share("cap", default.cap, cap_rule, lambda x: most <= x <= 1)
    reserved_rule = f"a share of at least 0, at most the cap, {cap:.4g}"
    reserved = share("reserved", default.reserved, reserved_rule, lambda x: 0 <= x <= 1 and not x > cap)
    room = (1 - reserved) / (arms - 1) if arms > 1 else 1.0
    floor_rule = f"a share between 0 and {most:.4g}, one over the number of arms"
    floor = share("floor", min(default.floor, most / 2, room / 2), floor_rule, lambda x: 0 <= x <= most)
    if floor > room + ROUNDING:
        report(f"{path}.floor", value["floor"], f"at most {room:.4g}, what the reserved share leaves each other arm")
    return Constraints(
        reserved=reserved,
        floor=floor,
        cap=cap,
        warmup=_whole(f"{path}.warmup", value.get("warmup", default.warmup), report),
        max_shift=share("max_shift", default.max_shift, "a share above 0, at most 1", lambda x: 0 < x <= 1),
        dead_band=share("dead_band", default.dead_band, "a share between 0 and 1", lambda x: 0 <= x <= 1),
    )


def _share(path: str, value: Any, expected: str, holds: Callable[[float], bool], report: Report) -> float:
    """A number or a text such as ``10%``; nan where it is wrong."""
    share = from_percent(value)
    if isinstance(share, (int, float)) and not isinstance(share, bool) and holds(share):
        return float(share)
    report(path, value, expected)
    return math.nan


def _whole(path: str, value: Any, report: Report) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    report(path, value, "a whole number of at least 0")
    return 0
