"""Three feeds of a video platform against its present one: more engagement, at the expense of those who make the videos.

                      minutes watched    creators' satisfaction    problems reported
    lively                 +6 %                 -1.5 %                   0
    viral                  +9 %                 -6 %                     0
    niche                  +1 %                 +1 %                     0

Two experiments of the same people. One maximises minutes: viral. The other maximises minutes subject to a satisfaction at most
2 % below control's. Limits are on what is served, so the right answer is a mix on the frontier: as much viral as lively leaves
room for, 1/9 of it, beside what is reserved for control and every arm's floor (`best_mix`).

Why 30 000 people: a viewer watches 30 minutes ± 40 %, so that 3 % (.90) is 4.6 standard errors of a difference between two arms
of 7500. Satisfaction is 4 of 5 ± 15 %: the 1.5 % that lively costs are 6 standard errors there. The limit is relative to control,
for which .15 of the traffic is reserved. In 20 runs of the same decisions without Kafka lively ended with .59 to .74, viral with
.05 to .21; the best mix has .67 and .13.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy  # scipy.optimize loads when first used

from allocator.constraints import with_floor, with_reserved
from streams.demo.scenarios.scenario import Finding, Found, Scenario
from streams.demo.scenarios.world import Truth, World

__all__ = ["CREATORS", "best_mix"]

EVERYBODY = ""
ARMS = ("present", "lively", "viral", "niche")
TOLERANCE = 0.02
FLOOR, RESERVED = 0.05, 0.15
WORLD = World(
    metrics={
        "engagement": Truth(
            "value",
            {EVERYBODY: 30.0},
            cv=0.4,
            lift={"lively": {EVERYBODY: 0.06}, "viral": {EVERYBODY: 0.09}, "niche": {EVERYBODY: 0.01}},
        ),
        "creator_satisfaction": Truth(
            "value",
            {EVERYBODY: 4.0},
            cv=0.15,
            lift={"lively": {EVERYBODY: -0.015}, "viral": {EVERYBODY: -0.06}, "niche": {EVERYBODY: 0.01}},
        ),
        "problems": Truth("binary", {EVERYBODY: 0.02}),
    },
    segments={EVERYBODY: 1.0},
    people=30_000,
    days=14.0,
)

_COMMON: dict[str, Any] = {
    "owner": "team-feed",
    "unit": "viewer",
    "arms": list(ARMS),
    "control": "present",
    "metrics": {
        "engagement": {"type": "value", "window": "1d", "resolution": 0.01},
        "creator_satisfaction": {"type": "value", "window": "1d", "resolution": 0.01},
        "problems": {"type": "binary", "direction": "down", "window": "1d"},
    },
    "constraints": {"reserved": RESERVED, "floor": FLOOR, "max_shift": 0.1},
    "publish_interval": "500ms",
}
FREE = {
    **_COMMON,
    "experiment": "engagement-only",
    "hypothesis": "one of the feeds is watched longer",
    "objective": "engagement",
}
FAIR = {
    **_COMMON,
    "experiment": "fair-to-creators",
    "hypothesis": "one of the feeds is watched longer, and creators hardly mind",
    "objective": {"maximise": "engagement", "subject_to": {"creator_satisfaction": {"tolerance": "2%"}}},
}


def best_mix(world: World = WORLD) -> dict[str, float]:
    """The shares that serve most engagement within the tolerance: a linear programme on the truth, then the constraints."""
    engagement = np.array([world.average("engagement", arm) for arm in ARMS])
    satisfaction = np.array([world.average("creator_satisfaction", arm) for arm in ARMS])
    least = (1 - TOLERANCE) * satisfaction[0]
    found = scipy.optimize.linprog(-engagement, -satisfaction[None, :], [-least], np.ones((1, len(ARMS))), [1.0])
    shares = with_floor(with_reserved(found.x, ARMS.index("present"), RESERVED, FLOOR), FLOOR)
    return dict(zip(ARMS, shares.tolist(), strict=True))


def _judge(world: World, found: Mapping[str, Found]) -> list[Finding]:
    free, fair = found["engagement-only"], found["fair-to-creators"]
    mix = best_mix(world)
    return [
        Finding(
            "engagement alone: which feed?",
            "viral is watched longest",
            f"{free.leader()} has {100 * free.share(free.leader()):.0f} %",
            free.leader() == "viral",
        ),
        Finding(
            "creators at most 2 % less content: which feed?",
            f"the best mix is {_listed(mix)}",
            _listed({arm: fair.share(arm) for arm in ARMS}),
            fair.leader() == "lively" and all(abs(fair.share(arm) - share) < 0.15 for arm, share in mix.items()),
        ),
    ]


def _listed(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{arm} {100 * share:.0f} %" for arm, share in sorted(shares.items(), key=lambda s: -s[1]))


CREATORS = Scenario(
    name="creators",
    title="feeds that are watched longer and please creators less: an objective with a limit finds what both can live with",
    world=WORLD,
    specs=(FREE, FAIR),
    rate=2500.0,
    judge=_judge,
)
