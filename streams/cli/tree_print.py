"""`allocator show NAME --tree`: which part of the objective moves it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from streams.cli.output import console, print_json, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocator.evidence import Evidence
    from allocator.experiment import Experiment
    from allocator.inference import Estimate, NodeEffect

__all__ = ["print_trees", "trees_of"]


def trees_of(experiment: Experiment, evidence: Evidence, alpha: float = 0.05) -> list[NodeEffect]:
    """That of the objective, and of every other derived metric that is not a part of one before."""
    from allocator.inference import tree_effects

    found: list[NodeEffect] = []
    for name in (experiment.objective, *reversed(experiment.derived)):
        if not any(node.metric == name for tree in found for _, node in _walk(tree)):
            found.append(tree_effects(experiment, evidence, name, alpha=alpha))
    return found


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
        for prefix, node in _walk(tree):
            for k, arm in enumerate(others):
                shown.add_row(*_row(prefix, node, node.effects[k], experiment.control, arm, first=k == 0))
        out.print(shown)
    if others:
        estimate = trees[0].effects[0]
        out.print(f"[dim]{estimate.method}; {'; '.join(_assumptions(trees))}[/]")


def _row(prefix: str, node: NodeEffect, effect: Estimate, control: str, arm: str, *, first: bool) -> tuple[str, ...]:
    interval = effect.refusal or f"{_signed(effect.low)} … {_signed(effect.high)}"
    name = f"{prefix}{_title(node)}" if first else " " * len(prefix)
    own = (_number(node.means[control]), _number(node.means[arm]))
    return (name, arm, *own, f"{_signed(effect.estimate)}{_mark(node, effect)}", interval, _signed(node.moved[arm]))


def _mark(node: NodeEffect, effect: Estimate) -> str:
    """Whether the difference is more than chance, and for the better."""
    if not effect.low > 0 and not effect.high < 0:
        return "  "
    return " ✓" if (effect.low > 0) == (node.direction == "up") else " ✗"


def _title(node: NodeEffect) -> str:
    weight = "" if node.weight is None else f"{node.weight:g} × "
    made = "" if node.kind == "leaf" else f" = {node.kind}"
    return f"{weight}{node.metric}{made}" + (" ↓" if node.direction == "down" else "")


def _assumptions(trees: list[NodeEffect]) -> list[str]:
    estimates = (estimate for tree in trees for _, node in _walk(tree) for estimate in node.effects)
    return list(dict.fromkeys(sentence for estimate in estimates for sentence in estimate.assumptions))


def _walk(node: NodeEffect, prefix: str = "", above: str = "") -> Iterator[tuple[str, NodeEffect]]:
    """Every node with the branch before its name."""
    yield prefix, node
    for k, part in enumerate(node.parts):
        last = k == len(node.parts) - 1
        yield from _walk(part, above + ("└─ " if last else "├─ "), above + ("   " if last else "│  "))


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "-"


def _signed(value: Any) -> str:
    return f"{value:+.3g}" if math.isfinite(value) else "-"
