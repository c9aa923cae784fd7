"""Metrics made of others in the report: what each part does against control, and by how much it moves its root."""

from __future__ import annotations

import math
from collections.abc import Iterator

from allocator.inference import Estimate, NodeEffect
from streams.report.effects import ALPHA, PENDING, known
from streams.report.inputs import Inputs, number
from streams.report.record import Section
from streams.report.words import figure, interval, signed
from streams.trees import branches, title, tree_assumptions, trees_of

__all__ = ["tree"]


def tree(inputs: Inputs) -> Section | None:
    """That of the objective, then of every derived metric that is not in it; None without derived metrics, or units."""
    experiment = inputs.experiment
    if not experiment.derived or not inputs.others or not any(moments.n for moments in inputs.evidence.total):
        return None
    preliminary = any(inputs.observed(name)[1] for name in (experiment.objective, *experiment.derived))
    trees = trees_of(experiment, inputs.evidence, ALPHA, now=None if preliminary else inputs.now)
    return Section(
        title="Metric tree",
        summary=_summary(inputs, trees[0]) + ("; preliminary: rewards are still to come" if preliminary else ""),
        columns=["metric", "arm", f">{experiment.control}", ">arm’s", ">difference", "95 %", "", ">moves the root by"],
        rows=[row for each in trees for row in _rows(inputs, each)],
        method=f"{trees[0].effects[0].method}; through a part the root moves by the part's difference times the average of what "
        "it is multiplied with under the arm and control, which adds up over a metric's parts",
        assumptions=[*([PENDING] if preliminary else []), *tree_assumptions(trees)],
    )


def _rows(inputs: Inputs, root: NodeEffect) -> Iterator[list[str]]:
    control = inputs.experiment.control
    for prefix, node in branches(root):
        for k, arm in enumerate(inputs.others):
            effect = node.effects[k]
            name = f"{prefix}{title(node)}" if k == 0 else ""
            means = figure(number(node.means[control])), figure(number(node.means[arm]))
            yield [name, arm, *means, signed(number(effect.estimate)), *_around(node, effect), signed(number(node.moved[arm]))]


def _around(node: NodeEffect, effect: Estimate) -> tuple[str, str]:
    if effect.refusal:
        return effect.refusal, ""
    return interval(number(effect.low), number(effect.high)), known(effect.low, effect.high, node.direction)


def _summary(inputs: Inputs, root: NodeEffect) -> str:
    """Of the arm that is the furthest ahead, or the least behind: through which parts."""
    sign = 1.0 if root.direction == "up" else -1.0
    leaders = [effect for effect in root.effects if math.isfinite(effect.estimate)]
    if not leaders or not root.parts:
        return f"against {inputs.experiment.control}, and how much of it moves the metric above"
    leader = max(leaders, key=lambda effect: sign * effect.estimate)
    parts = sorted(root.parts, key=lambda part: -abs(part.moved[leader.arm]))
    through = ", ".join(f"{signed(number(part.moved[leader.arm]))} through {part.metric}" for part in parts)
    return f"{leader.arm} moves {root.metric} by {signed(number(root.moved[leader.arm]))}: {through}"
