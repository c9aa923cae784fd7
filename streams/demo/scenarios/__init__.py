"""Stories with a known truth, played through the whole loop: does the allocator find out what is true, and act on it?

`world` says who comes and what they would do; `recommender`, `cohorts` and `creators` are the stories: a world, the specs of the
experiments in it, and what these ought to find. `player` is the process that routes and rewards, `stage` starts everything and
follows it, `live` shows it meanwhile, `report` sums it up.
"""

from __future__ import annotations

from collections.abc import Mapping

from streams.demo.scenarios.cohorts import COHORTS
from streams.demo.scenarios.creators import CREATORS
from streams.demo.scenarios.recommender import RECOMMENDER
from streams.demo.scenarios.scenario import Finding, Found, Scenario, Served

__all__ = ["SCENARIOS", "Finding", "Found", "Scenario", "Served"]

SCENARIOS: Mapping[str, Scenario] = {scenario.name: scenario for scenario in (RECOMMENDER, COHORTS, CREATORS)}
"""By name."""
