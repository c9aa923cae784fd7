"""What routers do besides weights, as it stands in a spec: ``namespace``, ``eligibility``, ``segments``, ``schedule``.

Segments are a list of names, which callers of the router say, or a rule. The record and `allocator show` have both: the names
under ``segments``, the rule under ``segment_rule``.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from allocator.eligibility import rule_errors
from allocator.errors import ArgumentError
from allocator.instants import format_instant, parse_instant
from allocator.namespaces import PLACES, RANGES_MAX, Namespace, Range, merged, overlap, written
from allocator.schedule import Schedule
from allocator.segments import SegmentRule

__all__ = ["PARAMS_BYTES_MAX", "check_params", "read_eligibility", "read_namespace", "read_schedule", "read_segments"]

Report = Callable[[str, Any, str], None]
"""(path, value, expected): what is wrong with a field."""

PARAMS_BYTES_MAX = 50_000
"""Of all arms together, as JSON: they travel with every publication of weights, of each segment too."""

_SHARE = "a share such as 10% or 0.1"
_PERCENT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*%", re.ASCII)
_NAME_LENGTH_MAX = 128


def check_params(params: Iterable[Mapping[str, Any]], report: Report) -> None:
    """Whether the arms' params can travel with the weights."""
    try:
        size = sum(len(msgspec.json.encode(found)) for found in params)
    except (TypeError, ValueError, RecursionError) as error:
        report("arms", "params", f"params that are JSON: {error}")
        return
    if size > PARAMS_BYTES_MAX:
        report("arms", f"params of {size} bytes", f"at most {PARAMS_BYTES_MAX} bytes as JSON; name in them what is large")


def read_namespace(path: str, value: Any, report: Report) -> Namespace | None:
    """``{name: home-page, from: 0%, to: 30%}``, or with ``ranges: [[0%, 10%], [50%, 60%]]``; None if there is none."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        report(path, value, "a mapping such as {name: home-page, from: 0%, to: 30%}")
        return None
    _known(path, value, ("name", "from", "to", "ranges"), report)
    name = _text(f"{path}.name", value.get("name"), report)
    ranges = _ranges(path, value, report)
    return Namespace(name=name, ranges=tuple((low / PLACES, high / PLACES) for low, high in ranges)) if name and ranges else None


def read_eligibility(path: str, value: Any, report: Report) -> dict[str, Any] | None:
    """A rule in JsonLogic, None if there is none."""
    if value is None:
        return None
    wrong = list(rule_errors(value))
    for within, found, expected in wrong:
        report(path + within, found, expected)
    return None if wrong else dict(value)


def read_segments(
    value: Any, rule: Any, name: Callable[[str, Any], str], most: int, report: Report
) -> tuple[tuple[str, ...], SegmentRule | None]:
    """The names under ``segments`` and the rule, which people write in their place and records have beside them.

    ``{attribute: plan, values: [free, pro]}`` or ``{covariate: requests_28d, cuts: [10, 100], names: [light, medium, heavy]}``.
    `name` checks one name.
    """
    path, found = "segments", None
    if isinstance(value, Mapping):
        by_cuts = "covariate" in value or "cuts" in value
        fields = ("covariate", "names", "cuts") if by_cuts else ("attribute", "values")
        found = _rule(path, value, fields, report)
        path, value = f"{path}.{fields[1]}", () if found is None else found.names
        if rule is not None:
            report("segment_rule", rule, "nothing beside a rule under segments")
    elif isinstance(rule, Mapping):
        found = _rule("segment_rule", rule, ("attribute", "names", "cuts"), report)
        if found is not None and list(found.names) != list(value if isinstance(value, (list, tuple)) else ()):
            report(path, value, f"the names in segment_rule, {', '.join(map(str, found.names))}")
    elif rule is not None:
        report("segment_rule", rule, "a mapping of attribute, names and cuts")
    return _segment_names(path, value, name, most, report), found


def read_schedule(path: str, value: Any, report: Report) -> Schedule | None:
    """``{start: 2026-12-01T00:00Z, end: 2026-12-31}``, one of them or both; None if there is none."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        report(path, value, "a mapping such as {start: 2026-12-01T00:00Z, end: 2026-12-31T00:00Z}")
        return None
    _known(path, value, ("start", "end"), report)
    start, end = (_instant(f"{path}.{field}", value.get(field), report) for field in ("start", "end"))
    if start is not None and end is not None and end <= start:
        report(f"{path}.end", value["end"], f"a time after the start, {format_instant(start)}")
    if start is None and end is None:
        return None
    return Schedule(start=None if start is None else format_instant(start), end=None if end is None else format_instant(end))


# -- parts -----------------------------------------------------------------------------------------------------------------------


