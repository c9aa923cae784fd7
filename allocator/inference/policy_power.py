"""Power of a policy that moves traffic: there is no formula, so a simulator says how often it is right by when.

The simulator is an argument, so nothing here knows one. It is asked for one batch of runs that reaches the last horizon, and
answers how many of them had the best arm in front at each horizon and when each of them decided. Rows made of its answers stand
in a plan's table beside those of fixed splits. `allocator.simulate.power` has one.

A share p̂ of R runs has the standard error √(p̃ (1 - p̃) / R) with p̃ = (R p̂ + 2) / (R + 4), which is not 0 when all runs agree
(Agresti & Coull 1998); a number of units read off it has that error over the slope, by the delta method.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from allocator.inference.baselines import checked, is_finite

__all__ = ["SimulatedPower", "SimulatedRuns", "simulated_power"]


@dataclass(frozen=True, slots=True)
class SimulatedRuns:
    """What a simulator answers.

    Parameters
    ----------
    policy : its name.
    runs : how many runs, ≥ 1.
    correct : of them, how many have the best arm in front at each horizon that was asked for.
    decided_at : units in all at which each run stopped with a verdict, inf where none had by the last horizon; empty for a policy
        that never stops.
    assumptions : the simulated world in short sentences: arms, delay, batches, seed.
    """

    policy: str
    runs: int
    correct: tuple[int, ...]
    decided_at: tuple[float, ...] = ()
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SimulatedPower:
    """A policy's power by the number of units.

    Parameters
    ----------
    total : units in all from which on the best arm is in front in a share `power` of runs, interpolated; None: not by the last
        horizon.
    total_error : its Monte-Carlo standard error; None where there is nothing to interpolate: none, or the first horizon.
    median_decided_at : units in all by which half of the runs have decided; None: they have not, or the policy never stops.
    horizons : (units in all, share of runs with the best arm in front, its standard error), ascending.
    """

    policy: str
    total: float | None
    total_error: float | None
    median_decided_at: float | None
    power: float
    horizons: tuple[tuple[float, float, float], ...]
    method: str
    assumptions: tuple[str, ...]


def simulated_power(
    simulate: Callable[[Sequence[float]], SimulatedRuns], horizons: Sequence[float], power: float
) -> SimulatedPower:
    """Ask the simulator, and read its answer off as a plan.

    Parameters
    ----------
    simulate : called once, with `horizons`.
    horizons : units in all, ascending, > 0, at least one.
    power : in (0, 1).

    Raises
    ------
    ArgumentError : an argument is outside its domain, or the answer does not fit the question.
    """
    ascending = all(a < b for a, b in zip((0.0, *horizons), horizons, strict=False))
    checked("horizons", tuple(horizons), "ascending numbers of units above 0", len(horizons) > 0 and ascending)
    checked("power", power, "a number above 0 and below 1", is_finite(power) and 0 < power < 1)
    answer = simulate(horizons)
    counts = len(answer.correct) == len(horizons) and all(0 <= c <= answer.runs for c in answer.correct)
    checked("simulate", answer.correct, f"for each of {len(horizons)} horizons a count of at most {answer.runs} runs", counts)
    fits = answer.runs >= 1 and len(answer.decided_at) in (0, answer.runs)
    checked("simulate", len(answer.decided_at), f"a time for each of {answer.runs} runs, or none", fits)
    shares = [count / answer.runs for count in answer.correct]
    errors = [_error(count, answer.runs) for count in answer.correct]
    total, total_error = _reached(horizons, shares, errors, power)
    decided = sorted(answer.decided_at)
    median = decided[(len(decided) - 1) // 2] if decided else math.inf
    return SimulatedPower(
        policy=answer.policy,
        total=total,
        total_error=total_error,
        median_decided_at=median if math.isfinite(median) else None,
        power=power,
        horizons=tuple(zip(map(float, horizons), shares, errors, strict=True)),
        method=f"simulation of {answer.policy}, {answer.runs} runs",
        assumptions=answer.assumptions,
    )


def _error(count: int, runs: int) -> float:
    p = (count + 2) / (runs + 4)
    return math.sqrt(p * (1 - p) / runs)


def _reached(
    horizons: Sequence[float], shares: Sequence[float], errors: Sequence[float], power: float
) -> tuple[float | None, float | None]:
    """From where on the share stays at `power` or above, on a straight line between horizons, and the standard error of that."""
    below = [i for i, share in enumerate(shares) if share < power]
    last = below[-1] if below else -1
    if last == len(shares) - 1:
        return None, None
    if last < 0:
        return float(horizons[0]), None
    slope = (shares[last + 1] - shares[last]) / (horizons[last + 1] - horizons[last])
    part = (power - shares[last]) / (shares[last + 1] - shares[last])
    error = errors[last] + part * (errors[last + 1] - errors[last])
    return float(horizons[last] + part * (horizons[last + 1] - horizons[last])), error / slope
