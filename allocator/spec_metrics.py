"""Metrics made of others, and the forms of an objective, in a spec.

    metrics:
      revenue_per_session: {ratio: [revenue, sessions]}
      oec: {sum: {add_to_cart: 1, revenue: 0.02}, direction: up}
      gmv: {product: [add_to_cart, basket]}
    objective: oec
    objective: {maximise: add_to_cart, subject_to: {revenue: {tolerance: 1%}, cost: {budget: 0.02}, quality: {at_least: 0.9}}}

The last one is said with the policy `constrained`, and the record on the wire says it so.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from allocator.errors import ArgumentError
from allocator.experiment import Derived, Direction, Metric, derived_kind
from allocator.spec_priors import read_prior
from allocator.tolerances import tolerance_of

__all__ = [
    "NODES_MAX",
    "Aim",
    "check_tree",
    "is_derived",
    "made_of_others",
    "read_aim",
    "read_cap",
    "read_derived",
    "with_limits",
]

Report = Callable[[str, Any, str], None]
"""(path, value, expected): what is wrong with a field."""

NODES_MAX = 500
"""Of a tree, a metric used twice counting twice: evaluating it takes so many steps."""

_KINDS = ("sum", "ratio", "product")
_FIELDS = tuple(f.encode_name for f in msgspec.structs.fields(Derived))
_LIMITS = {"tolerance": "tolerances", "budget": "budgets", "at_least": "floors"}
"""What a spec calls a limit → the parameter of `constrained`."""
_AIMS: dict[str, Direction] = {"maximise": "up", "minimise": "down"}
CONSTRAINED = "constrained"


@dataclass(frozen=True, slots=True)
class Aim:
    """What an objective says: the metric that traffic follows, and limits as parameters of the policy `constrained`."""

    metric: str
    limits: dict[str, dict[str, Any]] = field(default_factory=dict)


def is_derived(value: Any) -> bool:
    """Whether a metric is declared as made of others."""
    return isinstance(value, Mapping) and any(kind in value for kind in _KINDS)


def made_of_others(metrics: Mapping[str, Any], apart: Any, report: Report) -> list[tuple[str, str, Any]]:
    """(path, name, declaration) of every derived metric: among `metrics`, or `apart` as the record on the wire has them."""
    if not isinstance(apart, Mapping):
        report("derived", apart, "a mapping of metrics made of others, which may as well be among metrics")
        apart = {}
    for name in [name for name in apart if name in metrics]:
        report(f"derived.{name}", name, "a name no other metric has")
    among = [(f"metrics.{name}", name, found) for name, found in metrics.items() if is_derived(found)]
    return among + [(f"derived.{name}", name, found) for name, found in apart.items() if name not in metrics]


def read_derived(path: str, value: Any, report: Report) -> Derived | None:
    """One derived metric; None where it is not one, which is reported. Whether its parts exist is left to `check_tree`."""
    if not is_derived(value):
        report(path, value, "a mapping with sum, ratio or product")
        return None
    for key in value:
        if key not in _FIELDS:
            report(f"{path}.{key}", value[key], _one_of(key, _FIELDS, "a metric made of others has: "))
    kinds = [kind for kind in _KINDS if kind in value]
    if len(kinds) > 1:
        report(path, kinds, "one of sum, ratio and product")
        return None
    kind = kinds[0]
    made = _sum(f"{path}.sum", value["sum"], report) if kind == "sum" else _pair(f"{path}.{kind}", value[kind], report)
    direction = value.get("direction", "up")
    if direction not in {"up", "down"}:
        report(f"{path}.direction", direction, "a direction: one of up, down")
        direction = "up"
    prior = read_prior(f"{path}.prior", value.get("prior"), "value", report)
    return None if made is None else Derived(**{kind: made}, direction=cast(Direction, direction), prior=prior)  # type: ignore[arg-type]


def check_tree(observed: Collection[str], derived: Mapping[str, Derived], report: Report) -> bool:
    """Report parts that do not exist, cycles, and trees too large to evaluate. Returns whether there were none."""
    names, good = [*observed, *derived], True
    for name, found in derived.items():
        kind, parts, _ = derived_kind(found)
        for k, part in enumerate(parts):
            if part not in names:
                good = False
                path = f"metrics.{name}.{kind}.{part}" if kind == "sum" else f"metrics.{name}.{kind}[{k}]"
                report(path, part, _one_of(part, names, "a metric: "))
    sizes: dict[str, int] = dict.fromkeys(observed, 1)
    for name in derived:
        cycle = _measure(name, derived, sizes, [])
        if cycle:
            good = False
            report(f"metrics.{name}", " → ".join(cycle), "no cycle: a metric made of others that end in observed ones")
            return good
        if sizes[name] > NODES_MAX:
            good = False
            report(f"metrics.{name}", f"{sizes[name]} nodes", f"at most {NODES_MAX}, a metric used twice counting twice")
            return good
    return good


def read_aim(value: Any, metrics: Mapping[str, Metric | Derived], report: Report) -> Aim:
    """An objective by name, or with what it is subject to."""
    if not isinstance(value, Mapping):
        return Aim(_metric("objective", value, metrics, report))
    for key in value:
        if key not in (*_AIMS, "subject_to"):
            report(f"objective.{key}", value[key], _one_of(key, (*_AIMS, "subject_to"), ""))
    aims = [aim for aim in _AIMS if aim in value]
    if len(aims) != 1:
        report("objective", dict(value), "a metric's name, or a mapping with maximise and subject_to")
        return Aim("")
    aim = aims[0]
    name = _metric(f"objective.{aim}", value[aim], metrics, report)
    if name and metrics[name].direction != _AIMS[aim]:
        other = next(known for known in _AIMS if known != aim)
        report(f"objective.{aim}", name, f"{other}: the metric's direction is {metrics[name].direction}")
    return Aim(name, _limits("objective.subject_to", value.get("subject_to", {}), metrics, report))


def with_limits(aim: Aim, policy: Any, report: Report) -> Any:
    """The policy a spec writes, as it writes it, or what stands for it where the objective has limits."""
    if not aim.limits:
        return "thompson" if policy is None else policy
    name = policy.get("name") if isinstance(policy, Mapping) else policy
    if name not in {None, CONSTRAINED}:
        report("policy", policy, f"{CONSTRAINED}, or nothing: an objective that is subject to limits is followed by that policy")
    elif isinstance(policy, Mapping):
        given = {**policy, **policy.get("params", {})}
        for key in [key for key in given if key not in {"name", "params"}]:
            report(f"policy.{key}", given[key], "nothing: limits are said under objective.subject_to")
    return {"name": CONSTRAINED, "params": aim.limits}


def read_cap(path: str, value: Any, quantile: Any, kind: str, report: Report) -> tuple[float | None, float | None]:
    """Where a unit's value is cut off, and at which quantile: a spec says one of both, the record on the wire may say both."""
    if isinstance(value, Mapping):
        for key in value:
            if key != "quantile":
                report(f"{path}.{key}", value[key], "quantile alone, such as cap: {quantile: 0.99}")
        value, quantile = None, value.get("quantile")
        if quantile is None:
            report(f"{path}.quantile", "missing", "a number from 0.5 to below 1")
    return _number_as_cap(path, value, kind, report), _quantile(f"{path}.quantile", quantile, kind, report)


