"""An experiment's life: which status may follow which, and which fields of its spec may change while it runs.

    draft ──► running ◄──► paused
                 └─────┬─────┘
                       ├──► promoted ───┐
                       │       ▼        ├──► archived
                       └──► stopped ────┘

A draft may be stopped or archived as well. It is counted nowhere, and everything of it may change. From then on moments are sums
over everything seen since the start. A change of what is summed would mix two meanings in one number; it takes a new phase, with
moments of its own (`allocator.phases`). Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Literal

import msgspec

from allocator.durations import format_duration
from allocator.errors import ArgumentError, SpecError, SpecErrors
from allocator.experiment import Experiment, Status
from allocator.namespaces import resize_errors
from allocator.overrule import kept_overruled
from allocator.phases import begin
from allocator.segments import change_errors

__all__ = [
    "EXPERIMENTS_MAX",
    "FIELDS",
    "PUBLISHED_AS",
    "TRANSITIONS",
    "counted",
    "crowded",
    "differences",
    "discarded",
    "move",
    "promote",
    "revise",
    "what_changed",
]

EXPERIMENTS_MAX = 1000
"""Of one prefix, archived ones left out: what one group of workers decides."""

TRANSITIONS: dict[Status, frozenset[Status]] = {
    "draft": frozenset({"running", "stopped", "archived"}),
    "running": frozenset({"paused", "promoted", "stopped"}),
    "paused": frozenset({"running", "promoted", "stopped"}),
    "promoted": frozenset({"stopped", "archived"}),
    "stopped": frozenset({"archived"}),
    "archived": frozenset(),
}
"""What may follow what. From promoted, stopped and archived no way leads back to running."""

PUBLISHED_AS: dict[Status, Literal["running", "paused", "stopped"]] = {
    "draft": "paused",
    "running": "running",
    "paused": "paused",
    "promoted": "running",
    "stopped": "stopped",
    "archived": "stopped",
}
"""The status in the weights: the three that every router has known from the first version on."""

Rule = Literal["free", "limited", "new phase", "refused", "command"]

FIELDS: dict[str, Rule] = {
    "experiment": "refused",
    "unit": "refused",
    "metrics": "new phase",
    "period_s": "new phase",
    "covariates": "new phase",
    "namespace": "limited",
    "segment_rule": "limited",
    "status": "command",
    "promoted": "command",
    "word": "command",
    "phase": "command",
    "since": "command",
    "earlier": "command",
    "overruled": "command",
    "revision": "command",
    "arms": "free",
    "control": "free",
    "derived": "free",
    "objective": "free",
    "guardrails": "free",
    "policy": "free",
    "constraints": "free",
    "fallback": "free",
    "segments": "free",
    "eligibility": "free",
    "schedule": "free",
    "enrolment": "free",
    "stages": "free",
    "holdback": "free",
    "publish_interval_s": "free",
    "lease_s": "free",
    "clock_skew_s": "free",
    "grace_s": "free",
    "owner": "free",
    "hypothesis": "free",
}
"""What an applied spec may do to each field of an experiment that is counted: change it freely; within limits (a namespace may
grow, see `allocator.namespaces`; of segments by rule see `allocator.segments`); only in a new phase (of `metrics` see `_SUMMED`:
what does not say what is summed is free); never; or not at all, because a command does it."""

_OWNED = ("status", "promoted", "word", "phase", "since", "earlier")
"""Fields that no spec file sets in a running experiment."""
_SAME = "the same as in the running experiment; stop it and apply under a new name"
_SUMMED = ("type", "resolution", "aggregate", "window_s", "cap", "missing")
"""Fields of a metric that decide what its moments mean."""


def move(experiment: Experiment, status: Status) -> Experiment:
    """The experiment with another status and the next revision; itself if it has that status already.

    Raises
    ------
    SpecErrors : `TRANSITIONS` does not allow it.
    ArgumentError : the status is promoted, for which see `promote`.
    """
    if status == experiment.status:
        return experiment
    _require(experiment, status)
    if status == "promoted":
        raise ArgumentError("status", status, "another one: promote names the arm as well")
    return msgspec.structs.replace(experiment, status=status, revision=experiment.revision + 1)


def promote(experiment: Experiment, arm: str) -> Experiment:
    """The experiment with that arm promoted, in place of any other one; itself if it is already.

    Raises
    ------
    SpecErrors : there is no such arm, or `TRANSITIONS` does not allow it.
    """
    if experiment.status != "promoted":
        _require(experiment, "promoted")
    if arm not in experiment.arm_ids:
        near = get_close_matches(arm, experiment.arm_ids, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SpecErrors([SpecError("promoted", arm, f"an arm: one of {', '.join(experiment.arm_ids)}{hint}")])
    if (experiment.status, experiment.promoted) == ("promoted", arm):
        return experiment
    return msgspec.structs.replace(experiment, status="promoted", promoted=arm, revision=experiment.revision + 1)


def revise(current: Experiment | None, wanted: Experiment, phase_from: float | None = None) -> Experiment:
    """What applying `wanted` makes of `current`: a first revision, the next one, or `current` itself when nothing changes.

    Status, promoted arm, phases, the word about its stages and what was overruled belong to the running experiment: a spec file
    sets status and promoted arm only for a new name. Stages may change in any way; where that leaves the experiment is said in
    `allocator.stages`.

    Parameters
    ----------
    phase_from : where a change of what is summed may begin a phase, in seconds since the epoch; None: such a change is refused.

    Raises
    ------
    SpecErrors : every field that must not change, or the experiment is stopped or archived, or has too many phases.
    """
    if current is None:
        return msgspec.structs.replace(wanted, word=None, phase=1, since=0.0, earlier=(), revision=1)
    kept = {name: getattr(current, name) for name in _OWNED}
    revised = msgspec.structs.replace(wanted, **kept, overruled=kept_overruled(current, wanted), revision=current.revision)
    if revised == current and revised.metric_names == current.metric_names:  # equal mappings may differ in order
        return current
    if current.status in ("stopped", "archived"):
        expected = f"a new name: this experiment is {current.status}, and {current.status} is final"
        raise SpecErrors([SpecError("experiment", wanted.experiment, expected)])
    if current.status != "draft":
        summed = list(_summed_otherwise(current, revised))
        begins = summed and phase_from is not None and current.status in ("running", "paused")
        if errors := [*_refused(current, revised), *([] if begins else summed)]:
            raise SpecErrors(errors)
        if summed and phase_from is not None:
            revised = begin(current, revised, phase_from)
    return msgspec.structs.replace(revised, revision=current.revision + 1)


def discarded(before: Experiment, after: Experiment) -> tuple[str, ...]:
    """What has been counted that nothing will read after this change, one sentence each; empty if all goes on to be used."""
    if before.status == "draft":
        return ()
    arms = [arm for arm in before.arm_ids if arm not in after.arm_ids]
    segments = [name for name in before.segments if name not in after.segments]
    lost = [f"arm {arm} is removed: what it has counted is no longer read, and exposures to it are dead letters" for arm in arms]
    if after.phase != before.phase:
        why = ", ".join(error.path for error in _summed_otherwise(before, after))
        lost.append(
            f"phase {after.phase} begins ({why}): all is counted anew and the weights start from an even split; "
            f"what was counted so far can be read as phase {before.phase}, and trains nothing"
        )
    return (*lost, *(f"segment {name} is removed: what was counted in it stays apart from all others" for name in segments))


def counted(experiments: Mapping[str, Experiment]) -> dict[str, Experiment]:
    """Those whose events are counted: all but drafts, whose metrics may still change."""
    return {name: experiment for name, experiment in experiments.items() if experiment.status != "draft"}


def what_changed(before: Experiment, after: Experiment) -> list[tuple[str, Any, Any]]:
    """Every field that differs, as (path, before, after), revision left out; None stands for absent."""
    told = [name for name in _OWNED if name != "earlier"]  # the fields that differ say what was
    owned = [(name, *(msgspec.to_builtins(getattr(spec, name)) for spec in (before, after))) for name in told]
    return [(path, old, new) for path, old, new in owned if old != new] + differences(before, after)


def crowded(wanted: Experiment, others: Iterable[Experiment]) -> list[SpecError]:
    """What is wrong with one more experiment beside those there are."""
    there = sum(other.status != "archived" for other in others)
    if there < EXPERIMENTS_MAX:
        return []
    expected = f"at most {EXPERIMENTS_MAX} experiments not archived: archive one, or use another prefix with its own workers"
    return [SpecError("experiment", wanted.experiment, expected)]


def differences(before: Experiment, after: Experiment) -> list[tuple[str, Any, Any]]:
    """As `what_changed`, without status, promoted arm and word: what a spec file can change."""
    found = list(_differences("", _by_path(before), _by_path(after)))
    if before.arm_ids != after.arm_ids and set(before.arm_ids) == set(after.arm_ids):
        found.append(("arms", list(before.arm_ids), list(after.arm_ids)))
    return found


def _require(experiment: Experiment, status: Status) -> None:
    allowed = TRANSITIONS[experiment.status]
    if status in allowed:
        return
    expected = f"one of {', '.join(sorted(allowed))}" if allowed else "no other status"
    if "running" not in allowed and experiment.status not in ("running", "draft"):
        expected += f", or a new experiment under a new name: {experiment.status} is final"
    raise SpecErrors([SpecError("status", f"{experiment.status} -> {status}", expected)])


def _by_path(experiment: Experiment) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(experiment)
    for owned in (*_OWNED, "revision"):
        del fields[owned]
    fields["arms"] = {arm["id"]: arm for arm in fields["arms"]}
    return fields


def _refused(current: Experiment, wanted: Experiment) -> Iterator[SpecError]:
    for field in msgspec.structs.fields(Experiment):
        old, new = getattr(current, field.name), getattr(wanted, field.name)
        if FIELDS.get(field.name, "refused") == "refused" and old != new:
            yield SpecError(field.encode_name, new, f"{old}, {_SAME}")
    yield from resize_errors(current.namespace, wanted.namespace)
    yield from change_errors(current.segment_rule, wanted.segment_rule)
    if current.promoted is not None and current.promoted not in wanted.arm_ids:
        yield SpecError("arms", list(wanted.arm_ids), f"{current.promoted} among them: it is promoted")


def _summed_otherwise(current: Experiment, wanted: Experiment) -> Iterator[SpecError]:
    """Every field that decides what moments mean and is another now, as the error it is where no phase can begin."""
    if current.period_s != wanted.period_s:
        yield SpecError("period", format_duration(wanted.period_s), f"{format_duration(current.period_s)}, {_SAME}")
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
