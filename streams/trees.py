"""Metric trees in reading order: which there are, and every node with the branch before its name. For all that show them."""

from __future__ import annotations

from collections.abc import Iterator

from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.inference import NodeEffect, tree_effects

__all__ = ["branches", "title", "tree_assumptions", "trees_of"]


def trees_of(experiment: Experiment, evidence: Evidence, alpha: float = 0.05, *, now: float | None = None) -> list[NodeEffect]:
    """That of the objective, and of every other derived metric that is not a part of one before; `now` as in `tree_effects`."""
    found: list[NodeEffect] = []
    for name in (experiment.objective, *reversed(experiment.derived)):
        if not any(node.metric == name for tree in found for _, node in branches(tree)):
            found.append(tree_effects(experiment, evidence, name, alpha=alpha, now=now))
    return found


def branches(node: NodeEffect, prefix: str = "", above: str = "") -> Iterator[tuple[str, NodeEffect]]:
    """Every node, a part below what it is a part of, with the branch to draw before its name."""
    yield prefix, node
    for k, part in enumerate(node.parts):
        last = k == len(node.parts) - 1
        yield from branches(part, above + ("└─ " if last else "├─ "), above + ("   " if last else "│  "))


def title(node: NodeEffect) -> str:
    """Such as ``0.02 × revenue``, ``oec = sum``, or ``cost ↓``."""
    weight = "" if node.weight is None else f"{node.weight:g} × "
    made = "" if node.kind == "leaf" else f" = {node.kind}"
    return f"{weight}{node.metric}{made}" + (" ↓" if node.direction == "down" else "")


def tree_assumptions(trees: list[NodeEffect]) -> list[str]:
    """Each once."""
    estimates = (estimate for tree in trees for _, node in branches(tree) for estimate in node.effects)
    return list(dict.fromkeys(sentence for estimate in estimates for sentence in estimate.assumptions))
