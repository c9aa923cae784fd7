"""Phases: what an experiment counts from one change of its metrics to the next, each with moments of its own.

A sum of two meanings has none. So a change of what is summed (`allocator.lifecycle`) begins a phase: an exposure counts in the
one that its `ts` falls into, and its rewards with it, by the metrics of that phase, however late they come. That is a function of
the events, so a replay gives the same moments. A unit that is exposed in two phases counts in both, by its exposure in each. The
policy, the guardrails and the gates of stages see the present phase alone; breaches that stand go on standing. Earlier phases are
kept in the spec as they were last, so that what they counted can be read.

A phase begins a little after the change that begins it: a worker must have read the spec before it reads the first event that the
new phase counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from allocator.errors import SpecError, SpecErrors

if TYPE_CHECKING:  # an experiment has phases
    from allocator.experiment import Experiment

__all__ = ["PHASES_MAX", "begin", "in_phase", "name_of", "phase_key", "phase_of", "phases_of"]

PHASES_MAX = 20
"""Of an experiment; each is in its spec."""


def phase_key(experiment: Experiment) -> str:
    """What the phase's moments are kept under: the experiment's name, from the second phase on with its number."""
    return experiment.experiment if experiment.phase == 1 else f"{experiment.experiment}@{experiment.phase}"


def name_of(key: str) -> str:
    """The experiment of a `phase_key`. '@' is in no name."""
    return key.partition("@")[0]


def phase_of(key: str) -> int:
    """The number of a phase by its `phase_key`."""
    return int(key.partition("@")[2] or 1)


def phases_of(experiment: Experiment) -> tuple[Experiment, ...]:
    """The experiment as it was in every phase, the present one last."""
    return (*experiment.earlier, experiment)


def in_phase(experiment: Experiment, number: int) -> Experiment:
    """The experiment as it was at the end of a phase.

    Raises
    ------
    SpecErrors : there is no such phase.
    """
    found = next((phase for phase in phases_of(experiment) if phase.phase == number), None)
    if found is None:
        raise SpecErrors([SpecError("phase", number, f"a phase of {experiment.experiment}: from 1 to {experiment.phase}")])
    return found


def begin(current: Experiment, wanted: Experiment, since: float) -> Experiment:
    """The experiment as `wanted`, in the phase after that of `current`.

    Parameters
    ----------
    since : exposures count in it from then on, in seconds since the epoch; moved behind the beginning of the present phase.

    Raises
    ------
    SpecErrors : it has `PHASES_MAX` already.
    """
    if current.phase >= PHASES_MAX:
        raise SpecErrors([SpecError("phase", current.phase + 1, f"at most {PHASES_MAX} phases: apply it under a new name")])
    earlier = (*current.earlier, msgspec.structs.replace(current, earlier=()))
    return msgspec.structs.replace(wanted, phase=current.phase + 1, since=max(since, current.since), earlier=earlier)
