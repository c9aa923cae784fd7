"""Covariates in a spec: ``covariates: [revenue_28d, {name: sessions_7d, resolution: 1}]``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from allocator.experiment import Covariate

__all__ = ["COVARIATES_MAX", "read_covariates"]

Report = Callable[[str, Any, str], None]
"""(path, value, expected): what is wrong with a field."""

COVARIATES_MAX = 10
"""Each is a column of the moments, whose number grows as the square of the columns. Few explain most of what any explain."""
_FIELDS = tuple(field.encode_name for field in msgspec.structs.fields(Covariate))
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_NAMED = "a covariate's name of at most 128 letters, digits, '.', '_' or '-', starting with a letter or digit"


def read_covariates(path: str, value: Any, report: Report) -> tuple[Covariate, ...]:
    """The covariates, in order; each a name or a mapping with its name and resolution."""
    if not isinstance(value, (list, tuple)):
        report(path, value, "a list of covariates, such as [revenue_28d]")
        return ()
    if len(value) > COVARIATES_MAX:
        report(path, f"{len(value)} covariates", f"at most {COVARIATES_MAX}")
    found: dict[str, Covariate] = {}
    for i, item in enumerate(value):
        covariate = _covariate(f"{path}[{i}]", item, report)
        if covariate is None:
            continue
        if covariate.name in found:
            report(f"{path}[{i}]", covariate.name, "a name no other covariate has")
        found[covariate.name] = covariate
    return tuple(found.values())


def _covariate(path: str, item: Any, report: Report) -> Covariate | None:
    given: Mapping[Any, Any] = item if isinstance(item, Mapping) else {"name": item}
    for key in given:
        if key not in _FIELDS:
            near = difflib.get_close_matches(str(key), _FIELDS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            report(f"{path}.{key}", given[key], f"one of {', '.join(_FIELDS)}{hint}")
    name, resolution = given.get("name"), given.get("resolution", Covariate.__struct_defaults__[0])
    right = isinstance(resolution, (int, float)) and not isinstance(resolution, bool) and 0 < resolution < 1e300
    if not right:
        report(f"{path}.resolution", resolution, "a step greater than 0")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        report(f"{path}.name" if isinstance(item, Mapping) else path, "missing" if name is None else name, _NAMED)
        return None
    return Covariate(name=name, resolution=float(resolution)) if right else None
