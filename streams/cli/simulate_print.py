"""What `allocator simulate` prints: a table with standard errors, or everything as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from math import floor, isnan, log10
from typing import Any

from allocator.experiment import Experiment
from allocator.simulate import Curve, Estimate, Outcome, Plan
from streams.cli.output import console, table
from streams.simulations import Candidate

__all__ = ["as_builtins", "show"]


def show(experiment: Experiment, plan: Plan, candidates: Sequence[Candidate], outcomes: Sequence[Outcome]) -> None:
    """A row a policy, what the columns mean, and what the figures rest on."""
    shown = table(
        "policy", ">regret", ">a unit", ">P(correct)", ">best arm's share", ">decided", ">right then", ">units until then"
    )
    for candidate, outcome in zip(candidates, outcomes, strict=True):
        regret = outcome.final_regret
        shown.add_row(
            candidate.name,
            _number(regret),
            f"{regret.value / plan.horizon:.3g}",
            *(_percent(x) for x in (outcome.final_right, outcome.final_best_share, outcome.decided, outcome.decided_right)),
            _number(outcome.time_to_decision),
        )
    first = outcomes[0]
    out = console()
    out.print(shown)
    out.print(
        f"{experiment.experiment}: {first.runs} runs, {plan.horizon:,} units, a decision every {plan.batch:,}, seed {plan.seed}."
    )
    out.print(f"± is one standard error. Decided: P(best) of the leader reached {plan.confidence:g}. P(correct): at the end.")
    out.print("\n".join(["", f"Method: {first.method}.", *first.assumptions]), style="dim")


def _number(estimate: Estimate) -> str:
    """``107.2 ± 1.7``: the error with two figures, the value as exact as that."""
    value, error = estimate.value, estimate.standard_error
    if isnan(value):
        return "–"
    digits = 1 if isnan(error) or error <= 0 else max(0, 1 - floor(log10(error)))
    return f"{value:,.{digits}f}" + ("" if isnan(error) else f" ± {error:,.{digits}f}")


def _percent(estimate: Estimate) -> str:
    value, error = 100 * estimate.value, 100 * estimate.standard_error
    if isnan(value):
        return "–"
    return f"{value:.1f}" + ("" if isnan(error) else f" ± {error:.1f}") + " %"


def as_builtins(
    experiment: Experiment, plan: Plan, candidates: Sequence[Candidate], outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    """Every figure and curve; nothing in it changes from one call to the next."""
    return {
        "experiment": experiment.experiment,
        "objective": experiment.objective,
        "arms": list(experiment.arm_ids),
        "plan": {"runs": outcomes[0].runs, **asdict(plan)},
        "method": outcomes[0].method,
        "assumptions": outcomes[0].assumptions,
        "policies": [
            {"policy": candidate.name, "baseline": candidate.baseline is not None, **_figures(outcome)}
            for candidate, outcome in zip(candidates, outcomes, strict=True)
        ],
    }


def _figures(outcome: Outcome) -> dict[str, Any]:
    def curve(of: Curve) -> dict[str, Any]:
        return {"value": of.value.tolist(), "standard_error": of.standard_error.tolist()}

    final = {
        "regret": outcome.final_regret,
        "p_correct": outcome.final_right,
        "best_share": outcome.final_best_share,
        "decided": outcome.decided,
        "decided_right": outcome.decided_right,
        "time_to_decision": outcome.time_to_decision,
    }
    curves = {"regret": outcome.regret, "p_correct": outcome.right, "best_share": outcome.best_share, "shares": outcome.shares}
    return {
        **{name: asdict(estimate) for name, estimate in final.items()},
        "curves": {"units": outcome.steps.tolist(), **{name: curve(found) for name, found in curves.items()}},
    }
