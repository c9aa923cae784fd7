"""Simulations on several processes: the same outcome however many there are, because every run has a seed of its own.

`allocator.simulate` knows no processes. Runs are handed out in chunks; traces are put back in the order of runs.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from allocator.errors import AllocatorError
from allocator.experiment import Experiment
from allocator.simulate import Outcome, Plan, Trace, World, run

__all__ = ["Candidate", "SimulationError", "processes_default", "simulate_all", "traces_of"]

CHUNKS_PER_PROCESS = 20
"""Enough that progress is seen and no process waits long for the last one."""


class SimulationError(AllocatorError):
    """The simulation was cut short; the text says why."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of the policies that are compared.

    Parameters
    ----------
    name : what it is called in tables.
    experiment : the spec, with that policy.
    baseline : a name of `allocator.simulate.BASELINES` in place of the spec's policy, or None.
    """

    name: str
    experiment: Experiment
    baseline: str | None = None


def processes_default() -> int:
    """The CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def simulate_all(
    candidates: Sequence[Candidate],
    world: World,
    plan: Plan,
    *,
    runs: int,
    processes: int,
    advance: Callable[[int], None] = lambda _runs: None,
) -> list[Outcome]:
    """An outcome for each candidate, each of runs 0 to `runs` - 1. See `traces_of`."""
    found = traces_of(candidates, world, plan, runs=runs, processes=processes, advance=advance)
    return [Outcome.of(plan, traces) for traces in found]


def traces_of(
    candidates: Sequence[Candidate],
    world: World,
    plan: Plan,
    *,
    runs: int,
    processes: int,
    advance: Callable[[int], None] = lambda _runs: None,
) -> list[list[Trace]]:
    """The traces of runs 0 to `runs` - 1 of each candidate, in order.

    Parameters
    ----------
    runs, processes : at least 1.
    advance : called with the number of runs that have come in, whenever some have.

    Raises
    ------
    SimulationError : a process died.
    """
    size = max(1, len(candidates) * runs // (processes * CHUNKS_PER_PROCESS))
    chunks = [(c, range(at, min(at + size, runs))) for c in range(len(candidates)) for at in range(0, runs, size)]
    found: dict[tuple[int, int], list[Trace]] = {}
    if processes == 1:
        for c, numbers in chunks:
            found[c, numbers.start] = _traces(candidates[c], world, plan, numbers)
            advance(len(numbers))
    else:
        # Spawned, not forked: whoever calls may have threads, such as the one that draws a progress bar.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(processes, len(chunks)), mp_context=context, initializer=_leave_ctrl_c) as pool:
            futures = {pool.submit(_traces, candidates[c], world, plan, numbers): (c, numbers) for c, numbers in chunks}
            try:
                for future in as_completed(futures):
                    c, numbers = futures[future]
                    found[c, numbers.start] = future.result()
                    advance(len(numbers))
            except BrokenProcessPool as error:
                raise SimulationError("a process of the simulation died; fewer --processes need less memory") from error
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
    return [[trace for at in range(0, runs, size) for trace in found[c, at]] for c in range(len(candidates))]


def _traces(candidate: Candidate, world: World, plan: Plan, numbers: range) -> list[Trace]:
    return [run(candidate.experiment, world, plan, number, candidate.baseline) for number in numbers]


def _leave_ctrl_c() -> None:
    """To the process that collects: it cancels what has not begun, and ends the others when their chunk is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
