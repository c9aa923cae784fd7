"""The scenarios on a real Kafka, as their user plays them: what is true is found out, and acted on."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from deploy.kafka.broker import Broker

pytestmark = pytest.mark.kafka

WAIT_S = 240


def played(kafka: Broker, prefix: str, scenario: str) -> dict[str, Any]:
    """The summary of a scenario, which says of each finding whether it is right."""
    command = [sys.executable, "-m", "streams.cli", "demo", "--scenario", scenario, "--json"]
    done = subprocess.run(
        [*command, "--bootstrap", kafka.bootstrap, "--prefix", prefix],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["events"]["differences"] == []
    assert sum(found["events"]["sent"].values()) == sum(found["events"]["outcomes"].values()) > found["people"] / 10
    assert [finding for finding in found["findings"] if not finding["right"]] == []
    assert (done.returncode, found["right"]) == (0, True)
    return found


def test_what_an_experiment_looks_at_decides_what_it_does(kafka: Broker, prefix: str) -> None:
    found = played(kafka, prefix, "recommender")
    assert len(found["findings"]) == 3
    alone, guarded = found["experiments"]["carts-only"], found["experiments"]["carts-and-revenue"]
    assert alone["shares"][""]["new"] > 0.6
    assert guarded["shares"][""] == {"old": 1.0, "new": 0.0}
    assert "guardrail revenue" in guarded["reason"]
    # What the guardrail has saved, in the worlds' own numbers: revenue a customer, beyond what the old one earns.
    assert alone["gain"]["revenue"] < guarded["gain"]["revenue"] < 0 < guarded["gain"]["add_to_cart"]


def test_cohorts_get_what_they_like_and_what_is_new_does_not_deceive(kafka: Broker, prefix: str) -> None:
    found = played(kafka, prefix, "cohorts")
    assert len(found["findings"]) == 5
    [cohorts] = found["experiments"].values()
    assert cohorts["shares"]["heavy"]["depth"] > 0.5 > cohorts["shares"]["light"]["depth"]
    assert cohorts["shares"]["light"]["breadth"] > 0.5 > cohorts["shares"]["heavy"]["breadth"]
    enrolled = cohorts["held_back"] + sum(cohorts["people"].values())
    assert enrolled == pytest.approx(0.1 * found["people"], rel=0.03)
    assert cohorts["held_back"] == pytest.approx(0.1 * enrolled, rel=0.06)


def test_the_limit_on_an_objective_is_kept_by_what_is_served(kafka: Broker, prefix: str) -> None:
    found = played(kafka, prefix, "creators")
    assert len(found["findings"]) == 2
    free, fair = (found["experiments"][name]["shares"][""] for name in ("engagement-only", "fair-to-creators"))
    assert max(free, key=free.__getitem__) == "viral"
    assert max(fair, key=fair.__getitem__) == "lively"
    gains = [found["experiments"][name]["gain"] for name in ("engagement-only", "fair-to-creators")]
    assert gains[0]["creator_satisfaction"] < gains[1]["creator_satisfaction"]
    assert 0 < gains[1]["engagement"] < gains[0]["engagement"]
    assert gains[0]["problems"] == gains[1]["problems"] == 0
