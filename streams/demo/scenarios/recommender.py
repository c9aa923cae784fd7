"""A new recommender of an online grocer fills more carts, with cheaper things.

Add-to-cart rises by 5 % (from .40 to .42), revenue a customer falls by 3 % (from 40.00 to 38.80). A weekly basket varies by 40 %
around its mean. Two experiments of the same people: one looks at carts alone, the other has revenue in its metric tree and a
guardrail on it.

Why 60 000 people: revenue may be 1 % below control's, so .80 of the loss of 1.20 is too much. With .3 of the traffic reserved for
control and the rest on the new recommender, the standard error of that excess after n people is √(16² (1/.7 + 1/.3) / n) = 35/√n:
4.9 standard errors at 45 000 people, where the test fires at about 3.2. And the lift of .02 in add-to-cart is by then 8 standard
errors, so that the tree, in which a cart is worth 500 of revenue, still prefers the new one: the guardrail alone is against it.
In 60 of 60 runs of the test without Kafka it fired, after 11 500 people in the median and 45 500 at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streams.demo.scenarios.scenario import Finding, Found, Scenario
from streams.demo.scenarios.world import Truth, World

__all__ = ["RECOMMENDER"]

EVERYBODY = ""
WORLD = World(
    metrics={
        "add_to_cart": Truth("binary", {EVERYBODY: 0.40}, lift={"new": {EVERYBODY: 0.05}}),
        "revenue": Truth("value", {EVERYBODY: 40.0}, cv=0.4, lift={"new": {EVERYBODY: -0.03}}),
    },
    segments={EVERYBODY: 1.0},
    people=60_000,
    days=14.0,
)

_COMMON: dict[str, Any] = {
    "owner": "team-reco",
    "unit": "customer",
    "arms": [{"id": "old", "params": {"model": "r1"}}, {"id": "new", "params": {"model": "r2"}}],
    "control": "old",
    "constraints": {"reserved": 0.3, "max_shift": 0.1},
    "publish_interval": "500ms",
}
_METRICS: dict[str, Any] = {
    "add_to_cart": {"type": "binary", "window": "1d"},
    "revenue": {"type": "value", "window": "1d", "resolution": 0.01},
}
CARTS = {
    **_COMMON,
    "experiment": "carts-only",
    "hypothesis": "the new recommender fills more carts",
    "metrics": _METRICS,
    "objective": "add_to_cart",
}
GUARDED = {
    **_COMMON,
    "experiment": "carts-and-revenue",
    "hypothesis": "the new recommender fills more carts without costing revenue",
    "metrics": {**_METRICS, "oec": {"sum": {"add_to_cart": 1, "revenue": 0.002}}},
    "objective": "oec",
    "guardrails": {"revenue": {"tolerance": "1%", "action": "evict", "min_units": 500}},
}


def _judge(world: World, found: Mapping[str, Found]) -> list[Finding]:
    alone, guarded = found["carts-only"], found["carts-and-revenue"]
    return [
        Finding(
            "carts alone: where does traffic go?",
            f"new fills {_lift(world, 'add_to_cart')} more carts",
            f"new has {100 * alone.share('new'):.0f} %",
            alone.share("new") > 0.6,
        ),
        Finding(
            "carts and revenue: what becomes of new?",
            f"its revenue is {_lift(world, 'revenue')}, and -1 % is tolerated",
            f"new has {100 * guarded.share('new'):.0f} %: {guarded.weights[None].reason}",
            guarded.share("new") == 0.0 and _evicted(guarded),
        ),
        Finding(
            "carts and revenue: what does the report say?",
            "new is out because of revenue",
            f"{guarded.report.verdict.headline}: {guarded.report.verdict.reason}",
            guarded.report.verdict.kind == "stop" and "new has been evicted: guardrail revenue" in guarded.report.verdict.reason,
        ),
    ]


def _evicted(found: Found) -> bool:
    """Whether the record says so: an arm without a share may have other reasons."""
    breaches = found.weights[None].standing.breaches
    return [(b.metric, b.arm, b.action) for b in breaches] == [("revenue", "new", "evict")]


def _lift(world: World, metric: str) -> str:
    return f"{100 * world.effect(metric, 'new', 'old') / world.average(metric, 'old'):+.0f} %"


RECOMMENDER = Scenario(
    name="recommender",
    title="a new recommender fills more carts and earns less: what an experiment looks at decides what it does",
    world=WORLD,
    specs=(CARTS, GUARDED),
    rate=4000.0,
    judge=_judge,
)