def _known(path: str, value: Mapping[str, Any], fields: Sequence[str], report: Report) -> None:
    for key in value:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            report(f"{path}.{key}", value[key], f"one of {', '.join(fields)}{hint}")


def _text(path: str, value: Any, report: Report) -> str:
    if isinstance(value, str) and 0 < len(value) <= _NAME_LENGTH_MAX:
        return value
    report(path, "missing" if value is None else value, f"a name of at most {_NAME_LENGTH_MAX} characters")
    return ""


def _rule(path: str, value: Mapping[str, Any], fields: Sequence[str], report: Report) -> SegmentRule | None:
    """`fields` are what holds the attribute, the names and, if there may be any, the cuts; empty cuts are none."""
    attribute, names, *cut = fields
    _known(path, value, fields, report)
    found = _text(f"{path}.{attribute}", value.get(attribute), report)
    segments = _names(f"{path}.{names}", value.get(names), report)
    wanted = value.get("cuts")
    cuts = _cuts(f"{path}.cuts", wanted, len(segments), report) if cut and (wanted or attribute == "covariate") else ()
    return SegmentRule(attribute=found, names=tuple(segments), cuts=cuts) if found and segments else None


def _segment_names(path: str, value: Any, name: Callable[[str, Any], str], most: int, report: Report) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        report(path, value, "a list of segment names, or a rule such as {attribute: …, values: …}")
        return ()
    if len(value) > most:
        report(path, f"{len(value)} segment names", f"at most {most}")
    names: list[str] = []
    for i, item in enumerate(value):
        found = name(f"{path}[{i}]", item)
        if found in names:
            report(f"{path}[{i}]", found, "a name no other segment has")
        names.append(found)
    return tuple(names)


def _names(path: str, value: Any, report: Report) -> list[Any]:
    if isinstance(value, (list, tuple)) and value:
        return list(value)
    report(path, "missing" if value is None else value, "a list of at least one segment")
    return []


def _cuts(path: str, value: Any, names: int, report: Report) -> tuple[float, ...]:
    items = list(value) if isinstance(value, (list, tuple)) else []
    if items and all(isinstance(x, (int, float)) and not isinstance(x, bool) and abs(x) < 1e300 for x in items):
        cuts = [float(x) for x in items]
        if all(low < high for low, high in pairwise(cuts)) and names in (0, len(cuts) + 1):
            return tuple(cuts)
    count = f", {names - 1} for {names} names" if names > 1 else ", one fewer than names"
    report(path, "missing" if value is None else value, f"ascending numbers{count}: each is the least of the next segment")
    return ()


def _ranges(path: str, value: Mapping[str, Any], report: Report) -> tuple[Range, ...]:
    """In places, ascending; empty if they are wrong."""
    if "ranges" in value:
        for field in ("from", "to"):
            if field in value:
                report(f"{path}.{field}", value[field], "nothing beside ranges")
        pairs = value["ranges"]
        if not isinstance(pairs, (list, tuple)) or not 0 < len(pairs) <= RANGES_MAX:
            report(f"{path}.ranges", pairs, f"a list of 1 to {RANGES_MAX} ranges, such as [[0%, 10%], [50%, 60%]]")
            return ()
        found = [_range(f"{path}.ranges[{i}]", pair, report) for i, pair in enumerate(pairs)]
    else:
        found = [_range(path, (value.get("from", 0), value.get("to", 1)), report)]
    ranges = [held for held in found if held is not None]
    for i, held in enumerate(ranges):
        if both := overlap([held], ranges[:i]):
            report(f"{path}.ranges", written(both), "ranges without places in common")
    return merged(ranges) if len(ranges) == len(found) else ()


def _range(path: str, pair: Any, report: Report) -> Range | None:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        report(path, pair, "a pair of shares, such as [0%, 10%]")
        return None
    low, high = (_share(x) for x in pair)
    if low is None or high is None:
        report(path, list(pair), f"from and to, each {_SHARE}")
        return None
    if low >= high:
        report(path, list(pair), "a range whose end is greater than its beginning, by at least 0.0001%")
        return None
    return low, high


def _share(value: Any) -> int | None:
    """In places."""
    if isinstance(value, str) and (match := _PERCENT.fullmatch(value.strip())):
        value = float(match[1]) / 100
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1:
        return round(value * PLACES)
    return None


def _instant(path: str, value: Any, report: Report) -> float | None:
    if value is None:
        return None
    try:
        seconds = parse_instant(value)
    except ArgumentError as error:
        report(path, value, error.expected)
        return None
    if not math.isfinite(seconds) or abs(seconds) >= 1e11:
        report(path, value, "a time within three thousand years")
        return None
    return seconds
