"""Two recommenders on a tenth of a music service's visits: heavy listeners like one, light ones the other, and both are new.

                       heavy (30 %)    light (70 %)    on the first day, both
    depth                 +20 %           -10 %              +50 %
    breadth               -10 %           +20 %              +50 %

Visits that play something: .30 under control. What is new charms everybody, and has lost all but 1/e of its charm after four
days, so that after two weeks nearly nothing of it is left. Of the tenth that takes part, a tenth is held back on control. Heavy
is who has played 50 songs or more in four weeks: routers are told the number, the spec's cut makes a segment of it.

Why 600 000 visits: 60 000 take part, some 4000 a day. Novelty begins at .15; in 30 runs of the same decisions without Kafka the
fall of an effect over the two weeks was 4 standard errors or more, with a floor of .15 for every arm, without which some days an
arm has hardly anybody in a segment. The 6000 that are held back know their mean within .006; the gain of all others is some .07.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from allocator.inference import EffectTable, novelty
from streams.demo.scenarios.scenario import Finding, Found, Scenario
from streams.demo.scenarios.world import Truth, World

__all__ = ["COHORTS"]

HEAVY_FROM = 50
ALPHA = 0.001
"""Of the interval of what remains of an effect: at .05 one play in ten would end with a miss."""
WORLD = World(
    metrics={
        "played": Truth(
            "binary",
            {"heavy": 0.30, "light": 0.30},
            lift={"depth": {"heavy": 0.20, "light": -0.10}, "breadth": {"heavy": -0.10, "light": 0.20}},
            novelty={"depth": 0.50, "breadth": 0.50},
        ),
    },
    segments={"heavy": 0.3, "light": 0.7},
    people=600_000,
    days=14.0,
    fade_days=4.0,
    traits={"plays_28d": {"light": (0, HEAVY_FROM - 1), "heavy": (HEAVY_FROM, 400)}},
)
SPEC: dict[str, Any] = {
    "experiment": "cohorts",
    "owner": "team-home",
    "hypothesis": "who listens much wants depth, who listens little wants breadth",
    "unit": "visit",
    "arms": ["charts", "depth", "breadth"],
    "control": "charts",
    "metrics": {"played": {"type": "binary", "window": "1d"}},
    "objective": "played",
    "segments": {"covariate": "plays_28d", "cuts": [HEAVY_FROM], "names": ["light", "heavy"]},
    "policy": "per-segment",
    "enrolment": "10%",
    "holdback": "10%",
    "constraints": {"floor": 0.15, "max_shift": 0.15},
    "publish_interval": "1s",
}


def _judge(world: World, found: Mapping[str, Found]) -> list[Finding]:
    cohorts = found["cohorts"]
    return [*_segments(world, cohorts), *_novelties(world, cohorts), _holdback(cohorts)]


def _segments(world: World, cohorts: Found) -> list[Finding]:
    return [
        Finding(
            f"which recommender for {segment} listeners?",
            f"{right}: {100 * world.effect('played', right, 'charts', segment, float('inf')):+.0f} points in the long run",
            f"{cohorts.leader(segment)} has {100 * cohorts.share(cohorts.leader(segment), segment):.0f} %",
            cohorts.leader(segment) == right and cohorts.share(right, segment) > 0.5,
        )
        for segment, right in (("heavy", "depth"), ("light", "breadth"))
    ]


def _novelties(world: World, cohorts: Found) -> list[Finding]:
    found = []
    for row in cohorts.report.novelty:
        first, last = (100 * world.effect("played", row.arm, "charts", day=day) for day in (0.0, math.inf))
        table = EffectTable.of(row.ts, np.array(row.ts) - min(row.ts), row.effect, row.se)
        low, high = (100 * end for end in novelty(table, alpha=ALPHA).long_run_interval)
        found.append(
            Finding(
                f"does the effect of {row.arm} last?",
                f"it fades, from {first:+.1f} points to {last:+.1f}",
                f"{row.verdict}, to between {low:+.1f} and {high:+.1f}",
                row.verdict == "fading" and low <= last <= high,
            )
        )
    return found


def _holdback(cohorts: Found) -> Finding:
    """The truth is of the people as they were allocated."""
    truth = 100 * cohorts.served.gain["played"]
    known = None if cohorts.state.holdback is None else cohorts.state.holdback.metrics["played"].interval
    low, high = (-math.inf, math.inf) if known is None else (100 * known[0], 100 * known[1])
    return Finding(
        "what has allocating gained, by the holdback?",
        f"{truth:+.2f} points a visit",
        f"between {low:+.2f} and {high:+.2f}",
        math.isfinite(low) and low <= truth <= high,
    )


COHORTS = Scenario(
    name="cohorts",
    title="heavy and light listeners want different recommenders, and both are charmed by what is new",
    world=WORLD,
    specs=(SPEC,),
    rate=40_000.0,
    judge=_judge,
)
