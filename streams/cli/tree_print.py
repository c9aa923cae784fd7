"""`allocator show NAME --tree`: which part of the objective moves it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from streams.cli.output import console, print_json, table
from streams.trees import branches, title, tree_assumptions, trees_of

if TYPE_CHECKING:
    from allocator.evidence import Evidence
    from allocator.experiment import Experiment
    from allocator.inference import Estimate, NodeEffect

__all__ = ["print_trees"]


def print_trees(experiment: Experiment, evidence: Evidence, *, as_json: bool) -> None:
    """On standard output."""
    trees = trees_of(experiment, evidence)
    if as_json:
        print_json({"experiment": experiment.experiment, "control": experiment.control, "trees": trees})
        return
    out = console()
    others = [arm for arm in experiment.arm_ids if arm != experiment.control]
    for tree in trees:
        root = " (objective)" if tree.metric == experiment.objective else ""
        out.print(f"[bold]{tree.metric}[/]{root}, against {experiment.control}")
        shown = table(
            "metric", "arm", f">{experiment.control}", ">arm's", ">difference", "95 %, at any time", f">moves {tree.metric} by"
        )
        for prefix, node in branches(tree):
            for k, arm in enumerate(others):
                shown.add_row(*_row(prefix, node, node.effects[k], experiment.control, arm, first=k == 0))
        out.print(shown)
    if others:
        estimate = trees[0].effects[0]
        out.print(f"[dim]{estimate.method}; {'; '.join(tree_assumptions(trees))}[/]")


def _row(prefix: str, node: NodeEffect, effect: Estimate, control: str, arm: str, *, first: bool) -> tuple[str, ...]:
    interval = effect.refusal or f"{_signed(effect.low)} … {_signed(effect.high)}"
    name = f"{prefix}{title(node)}" if first else " " * len(prefix)
    own = (_number(node.means[control]), _number(node.means[arm]))
    return (name, arm, *own, f"{_signed(effect.estimate)}{_mark(node, effect)}", interval, _signed(node.moved[arm]))


def _mark(node: NodeEffect, effect: Estimate) -> str:
    """Whether the difference is more than chance, and for the better."""
    if not effect.low > 0 and not effect.high < 0:
        return "  "
    return " ✓" if (effect.low > 0) == (node.direction == "up") else " ✗"


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "-"


def _signed(value: Any) -> str:
    return f"{value:+.3g}" if math.isfinite(value) else "-"
