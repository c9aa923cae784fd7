"""A person's word against a guardrail: for one arm it only alerts from now on. What is written, and what a later apply keeps."""

from __future__ import annotations

from difflib import get_close_matches

import msgspec

from allocator.errors import SpecError, SpecErrors
from allocator.experiment import Experiment

__all__ = ["kept_overruled", "overrule"]


def overrule(experiment: Experiment, metric: str, arm: str, *, undo: bool = False) -> Experiment:
    """The next revision, in which the guardrail only alerts for the arm; itself if that is so already.

    Parameters
    ----------
    undo : take it back: the guardrail acts on the arm again, from the next decision on.

    Raises
    ------
    SpecErrors : no such guardrail, or no such arm beside control.
    """
    others = [name for name in experiment.arm_ids if name != experiment.control]
    wrong = []
    if metric not in experiment.guardrails:
        wrong.append(SpecError("metric", metric, _one_of("a guardrail", metric, list(experiment.guardrails))))
    if arm not in others:
        wrong.append(SpecError("arm", arm, _one_of("an arm other than control", arm, others)))
    if wrong:
        raise SpecErrors(wrong)
    known = experiment.overruled.get(metric, ())
    if (arm in known) != undo:
        return experiment
    listed = tuple(name for name in others if (name in known and name != arm) or (name == arm and not undo))
    overruled = {name: arms for name, arms in (experiment.overruled | {metric: listed}).items() if arms}
    return msgspec.structs.replace(experiment, overruled=overruled, revision=experiment.revision + 1)


def kept_overruled(current: Experiment, wanted: Experiment) -> dict[str, tuple[str, ...]]:
    """What stays overruled when `wanted` is applied, whatever its file says: all that it still has a guardrail and an arm for."""
    found = {}
    for metric, arms in current.overruled.items():
        kept = tuple(arm for arm in wanted.arm_ids if arm in arms and arm != wanted.control)
        if metric in wanted.guardrails and kept:
            found[metric] = kept
    return found


def _one_of(what: str, value: str, known: list[str]) -> str:
    if not known:
        return f"{what}, and the spec has none"
    near = get_close_matches(value, known, 1)
    return f"{what}: one of {', '.join(known)}" + (f"; did you mean {near[0]!r}?" if near else "")
