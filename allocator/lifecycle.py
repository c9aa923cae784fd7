"""An experiment's life: which status may follow which, and which changes of a running spec are allowed.

Moments are sums over everything seen since the start. A change of what is summed (metrics, unit, period) would mix two
meanings in one number, so it is refused: stop the experiment and apply the new spec under a new name. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from allocator.durations import format_duration
from allocator.errors import SpecError, SpecErrors
from allocator.experiment import Experiment, Status
from allocator.namespaces import resize_errors
from allocator.overrule import kept_overruled
from allocator.segments import change_errors

__all__ = ["TRANSITIONS", "differences", "move", "revise"]

TRANSITIONS: dict[Status, frozenset[Status]] = {
    "running": frozenset({"paused", "stopped"}),
    "paused": frozenset({"running", "stopped"}),
    "stopped": frozenset(),
}
"""What may follow what. `stopped` is final."""

_SAME = "the same as in the running experiment; stop it and apply under a new name"
_SUMMED = ("type", "resolution", "aggregate", "window_s", "cap", "missing")
"""Fields of a metric that decide what its moments mean."""


def move(experiment: Experiment, status: Status) -> Experiment:
    """The experiment with another status and the next revision; itself if it has that status already.

    Raises
    ------
    SpecErrors : `TRANSITIONS` does not allow it.
    """
    if status == experiment.status:
        return experiment
    allowed = TRANSITIONS[experiment.status]
    if status not in allowed:
        expected = f"one of {', '.join(sorted(allowed))}" if allowed else "a new experiment under a new name: stopped is final"
        raise SpecErrors([SpecError("status", f"{experiment.status} -> {status}", expected)])
    return msgspec.structs.replace(experiment, status=status, revision=experiment.revision + 1)


def revise(current: Experiment | None, wanted: Experiment) -> Experiment:
    """What applying `wanted` makes of `current`: a first revision, the next one, or `current` itself when nothing changes.

    Status, the word about its stages and what was overruled belong to the running experiment: a spec file sets a status only for
    a new name. Stages may change in any way; where that leaves the experiment is said in `allocator.stages`.

    Raises
    ------
    SpecErrors : every field that must not change, or the experiment is stopped.
    """
    if current is None:
        return msgspec.structs.replace(wanted, word=None, revision=1)
    kept = {"status": current.status, "word": current.word, "overruled": kept_overruled(current, wanted)}
    revised = msgspec.structs.replace(wanted, **kept, revision=current.revision)
    if revised == current and revised.metric_names == current.metric_names:  # equal mappings may differ in order
        return current
    if current.status == "stopped":
        expected = "a new name: this experiment is stopped, and stopped is final"
        raise SpecErrors([SpecError("experiment", wanted.experiment, expected)])
    if errors := list(_refused(current, revised)):
        raise SpecErrors(errors)
    return msgspec.structs.replace(revised, revision=current.revision + 1)


def differences(before: Experiment, after: Experiment) -> list[tuple[str, Any, Any]]:
    """Every field that differs, as (path, before, after), status, word and revision left out; None stands for absent."""
    found = list(_differences("", _by_path(before), _by_path(after)))
    if before.arm_ids != after.arm_ids and set(before.arm_ids) == set(after.arm_ids):
        found.append(("arms", list(before.arm_ids), list(after.arm_ids)))
    return found


def _by_path(experiment: Experiment) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(experiment)
    del fields["status"], fields["word"], fields["revision"]
    fields["arms"] = {arm["id"]: arm for arm in fields["arms"]}
    return fields


def _refused(current: Experiment, wanted: Experiment) -> Iterator[SpecError]:
    if current.unit != wanted.unit:
        yield SpecError("unit", wanted.unit, f"{current.unit}, {_SAME}")
    if current.period_s != wanted.period_s:
        yield SpecError("period", format_duration(wanted.period_s), f"{format_duration(current.period_s)}, {_SAME}")
    yield from resize_errors(current.namespace, wanted.namespace)
    yield from change_errors(current.segment_rule, wanted.segment_rule)
    if current.metric_names != wanted.metric_names:
        yield SpecError("metrics", list(wanted.metric_names), f"{list(current.metric_names)} in this order, {_SAME}")
    if current.covariates != wanted.covariates:
        was = [covariate.name for covariate in current.covariates]
        found = [f"{covariate.name} in steps of {covariate.resolution:g}" for covariate in wanted.covariates]
        yield SpecError("covariates", found, f"{was} in this order and in the same steps, {_SAME}")
    for name in (name for name in wanted.metrics if name in current.metrics):
        for field in _SUMMED:
            old, new = getattr(current.metrics[name], field), getattr(wanted.metrics[name], field)
            if old != new:
                if field.endswith("_s"):
                    old, new = format_duration(old), format_duration(new)
                yield SpecError(f"metrics.{name}.{field.removesuffix('_s')}", new, f"{old}, {_SAME}")


def _differences(path: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys([*before, *after]):
            yield from _differences(f"{path}.{key}" if path else str(key), before.get(key), after.get(key))
    elif before != after:
        yield path, before, after
