"""Who may take part, by a rule on the unit's attributes: JsonLogic (Wadhams 2015, jsonlogic.com), and of flagd's operators
`starts_with`, `ends_with`, `sem_ver` and `fractional`.

The rule is data: it is published with the weights, and every router evaluates it on what its caller knows of the unit. A unit is
eligible if the result is truthy as JsonLogic has it (false, null, 0, "" and [] are not). Nothing but the attributes is seen:
`fractional` without something to bucket by takes the attribute ``targetingKey``.

Evaluation is by datalogic, whose one core has bindings for other languages too.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec
from datalogic_py import DataLogicError, Engine, Rule

from allocator.errors import ArgumentError

__all__ = ["DEPTH_MAX", "OPERATORS", "RULE_BYTES_MAX", "Eligibility", "rule_errors"]

_PLAIN = ("var", "missing", "missing_some", "if", "!", "!!", "or", "and", "in", "cat", "substr", "merge")
_NUMBERS = ("==", "===", "!=", "!==", ">", ">=", "<", "<=", "max", "min", "+", "-", "*", "/", "%")
_LISTS = ("map", "filter", "reduce", "all", "none", "some")
_FLAGD = ("starts_with", "ends_with", "sem_ver", "fractional")
OPERATORS = frozenset((*_PLAIN, *_NUMBERS, *_LISTS, *_FLAGD))
"""What a rule may use: what every JsonLogic library has, and flagd's four."""
_MEANT = {"=>": ">=", "=<": "<=", "=": "==", "<>": "!=", "not": "!", "contains": "in", "semver": "sem_ver", "val": "var"}
"""Where the nearest name by its letters is not what is meant."""
RULE_BYTES_MAX = 10_000
"""As JSON: the rule travels with every publication."""
DEPTH_MAX = 50

_ENGINE = Engine(families=["Core", "ExtString", "Flagd"])


class Eligibility:
    """A rule, prepared for many units; may be used from several threads.

    Raises
    ------
    ArgumentError : it is no rule, see `rule_errors`.
    """

    __slots__ = ("_rule",)

    def __init__(self, rule: Mapping[str, Any]) -> None:
        for path, value, expected in rule_errors(rule):
            raise ArgumentError(f"eligibility{path}", value, expected)
        self._rule = _compiled(msgspec.json.encode(rule))

    def admits(self, attributes: Mapping[str, Any]) -> bool:
        """Whether a unit with these attributes is eligible.

        Raises
        ------
        ArgumentError : the rule fails on them, as a comparison of a list with a number does, or they are not JSON.
        """
        try:
            return self._rule.evaluate(attributes if isinstance(attributes, dict) else dict(attributes)) is True
        except (DataLogicError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ArgumentError("attributes", _names(attributes), f"values that the rule can be evaluated on: {error}") from error


def rule_errors(rule: Any) -> Iterator[tuple[str, Any, str]]:
    """What is wrong with a rule, as (path within it, value, what was expected); nothing if it can be evaluated."""
    if not isinstance(rule, Mapping) or not rule:
        yield "", rule, 'a rule in JsonLogic such as {">=": [{"var": "app_version"}, 7]}'
        return
    found = list(_misplaced(rule))
    if not found:
        size = len(msgspec.json.encode(rule))
        found = [("", f"{size} bytes", f"at most {RULE_BYTES_MAX} bytes as JSON")] if size > RULE_BYTES_MAX else []
    yield from found or _refused(rule)


def _misplaced(rule: Any) -> Iterator[tuple[str, Any, str]]:
    """Everything that is no JSON, and every operator that is none. Every mapping in a rule is an operation."""
    rest: list[tuple[str, Any, int]] = [("", rule, 1)]
    while rest:
        path, value, depth = rest.pop()
        if depth > DEPTH_MAX:
            yield path, "…", f"at most {DEPTH_MAX} levels"
        elif isinstance(value, Mapping):
            if len(value) != 1:
                yield path, dict(value), "one operator, with its arguments"
            for operator, arguments in value.items():
                if operator not in OPERATORS:
                    yield path, operator, _operator(operator)
                rest.append((f"{path}.{operator}", arguments, depth + 1))
        elif isinstance(value, (list, tuple)):
            rest += [(f"{path}[{i}]", item, depth + 1) for i, item in reversed(list(enumerate(value)))]
        elif not (value is None or isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value))):
            yield path, value, "a text, a number, true, false or null"


def _operator(found: Any) -> str:
    near = [_MEANT[found]] if found in _MEANT else difflib.get_close_matches(str(found), sorted(OPERATORS), 1)
    return f"an operator of JsonLogic; did you mean {near[0]!r}?" if near else f"one of {', '.join(sorted(OPERATORS))}"


def _refused(rule: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """What the engine has against it, such as too few arguments."""
    try:
        for problem in _ENGINE.check(rule):
            if problem["severity"] == "error":
                yield _path(problem["pointer"]), _at(rule, problem["pointer"]), f"what JsonLogic allows: {problem['message']}"
    except DataLogicError as error:
        yield "", dict(rule), f"what JsonLogic allows: {error}"


def _steps(pointer: str) -> list[str]:
    """Of an RFC 6901 JSON Pointer."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _path(pointer: str) -> str:
    return "".join(f"[{step}]" if step.isdecimal() else f".{step}" for step in _steps(pointer))


def _at(rule: Any, pointer: str) -> Any:
    for step in _steps(pointer):
        try:
            rule = rule[int(step)] if isinstance(rule, (list, tuple)) else rule[step]
        except (KeyError, IndexError, TypeError, ValueError):  # a single argument may stand without its list
            return rule
    return rule


@lru_cache(maxsize=2000)
def _compiled(rule: bytes) -> Rule:
    """Once a rule, not once a publication. ``!!`` makes a boolean of the result."""
    return _ENGINE.compile({"!!": [msgspec.json.decode(rule)]})


def _names(attributes: Any) -> Any:
    """Attributes are about people: an error shows which there were, not what they said."""
    return sorted(map(str, attributes)) if isinstance(attributes, Mapping) else type(attributes).__name__
