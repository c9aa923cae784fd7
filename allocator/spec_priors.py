"""The priors of a metric in a spec: ``prior: {mean: 0.1, units: 20}``, ``arm_priors: {a: {mean: 0.12, units: 50}}``."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from allocator.experiment import MetricType, Prior
from allocator.prior import default_prior, prior_errors

__all__ = ["read_arm_priors", "read_prior"]

Report = Callable[[str, Any, str], None]
"""(path, value, expected): what is wrong with a field."""

_FIELDS = Prior.__struct_fields__


def read_prior(path: str, value: Any, kind: MetricType, report: Report) -> Prior:
    """A prior as it is written, the type's default where nothing is; a field left out is the default's, null leaves it open."""
    default = default_prior(kind)
    if value is None:
        return default
    if not isinstance(value, Mapping):
        report(path, value, "a mapping of units, mean and, except for a binary metric, sd")
        return default
    for key in value:
        if key not in _FIELDS:
            near = difflib.get_close_matches(str(key), _FIELDS, 1)
            report(f"{path}.{key}", value[key], f"one of {', '.join(_FIELDS)}" + (f"; did you mean {near[0]!r}?" if near else ""))
    prior = Prior(**{name: _number(value[name]) if name in value else getattr(default, name) for name in _FIELDS})
    wrong = list(prior_errors(kind, prior))
    for error in wrong:
        report(f"{path}.{error.name}", value.get(error.name, error.value), error.expected)
    return default if wrong else prior


def read_arm_priors(path: str, value: Any, kind: MetricType, arms: Sequence[str], report: Report) -> dict[str, Prior]:
    """Priors of single arms."""
    if not isinstance(value, Mapping):
        report(path, value, "a mapping from arms to their priors")
        return {}
    for arm in value:
        if arm not in arms:
            report(f"{path}.{arm}", arm, f"an arm: one of {', '.join(arms)}")
    return {arm: read_prior(f"{path}.{arm}", prior, kind, report) for arm, prior in value.items() if arm in arms}


def _number(value: Any) -> float | None:
    """nan, which is in no domain, if it is none."""
    if value is None:
        return None
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300 else math.nan
