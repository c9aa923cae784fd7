"""Laws of decisions with guardrails, whatever the data, the spec and what stood before."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from allocator.breaches import action_of, under
from allocator.constraints import to_ppm
from allocator.decide import decide, decide_all
from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.spec import load_experiment
from allocator.standing import Breach, Standing
from allocator.weights import PPM, Weights
from tests.trained import evidence_of, sums_of

ACTIONS = ["alert", "freeze", "cap", "evict", "stop"]


@st.composite
def experiments(draw: Any) -> Experiment:
    arms = draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=5, unique=True))
    guardrails = {}
    for metric in draw(st.lists(st.sampled_from(["rate", "cost"]), unique=True)):
        tolerance = draw(st.sampled_from([0, 0.01, "1%", "20%"]))
        guardrails[metric] = {"tolerance": tolerance, "action": draw(st.sampled_from(ACTIONS)), "min_units": 20}
    others = [arm for arm in arms if arm != arms[0]]
    overruled = {metric: draw(st.lists(st.sampled_from(others), unique=True)) for metric in guardrails} if others else {}
    return load_experiment(
        {
            "experiment": "x",
            "arms": arms,
            "metrics": {"rate": "binary", "cost": {"type": "binary", "direction": "down"}},
            "objective": "rate",
            "guardrails": guardrails,
            "overruled": overruled,
            "segments": draw(st.sampled_from([[], ["pro"]])),
            "policy": draw(st.sampled_from(["thompson", "fixed", "per-segment"])),
            "fallback": draw(st.sampled_from(arms)),
            "status": draw(st.sampled_from(["running", "running", "paused", "stopped"])),
            "constraints": {
                "floor": draw(st.sampled_from([0, 0.02, 0.05])),
                "cap": draw(st.sampled_from([1.0, max(0.5, 1 / len(arms))])),
                "reserved": draw(st.sampled_from([0, 0.2])),
                "warmup": draw(st.sampled_from([0, 50])),
                "max_shift": draw(st.sampled_from([0.05, 1])),
            },
        }
    )


@st.composite
def evidence(draw: Any, experiment: Experiment) -> Evidence:
    cells = {}
    for segment in experiment.segments or ("",):
        for period in range(draw(st.integers(1, 2))):
            for arm in experiment.arm_ids:
                n = draw(st.sampled_from([0, 30, 400, 5000]))
                hits = [round(n * draw(st.sampled_from([0, 0.05, 0.2, 0.6, 1.0]))) for _ in range(2)]
                cells[segment, period, arm] = sums_of(n, hits)
    return evidence_of(experiment, cells)


@st.composite
def cases(draw: Any) -> tuple[Experiment, Evidence, dict[str | None, Weights]]:
    """An experiment with weights from other data and another spec, and perhaps breaches from who knows when."""
    former, experiment = draw(experiments()), draw(experiments())
    previous = {at: found.weights for at, found in decide_all(former, draw(evidence(former)), {}, 0.0).items()}
    if draw(st.booleans()):
        breach = Breach(
            metric=draw(st.sampled_from(["rate", "cost", "gone"])),
            arm=draw(st.sampled_from("abcde")),
            action=draw(st.sampled_from(ACTIONS)),
            version=1,
            ts=0.0,
            units=5,
            estimate=-0.1,
            bound=-0.05,
        )
        previous[None] = msgspec.structs.replace(previous[None], standing=Standing(breaches=(breach,)))
    return experiment, draw(evidence(experiment)), previous


@given(cases())
def test_shares_obey_what_stands(case: tuple[Experiment, Evidence, dict[str | None, Weights]]) -> None:
    experiment, data, previous = case
    found = decide_all(experiment, data, previous, 1.0)
    breaches = found[None].weights.standing.breaches
    assert len({(breach.metric, breach.arm) for breach in breaches}) == len(breaches)
    acting = experiment.status != "stopped"
    for decision in found.values():
        ppm = {arm.id: arm.ppm for arm in decision.weights.arms}
        assert tuple(ppm) == experiment.arm_ids
        for step in decision.steps.values():
            assert sum(step) == PPM
            assert min(step) >= 0
        assert list(ppm.values()) == list(decision.steps.values())[-1]
        assert [arm.id for arm in decision.arms] == list(experiment.arm_ids)
        for breach in breaches if acting else ():
            assert breach.arm != experiment.control
            assert breach.action == action_of(experiment, breach.metric, breach.arm)
            stopped = decision.weights.status == "stopped"
            if breach.action == "evict":
                assert ppm[breach.arm] == 0
                assert all(step[experiment.arm_ids.index(breach.arm)] == 0 for step in decision.steps.values())
                assert decision.weights.fallback != breach.arm
            if breach.action == "cap" and not stopped:
                assert ppm[breach.arm] <= 50_000 + 1
            if breach.action == "stop":
                assert stopped
                assert ppm[decision.weights.fallback] == PPM
                assert ppm[breach.arm] == 0


@given(cases())
def test_the_same_arguments_give_the_same_decisions_and_then_they_stand(
    case: tuple[Experiment, Evidence, dict[str | None, Weights]],
) -> None:
    experiment, data, previous = case
    found = decide_all(experiment, data, previous, 1.0)
    assert found == decide_all(experiment, data, dict(reversed(previous.items())), 1.0)
    again = decide(experiment, data, found[None].weights, 2.0)
    assert again.weights.standing == found[None].weights.standing
    assert (found[None].weights.standing == previous[None].standing) or found[None].publish


@given(
    st.lists(st.sampled_from([0.05, 0.1, 0.4]), min_size=0, max_size=5),
    st.lists(st.integers(0, 1000), min_size=6, max_size=6),
)
def test_limits_hold_and_shares_stay_whole(limits: list[float], parts: list[int]) -> None:
    parts = parts[: 1 + len(limits)]
    ppm = to_ppm(np.array(parts, dtype=float)) if any(parts) else to_ppm(np.ones(len(parts)))
    found = under(np.array([1.0, *limits]), ppm)
    assert sum(found) == PPM
    assert all(0 <= share <= limit * PPM + 1 for share, limit in zip(found[1:], limits, strict=True))
    assert under(np.array([1.0, *limits]), found) == found
