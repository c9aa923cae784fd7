"""Many runs as one answer: means over runs, each with its Monte-Carlo standard error.

A mean of R runs has the standard error sd / √R; a share p̂ of runs has √(p̃ (1 - p̃) / R) with p̃ = (R p̂ + 2) / (R + 4), which is
not 0 when all runs agree (Agresti & Coull 1998).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from allocator.errors import ArgumentError
from allocator.quadrature import FloatArray
from allocator.simulate.run import Plan, Trace
from allocator.simulate.world import IntArray

__all__ = ["ASSUMPTIONS", "METHOD", "Curve", "Estimate", "Outcome"]

METHOD = "simulation of the product's own decisions; means over independent runs, with Monte-Carlo standard errors"
ASSUMPTIONS = (
    "Regret is true: the gap of each served arm's true mean to that of the arm that is best at the time, summed over units.",
    "Units are independent of each other, and their rewards of the arm's other metrics.",
    "Shares are exact: each unit is served an arm with the published probabilities.",
    "Right is a leader that is truly the best at the time, for the unit's segment where there are segments.",
    "Decided is the first time that the leader's P(best) reaches the stated confidence, or the policy's own verdict is to stop.",
    "Time to decision is a mean over the runs that decided before the horizon.",
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its Monte-Carlo standard error; nan where no run, or only one, tells."""

    value: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class Curve:
    """A number over time, shape (points,) or (points, arms)."""

    value: FloatArray
    standard_error: FloatArray


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a simulation found.

    Parameters
    ----------
    runs : R.
    steps : units served at each point of the curves, shape (points,).
    regret : true regret so far.
    right : share of runs whose leader is truly the best; with segments, of runs and units.
    shares : mean published shares, by arm.
    best_share : mean published share of the arm that is best at the time.
    decided : share of runs in which the leader was decided, at whatever time; nan where nobody says how sure it is.
    decided_right : share of these that were right at that time.
    time_to_decision : units served until then, mean of these.
    """

    runs: int
    steps: IntArray
    regret: Curve
    right: Curve
    shares: Curve
    best_share: Curve
    decided: Estimate
    decided_right: Estimate
    time_to_decision: Estimate
    method: str = METHOD
    assumptions: tuple[str, ...] = ASSUMPTIONS

    @classmethod
    def of(cls, plan: Plan, traces: Sequence[Trace]) -> Outcome:
        """Of at least one run of that plan, in whatever order they were computed."""
        if not traces:
            raise ArgumentError("traces", len(traces), "at least one run")
        at = np.array([trace.decided_at for trace in traces])
        decided = np.isfinite(at)
        says = ~np.isnan(at)
        decided_right = np.array([trace.decided_right for trace in traces])[decided]
        return cls(
            runs=len(traces),
            steps=plan.steps,
            regret=_means(np.array([trace.regret for trace in traces])),
            right=_fractions(np.array([trace.right for trace in traces])),
            shares=_means(np.array([trace.shares for trace in traces])),
            best_share=_means(np.array([trace.best_share for trace in traces])),
            decided=_last(_fractions(decided[says][:, None].astype(np.float64))),
            decided_right=_last(_fractions(decided_right[:, None])),
            time_to_decision=_last(_means(at[decided][:, None])),
        )

    @property
    def final_regret(self) -> Estimate:
        """At the horizon."""
        return _last(self.regret)

    @property
    def final_right(self) -> Estimate:
        """P(correct) at the horizon."""
        return _last(self.right)

    @property
    def final_best_share(self) -> Estimate:
        """At the horizon."""
        return _last(self.best_share)


def _means(of_runs: FloatArray) -> Curve:
    """Over the first axis."""
    runs = len(of_runs)
    value = of_runs.mean(axis=0) if runs else np.full(of_runs.shape[1:], np.nan)
    error = of_runs.std(axis=0, ddof=1) / np.sqrt(runs) if runs > 1 else np.full(of_runs.shape[1:], np.nan)
    return Curve(value, error)


def _fractions(of_runs: FloatArray) -> Curve:
    """Of runs in which something holds, or of shares in [0, 1], whose variance is at most as large; over the first axis."""
    runs = len(of_runs)
    if not runs:
        return _means(of_runs)
    share = (of_runs.sum(axis=0) + 2) / (runs + 4)
    return Curve(of_runs.mean(axis=0), np.sqrt(share * (1 - share) / runs))


def _last(curve: Curve) -> Estimate:
    return Estimate(float(curve.value[-1]), float(curve.standard_error[-1]))