def _quantile(path: str, value: Any, kind: str, report: Report) -> float | None:
    if value is None:
        return None
    if kind != "binary" and isinstance(value, (int, float)) and not isinstance(value, bool) and 0.5 <= value < 1:
        return float(value)
    report(path, value, "nothing: a binary metric is 0 or 1 already" if kind == "binary" else "a number from 0.5 to below 1")
    return None


def _number_as_cap(path: str, value: Any, kind: str, report: Report) -> float | None:
    if value is None:
        return None
    if kind == "binary":
        report(path, value, "nothing: a binary metric is 0 or 1 already")
        return None
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e300
    if known and (kind != "count" or value % 1 == 0):
        return float(value)
    report(path, value, "a whole number above 0" if kind == "count" else "a number above 0, in the metric's own unit")
    return None


def _sum(path: str, value: Any, report: Report) -> dict[str, float] | None:
    if not isinstance(value, Mapping) or not value:
        report(path, value, "a mapping from metrics to their weights, such as {add_to_cart: 1, revenue: 0.02}")
        return None
    weights: dict[str, float] = {}
    for name, weight in value.items():
        if isinstance(weight, (int, float)) and not isinstance(weight, bool) and math.isfinite(weight) and abs(weight) < 1e300:
            weights[str(name)] = float(weight)
        else:
            report(f"{path}.{name}", weight, "a finite number")
    return weights if len(weights) == len(value) else None


def _pair(path: str, value: Any, report: Report) -> tuple[str, str] | None:
    if isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(name, str) for name in value):
        return value[0], value[1]
    report(path, value, "a list of two metrics, such as [revenue, sessions]")
    return None


def _measure(name: str, derived: Mapping[str, Derived], sizes: dict[str, int], above: list[str]) -> list[str]:
    """Note how many nodes the tree under `name` has; returns a cycle if it runs into one."""
    if name in above:
        return [*above[above.index(name) :], name]
    if name in sizes or name not in derived:
        return []
    size = 1
    for part in derived_kind(derived[name])[1]:
        if cycle := _measure(part, derived, sizes, [*above, name]):
            return cycle
        size += sizes.get(part, 1)
    sizes[name] = size
    return []


def _limits(path: str, value: Any, metrics: Mapping[str, Metric | Derived], report: Report) -> dict[str, dict[str, Any]]:
    if not isinstance(value, Mapping) or not value:
        report(path, value, "a mapping from metrics to limits, such as {revenue: {tolerance: 1%}, cost: {budget: 0.02}}")
        return {}
    found: dict[str, dict[str, Any]] = {}
    for name, limits in value.items():
        if not _metric(f"{path}.{name}", name, metrics, report):
            continue
        if not isinstance(limits, Mapping) or not limits:
            report(f"{path}.{name}", limits, f"a mapping with {', '.join(_LIMITS)}")
            continue
        for key, limit in limits.items():
            if key not in _LIMITS:
                report(f"{path}.{name}.{key}", limit, _one_of(key, tuple(_LIMITS), ""))
            elif _is_limit(f"{path}.{name}.{key}", key, limit, report):
                found.setdefault(_LIMITS[key], {})[str(name)] = limit
    return found


def _is_limit(path: str, key: str, limit: Any, report: Report) -> bool:
    if key == "tolerance":
        try:
            tolerance_of(path, limit)
        except ArgumentError as error:
            report(path, limit, error.expected)
            return False
        return True
    good = isinstance(limit, (int, float)) and not isinstance(limit, bool) and abs(limit) < 1e300
    if not good:
        report(path, limit, "a finite number, in the metric's own unit")
    return good


def _metric(path: str, value: Any, metrics: Mapping[str, Metric | Derived], report: Report) -> str:
    if isinstance(value, str) and value in metrics:
        return value
    if metrics:
        report(path, value, _one_of(value, tuple(metrics), "a metric: "))
    return ""


def _one_of(value: Any, allowed: Sequence[str], what: str) -> str:
    near = difflib.get_close_matches(str(value), allowed, 1)
    return f"{what}one of {', '.join(allowed)}" + (f"; did you mean {near[0]!r}?" if near else "")
