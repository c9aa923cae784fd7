"""The ramp of a spec: ``stages: [{enrolment: 1%, min_time: 1h, min_units: 1000, advance: auto}, …]``, and a word about it.

``enrolment`` beside stages is refused, unless it is that of the last one: the record of a spec, in which nothing is left out,
says where the ramp leads.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast, get_args

import msgspec

from allocator.durations import parse_duration
from allocator.errors import ArgumentError
from allocator.ramp import Advance, Stage, Word
from allocator.shares import from_percent

__all__ = ["STAGES_MAX", "read_stages", "read_word"]

Report = Callable[[str, Any, str], None]
"""(path, value, expected): what is wrong with a field."""

STAGES_MAX = 50
PPM_MIN = 1e-6
"""Enrolment is published in whole parts per million."""
_FIELDS = tuple(field.encode_name for field in msgspec.structs.fields(Stage))
_ADVANCES = get_args(Advance)
_NO_TIME = re.compile(r"0+(\.0+)?\s*(ms|[smhdw])?", re.ASCII)


def read_stages(value: Any, enrolment: float | None, report: Report) -> tuple[Stage, ...]:
    """Stages in their order; none where the spec has none.

    Parameters
    ----------
    enrolment : what the spec says beside its stages, None if nothing.
    """
    if not isinstance(value, (list, tuple)):
        report("stages", value, "a list of stages, such as [{enrolment: 1%, min_time: 1h}, {enrolment: 50%}]")
        return ()
    if len(value) > STAGES_MAX:
        report("stages", f"{len(value)} stages", f"at most {STAGES_MAX}")
    stages: list[Stage] = []
    for i, item in enumerate(value):
        stages.append(_stage(f"stages[{i}]", item, stages[-1] if stages else None, report))
    if stages and enrolment is not None and enrolment != stages[-1].enrolment:
        report("enrolment", enrolment, "nothing beside stages, which say it; drop enrolment, or stages for a share that stays")
    return tuple(stages)


def read_word(value: Any, report: Report) -> Word | None:
    """As `allocator advance` and `allocator rollback` write it."""
    if value is None:
        return None
    try:
        return msgspec.convert(value, Word)
    except msgspec.ValidationError as error:
        report("word", value, f"nothing, or what allocator advance writes: {error}")
        return None


def _stage(path: str, value: Any, before: Stage | None, report: Report) -> Stage:
    if not isinstance(value, Mapping):
        report(path, value, f"a mapping of {', '.join(_FIELDS)}")
        return before or Stage(enrolment=1.0)
    for key in value:
        if key not in _FIELDS:
            near = difflib.get_close_matches(str(key), _FIELDS, 1)
            report(f"{path}.{key}", value[key], f"one of {', '.join(_FIELDS)}" + (f"; did you mean {near[0]!r}?" if near else ""))
    name = value.get("name", "")
    if not isinstance(name, str):
        report(f"{path}.name", name, "a text")
    return Stage(
        enrolment=_enrolment(f"{path}.enrolment", value.get("enrolment"), before, report),
        min_time_s=_min_time_s(f"{path}.min_time", value.get("min_time", 0.0), report),
        min_units=_min_units(f"{path}.min_units", value.get("min_units", 0), report),
        advance=_advance(f"{path}.advance", value.get("advance", "auto"), report),
        name=name if isinstance(name, str) else "",
    )


def _enrolment(path: str, value: Any, before: Stage | None, report: Report) -> float:
    """A wrong one is not held against the stage after it."""
    share, least = from_percent(value), before.enrolment if before else 0.0
    if not (isinstance(share, (int, float)) and not isinstance(share, bool) and PPM_MIN <= share <= 1):
        report(path, "missing" if value is None else value, "a share above 0, at most 1, such as 10% or 0.1")
    elif before is not None and round(share * 1e6) <= before.ppm:
        report(path, value, f"more than {least:g}, that of the stage before")
    else:
        return float(share)
    return least or 1e-6


def _min_time_s(path: str, value: Any, report: Report) -> float:
    if (type(value) in (int, float) and value == 0) or (isinstance(value, str) and _NO_TIME.fullmatch(value.strip())):
        return 0.0
    try:
        return parse_duration(value)
    except ArgumentError as error:
        report(path, value, f"0 or {error.expected}")
        return 0.0


def _min_units(path: str, value: Any, report: Report) -> int:
    if type(value) is int and value >= 0:
        return value
    report(path, value, "a whole number of at least 0")
    return 0


def _advance(path: str, value: Any, report: Report) -> Advance:
    if isinstance(value, str) and value in _ADVANCES:
        return cast(Advance, value)
    near: Sequence[str] = difflib.get_close_matches(str(value), _ADVANCES, 1)
    report(path, value, "auto or manual" + (f"; did you mean {near[0]!r}?" if near else ""))
    return "auto"
