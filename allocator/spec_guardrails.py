"""The guardrails of a spec: ``guardrails: {revenue: {tolerance: 1%, action: evict}}``, or in short ``{revenue: 1%}``.

And ``overruled: {revenue: [b]}``: of which arms a person has decided that a guardrail shall only alert.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast, get_args

import msgspec

from allocator.guardrail import TOLERANCE, Guardrail
from allocator.spec_priors import Report
from allocator.standing import Action

__all__ = ["read_guardrails", "read_overruled"]

_FIELDS = tuple(field.encode_name for field in msgspec.structs.fields(Guardrail))
_ACTIONS: Sequence[str] = get_args(Action)
_TOLERANCE_RULE = "a share of control's mean such as 1%, or a number of at least 0 in the metric's unit"


def read_guardrails(path: str, value: Any, directions: Mapping[str, str], floor: float, report: Report) -> dict[str, Guardrail]:
    """Guardrails by metric, each in full.

    Parameters
    ----------
    directions : of every metric that can have one.
    floor : least share of every arm; a cap is not below it.
    """
    if not isinstance(value, Mapping):
        report(path, value, "a mapping from metrics to their guardrails, such as {revenue: 1%}")
        return {}
    found = {}
    for metric, written in value.items():
        if metric in directions:
            found[metric] = _guardrail(f"{path}.{metric}", written, directions[metric], floor, report)
        elif directions:
            report(f"{path}.{metric}", metric, f"a metric: {_one_of(metric, directions)}")
    return found


def read_overruled(
    path: str, value: Any, guardrails: Mapping[str, Guardrail], arms: Sequence[str], control: str, report: Report
) -> dict[str, tuple[str, ...]]:
    """Arms by metric."""
    if not isinstance(value, Mapping):
        report(path, value, "a mapping from guardrails to lists of arms, such as {revenue: [b]}")
        return {}
    others = [arm for arm in arms if arm != control]
    found = {}
    for metric, listed in value.items():
        if metric not in guardrails:
            expected = f"a guardrail: {_one_of(metric, guardrails)}" if guardrails else "nothing: the spec has no guardrails"
            report(f"{path}.{metric}", metric, expected)
        elif not isinstance(listed, (list, tuple)):
            report(f"{path}.{metric}", listed, "a list of arms")
        else:
            for i, arm in enumerate(listed):
                if arm not in others:
                    report(f"{path}.{metric}[{i}]", arm, f"an arm other than control: {_one_of(arm, others)}")
            found[metric] = tuple(arm for arm in others if arm in listed)
    return found


def _guardrail(path: str, value: Any, direction: str, floor: float, report: Report) -> Guardrail:
    if not isinstance(value, Mapping):
        value = {"tolerance": value}
    for key in value:
        if key not in _FIELDS:
            report(f"{path}.{key}", value[key], f"a field of a guardrail: {_one_of(key, _FIELDS)}")
    action = value.get("action", "alert")
    if action not in _ACTIONS:
        report(f"{path}.action", action, f"an action: {_one_of(action, _ACTIONS)}")
        action = "alert"
    least = 2
    min_units = value.get("min_units", 100)
    if not isinstance(min_units, int) or isinstance(min_units, bool) or min_units < least:
        report(f"{path}.min_units", min_units, f"a whole number of at least {least}")
        min_units = 100
    alpha = value.get("alpha", 0.05)
    return Guardrail(
        tolerance=_tolerance(f"{path}.tolerance", value.get("tolerance", "missing"), direction, report),
        action=cast(Action, action),
        min_units=min_units,
        alpha=_number(f"{path}.alpha", alpha, "a probability above 0, below 1", lambda x: 0 < x < 1, report) or 0.05,
        cap=_cap(f"{path}.cap", value.get("cap"), action, floor, report),
    )


def _tolerance(path: str, value: Any, direction: str, report: Report) -> str | float:
    if isinstance(value, str) and (match := TOLERANCE.fullmatch(value.strip())):
        if direction == "up" and float(match[1]) >= 100:
            report(path, value, "less than 100%: a metric that should go up cannot lose more than all")
        return f"{match[1]}%"
    if isinstance(value, str):
        report(path, value, _TOLERANCE_RULE)
        return 0.0
    return _number(path, value, _TOLERANCE_RULE, lambda x: x >= 0, report) or 0.0


def _cap(path: str, value: Any, action: Any, floor: float, report: Report) -> float | None:
    """In force with its own action alone, where it has a default."""
    if action != "cap":
        if value is not None:
            report(path, value, "nothing: only action cap limits a share")
        return None
    share: Any = 0.05 if value is None else value
    if isinstance(share, str) and (match := TOLERANCE.fullmatch(share.strip())):
        share = float(match[1]) / 100
    least = f"above 0, at least constraints.floor, {floor:.4g}, and below 1"
    return _number(path, share, f"a share such as 5%, {least}", lambda x: 0 < x < 1 and not x < floor, report) or 0.05


def _number(path: str, value: Any, expected: str, holds: Callable[[float], bool], report: Report) -> float | None:
    if (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
        and abs(value) < 1e300
        and holds(value)
    ):
        return float(value)
    report(path, value, expected)
    return None


def _one_of(value: Any, known: Collection[str]) -> str:
    near = difflib.get_close_matches(str(value), known, 1)
    return f"one of {', '.join(known)}" + (f"; did you mean {near[0]!r}?" if near else "")
