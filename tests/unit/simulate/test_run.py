"""Runs: production's decisions, true regret, the same answer for the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from allocator import ArgumentError, Experiment, load_experiment
from allocator.decide import decide_all
from allocator.evidence import Evidence
from allocator.simulate import Plan, Trace, World, choosing, load_world, run, simulate

OFF = {"floor": 0, "warmup": 0, "max_shift": 1, "dead_band": 0}
"""The bare policy."""


def experiment(arms: str = "abc", **fields: Any) -> Experiment:
    base = {"experiment": "x", "arms": list(arms), "metrics": {"click": "binary"}, "objective": "click", "constraints": OFF}
    return load_experiment({**base, **fields})


def rates(*means: float, **fields: Any) -> dict[str, Any]:
    return {"arms": {arm: {"click": mean} for arm, mean in zip("abcdefghij", means, strict=False)}, **fields}


def played(spec: Experiment, world: dict[str, Any], number: int = 0, baseline: str | None = None, **plan: Any) -> Trace:
    whole = Plan(**{"horizon": 2000, "batch": 100, **plan})
    return run(spec, load_world(world, spec), whole, number, baseline)


def equal(a: Trace, b: Trace) -> bool:
    return a.decided_at == b.decided_at and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in ("regret", "shares", "best_share", "right")
    )


def test_a_run_is_a_function_of_seed_and_number() -> None:
    spec, world = experiment(), rates(0.1, 0.2, 0.3)
    assert equal(played(spec, world, 3), played(spec, world, 3))
    assert not equal(played(spec, world, 3), played(spec, world, 4))
    assert not equal(played(spec, world, 3), played(spec, world, 3, seed=1))


def test_the_truth_of_a_run_is_the_same_under_every_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    world = {"arms": {"*": {"click": {"beta": [4, 4]}}}, "retire": 0.01}
    truths: list[Any] = []
    epochs = World.epochs
    monkeypatch.setattr(World, "epochs", lambda *args: truths.append(epochs(*args)) or truths[-1])
    played(experiment(), world)
    played(experiment(policy="fixed"), world)
    played(experiment(), world, baseline="ucb1")
    starts, means = zip(*([[e.start for e in truth], [e.means.tolist() for e in truth]] for truth in truths), strict=True)
    assert len(starts[0]) > 10
    assert starts[0] == starts[1] == starts[2]
    assert means[0] == means[1] == means[2]


def test_an_even_split_has_the_regret_of_its_gaps() -> None:
    trace = played(experiment(policy="fixed"), rates(0.1, 0.2, 0.3), horizon=30_000, batch=1000)
    assert trace.regret[-1] == pytest.approx(3000, abs=3 * 30_000**0.5 * 0.082)
    assert np.all(np.diff(trace.regret) > 0)
    np.testing.assert_allclose(trace.best_share, 1 / 3, atol=1e-6)


def test_regret_follows_the_direction_of_the_objective() -> None:
    spec = experiment(policy="fixed", metrics={"click": {"type": "binary", "direction": "down"}})
    trace = played(spec, rates(0.1, 0.2, 0.3))
    np.testing.assert_array_equal(trace.right[-1], 1)
    assert trace.regret[-1] == pytest.approx(200, rel=0.1)


def test_regret_is_against_the_arm_that_is_best_at_the_time() -> None:
    world = rates(0.1, 0.2, changes=[{"at": 1000, "arms": {"a": {"click": 0.6}}}])
    trace = played(experiment("ab", policy="fixed"), world, batch=300)
    assert trace.regret[-1] == pytest.approx(1000 * 0.05 + 1000 * 0.2, rel=0.15)
    assert trace.right.tolist() == [1, 1, 1, 0, 1, 1, 1]


def test_held_back_units_stay_on_control_and_train_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(choosing, "decide_all", lambda *args: seen.append(sum(m.n for m in args[1].total)) or decide_all(*args))
    spec = experiment("ab", holdback=0.5, policy={"name": "fixed", "shares": {"a": 0, "b": 1}})
    trace = played(spec, rates(0.1, 0.2))
    assert trace.regret[-1] == pytest.approx(1000 * 0.1, rel=0.1)
    assert seen[-1] == pytest.approx(1000, abs=100)


def test_decisions_are_productions_own_on_what_arrived_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, float, Any]] = []

    def watched(spec: Experiment, evidence: Evidence, previous: Any, now: float) -> Any:
        calls.append((sum(m.n for m in evidence.total), now, dict(previous)))
        return decide_all(spec, evidence, previous, now)

    monkeypatch.setattr(choosing, "decide_all", watched)
    spec = experiment(constraints={"floor": 0.1, "warmup": 100, "max_shift": 0.1, "dead_band": 0.01})
    trace = played(spec, rates(0.1, 0.2, 0.3, step="2s"), horizon=450)
    assert [n for n, _, _ in calls] == [0, 100, 200, 300, 400, 450]
    assert [now for _, now, _ in calls] == [0, 200, 400, 600, 800, 900]
    assert [list(previous) for _, _, previous in calls] == [[]] + [[None]] * 5
    assert trace.shares.min() >= 0.099
    assert np.abs(np.diff(trace.shares, axis=0)).max() <= 0.1 + 1e-6


def test_periods_are_those_of_the_exposures(monkeypatch: pytest.MonkeyPatch) -> None:
    periods: list[dict[int, int]] = []

    def watched(spec: Experiment, evidence: Evidence, previous: Any, now: float) -> Any:
        periods.append({period: sum(m.n for m in arms) for period, arms in evidence.by_period.items()})
        return decide_all(spec, evidence, previous, now)

    monkeypatch.setattr(choosing, "decide_all", watched)
    played(experiment(period="150s"), rates(0.1, 0.2, 0.3), horizon=500)
    assert periods[-1] == {0: 150, 1: 150, 2: 150, 3: 50}
    assert periods[2] == {0: 150, 1: 50}


def test_thompson_finds_the_best_arm_and_says_when() -> None:
    trace = played(experiment(), rates(0.1, 0.2, 0.5))
    assert trace.right[-1] == 1
    assert trace.shares[-1, 2] == trace.best_share[-1] > 0.99
    assert trace.decided_right == 1
    assert 100 <= trace.decided_at < 1000


def test_a_run_may_end_when_it_is_decided() -> None:
    whole, ended = (played(experiment(), rates(0.1, 0.2, 0.5), until_decided=end) for end in (False, True))
    assert ended.decided_at == whole.decided_at
    assert len(ended.regret) == len(whole.regret)
    assert ended.regret[-1] == whole.regret[int(ended.decided_at) // 100 - 1]


def test_equal_arms_are_never_wrong_to_serve() -> None:
    assert played(experiment(), rates(0.2, 0.2, 0.2)).regret[-1] == 0


def test_newcomers_are_tried() -> None:
    """An arm that retires is replaced by one without data, which Thompson tries. An even split would lose 3000."""
    world = {"arms": {"*": {"click": {"beta": [4, 4]}}}, "retire": 0.001}
    outcome = simulate(experiment(), load_world(world, experiment()), Plan(horizon=20_000, batch=100), runs=4)
    assert outcome.final_regret.value < 20_000 * 0.05


@pytest.mark.parametrize("name", ["ucb1", "kl-ucb"])
def test_baselines_serve_one_arm_at_a_time_and_learn(name: str) -> None:
    trace = played(experiment(), rates(0.1, 0.2, 0.8), baseline=name, batch=1, points=2000)
    assert set(np.unique(trace.shares)) == {0.0, 1.0}
    assert trace.right[-1] == 1
    assert trace.shares[-500:, 2].mean() > 0.9
    assert np.isnan(trace.decided_at)


def test_a_baseline_that_is_none() -> None:
    with pytest.raises(ArgumentError, match="kl-ucb"):
        played(experiment(), rates(0.1, 0.2, 0.3), baseline="ucb")


def test_baselines_follow_the_direction() -> None:
    spec = experiment(metrics={"click": {"type": "binary", "direction": "down"}})
    assert played(spec, rates(0.1, 0.5, 0.8), baseline="kl-ucb", batch=1).right[-1] == 1


@pytest.mark.parametrize(
    "field, value", [("horizon", 0), ("batch", 0), ("points", 0), ("seed", -1), ("confidence", 0.5), ("confidence", 1.0)]
)
def test_a_plan_has_a_domain(field: str, value: float) -> None:
    with pytest.raises(ArgumentError, match=field):
        Plan(**{"horizon": 10, "batch": 1, field: value})


@pytest.mark.parametrize("horizon, batch, points", [(10, 3, 200), (1000, 1, 7), (5, 100, 3), (1, 1, 1)])
def test_the_last_batch_is_noted_and_none_twice(horizon: int, batch: int, points: int) -> None:
    plan = Plan(horizon=horizon, batch=batch, points=points)
    assert plan.steps[-1] == horizon
    assert len(set(plan.noted.tolist())) == len(plan.noted) <= points


def test_values_and_counts_have_regret_in_their_own_units() -> None:
    metrics = {"minutes": {"type": "value", "resolution": 0.01}, "pages": "count"}
    spec = experiment("ab", metrics=metrics, objective="minutes", policy="fixed")
    arms = {"a": {"minutes": {"mean": 10, "sd": 3}, "pages": 2}, "b": {"minutes": {"mean": 12, "sd": 3}, "pages": 1}}
    assert played(spec, {"arms": arms}).regret[-1] == pytest.approx(2000, rel=0.1)
    learnt = played(experiment("ab", metrics=metrics, objective="minutes"), {"arms": arms})
    assert learnt.regret[-1] < 400
    assert played(experiment("ab", metrics=metrics, objective="pages"), {"arms": arms}).right[-1] == 1


# -- segments --------------------------------------------------------------------------------------------------------------------

SEGMENTED = {
    "arms": {"a": {"click": 0.2}, "b": {"click": 0.3}},
    "segments": {"pro": {"share": 0.25, "arms": {"b": {"click": 0.1}}}},
}
"""In `pro`, a quarter of the units, the other arm is the best."""


def segmented(**fields: Any) -> Experiment:
    return experiment("ab", segments=["free", "pro"], **fields)


def test_units_count_in_their_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, int]] = []

    def watched(spec: Experiment, evidence: Evidence, *rest: Any) -> Any:
        seen.append({name: sum(m.n for m in arms) for name, arms in evidence.by_segment.items()})
        return decide_all(spec, evidence, *rest)

    monkeypatch.setattr(choosing, "decide_all", watched)
    played(segmented(policy="fixed"), SEGMENTED)
    assert set(seen[-1]) == {"other", "pro"}
    assert sum(seen[-1].values()) == 2000
    assert seen[-1]["pro"] == pytest.approx(500, abs=4 * (2000 * 0.25 * 0.75) ** 0.5)


def test_regret_is_against_the_best_arm_of_the_units_segment() -> None:
    trace = played(segmented(policy="fixed"), SEGMENTED, horizon=20_000, batch=1000)
    assert trace.regret[-1] == pytest.approx(20_000 * 0.05, rel=0.05)
    whole = played(segmented(), SEGMENTED, horizon=20_000, batch=1000)
    assert whole.right[-1] == pytest.approx(0.75)  # b leads everywhere, and is wrong for a quarter
    assert whole.best_share[-1] == pytest.approx(0.75, abs=0.01)


def test_a_policy_with_weights_a_segment_serves_each_segment_its_own() -> None:
    trace = played(segmented(policy="per-segment"), SEGMENTED, horizon=20_000, batch=1000)
    assert trace.right[-1] == 1
    assert trace.best_share[-1] > 0.99
    assert trace.shares[-1] == pytest.approx([0.25, 0.75], abs=0.01)


def test_without_segments_in_the_spec_nothing_is_counted_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(choosing, "decide_all", lambda *args: seen.append(list(args[1].by_segment)) or decide_all(*args))
    played(experiment("ab"), rates(0.1, 0.2))
    assert seen[-1] == [""]
