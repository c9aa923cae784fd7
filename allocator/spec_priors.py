"""The priors of a metric in a spec: ``prior: {mean: 0.1, units: 20}``, ``arm_priors: {a: {mean: 0.12, units: 50}}``.

A decision needs no other experiment, so a prior that borrows from one has to be numbers by now: see `allocator.borrow`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from allocator.experiment import MetricType, Prior
from allocator.prior import default_prior, prior_errors

__all__ = ["read_arm_priors", "read_prior"]

Report = Callable[[str, Any, str], None]
"""(path, value, expected): what is wrong with a field."""

_NUMBERS = ("units", "mean", "sd")
_FIELDS = tuple(field.encode_name for field in msgspec.structs.fields(Prior))
BORROWED = (
    "numbers such as {mean: 0.1, units: 20}: allocator apply fills them in where it borrows, and allocator show prints them"
)
BORROWED_BY_ARM = "numbers; to borrow arm by arm is said once for all arms, prior: {borrow: …, discount: …, arms: true}"


def read_prior(path: str, value: Any, kind: MetricType, report: Report) -> Prior:
    """A prior as it is written, the type's default where nothing is; a field left out is the default's, null leaves it open."""
    default = default_prior(kind)
    if value is None:
        return default
    if not isinstance(value, Mapping):
        report(path, value, "a mapping of units, mean and, except for a binary metric, sd")
        return default
    if "borrow" in value:
        report(f"{path}.borrow", value["borrow"], BORROWED)
        return default
    for key in value:
        if key not in _FIELDS:
            near = difflib.get_close_matches(str(key), _FIELDS, 1)
            report(f"{path}.{key}", value[key], f"one of {', '.join(_FIELDS)}" + (f"; did you mean {near[0]!r}?" if near else ""))
    numbers = {name: _number(value[name]) if name in value else getattr(default, name) for name in _NUMBERS}
    prior = Prior(**numbers, origin=_origin(f"{path}.from", value.get("from", UNSET), report))
    wrong = list(prior_errors(kind, prior))
    for error in wrong:
        report(f"{path}.{error.name}", value.get(error.name, error.value), error.expected)
    return default if wrong else prior


def read_arm_priors(path: str, value: Any, kind: MetricType, arms: Sequence[str], report: Report) -> dict[str, Prior]:
    """Priors of single arms."""
    if not isinstance(value, Mapping):
        report(path, value, "a mapping from arms to their priors")
        return {}
    found = {}
    for arm, prior in value.items():
        if arm not in arms:
            report(f"{path}.{arm}", arm, f"an arm: one of {', '.join(arms)}")
        elif isinstance(prior, Mapping) and "borrow" in prior:
            report(f"{path}.{arm}.borrow", prior["borrow"], BORROWED_BY_ARM)
        else:
            found[arm] = read_prior(f"{path}.{arm}", prior, kind, report)
    return found


def _origin(path: str, value: Any, report: Report) -> str | UnsetType:
    if value is UNSET or isinstance(value, str):
        return value
    report(path, value, "a text")
    return UNSET


def _number(value: Any) -> float | None:
    """nan, which is in no domain, if it is none."""
    if value is None:
        return None
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300 else math.nan
