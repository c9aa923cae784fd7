"""Worlds: every error at once with its path, and a truth that changes as the file says."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from allocator import SpecErrors, load_experiment
from allocator.simulate import World, load_world
from allocator.simulate.world import Delay, Epoch, Prior

EXPERIMENT = load_experiment(
    {
        "experiment": "x",
        "arms": ["a", "b", "c"],
        "metrics": {"click": "binary", "latency": {"type": "value", "direction": "down"}, "pages": "count"},
        "objective": "click",
        "segments": ["free", "pro"],
    }
)
ARM = {"click": 0.1, "latency": {"mean": 2, "sd": 0.5}, "pages": 3}
ARMS = {"a": ARM, "*": {**ARM, "click": {"beta": [4, 36]}}}


def world(**fields: Any) -> World:
    return load_world({"arms": ARMS, **fields}, EXPERIMENT)


def epochs(of: World, horizon: int = 10_000, seed: int = 0) -> list[Epoch]:
    return of.epochs(np.random.default_rng(seed), horizon)


def test_a_world_has_every_arm_on_every_metric() -> None:
    (first,) = world().stages[0].rewards
    assert [len(arm) for arm in first] == [3, 3, 3]
    assert (first[0][0].mean, first[1][0].mean, first[2][0].mean) == (0.1, Prior("beta", 4, 36), Prior("beta", 4, 36))
    assert (first[0][1].mean, first[0][1].sd) == (2, 0.5)


def test_text_is_read_as_specs_are() -> None:
    text = "step: 100ms\narms: {'*': {click: 1e-2, latency: {mean: 1, sd: 1}, pages: {gamma: [2, 5]}}}\ndelay: {exponential: 50}"
    read = load_world(text, EXPERIMENT)
    assert (read.step_s, read.stages[0].rewards[0][2][0].mean) == (0.1, 0.01)
    assert read.stages[0].rewards[0][1][2].mean == Prior("gamma", 2, 5)


@pytest.mark.parametrize(
    "fields, paths",
    [
        ({"arms": 3}, ["arms"]),
        ({"arms": {"a": ARM, "b": ARM}}, ["arms"]),
        ({"arms": {"a": ARM, "b": ARM, "c": ARM, "d": ARM}}, ["arms.d"]),
        ({"arms": {"a": ARM, "b": 0.2, "c": ARM}}, ["arms.b"]),
        ({"arms": {"*": {"click": 0.1, "pages": 2}}}, ["arms.*.latency", "arms.*.latency.sd"]),
        ({"arms": {"*": {**ARM, "click": 1.5}}}, ["arms.*.click"]),
        ({"arms": {"*": {**ARM, "click": True}}}, ["arms.*.click"]),
        ({"arms": {"*": {**ARM, "clicks": 0.5}}}, ["arms.*.clicks"]),
        ({"arms": {"*": {**ARM, "click": {"mean": 0.5, "sd": 1}}}}, ["arms.*.click.sd"]),
        ({"arms": {"*": {**ARM, "click": {"beta": [1, 0]}}}}, ["arms.*.click.beta[1]"]),
        ({"arms": {"*": {**ARM, "click": {"normal": [1, 1]}}}}, ["arms.*.click.normal", "arms.*.click.mean"]),
        ({"arms": {"*": {**ARM, "latency": {"mean": 1, "sd": -1}}}}, ["arms.*.latency.sd"]),
        ({"arms": {"*": {**ARM, "pages": -1}}}, ["arms.*.pages"]),
        ({"arms": {"*": {**ARM, "pages": {"mean": 1, "delay": "soon"}}}}, ["arms.*.pages.delay"]),
        ({"delay": {"lognormal": [10]}}, ["delay.lognormal"]),
        ({"delay": -1}, ["delay"]),
        ({"step": "soon"}, ["step"]),
        ({"retire": 1}, ["retire"]),
        ({"retire": 0.1, "arms": {"*": ARM}}, ["retire"]),
        ({"changes": {}}, ["changes"]),
        ({"changes": [3]}, ["changes[0]"]),
        ({"changes": [{"at": 0, "arms": {"a": {"click": 0}}}]}, ["changes[0].at"]),
        ({"changes": [{"at": 9, "arms": {}}, {"at": 9, "arms": {"z": {}}}]}, ["changes[1].at", "changes[1].arms.z"]),
        ({"changes": [{"at": 9}]}, ["changes[0].arms"]),
        ({"changes": [{"at": 9, "arms": {"*": {"click": 7}}}]}, ["changes[0].arms.*.click"]),
        ({"drift": 1, "step": 0, "retire": "x"}, ["drift", "step", "retire"]),
        ({"segments": 3}, ["segments"]),
        ({"segments": {"paying": {"share": 0.1}}}, ["segments.paying"]),
        ({"segments": {"pro": 0.1}}, ["segments.pro"]),
        ({"segments": {"pro": {"arms": {"a": {"click": 2}}}}}, ["segments.pro.share", "segments.pro.arms.a.click"]),
        ({"segments": {"pro": {"share": 0.6}, "free": {"share": 0.6}}}, ["segments"]),
        ({"changes": [{"at": 9, "arms": {"a": {"click": 0}}, "segment": "pro"}]}, ["changes[0].segment"]),
    ],
)
def test_every_error_has_its_path(fields: dict[str, Any], paths: list[str]) -> None:
    with pytest.raises(SpecErrors) as raised:
        world(**fields)
    assert [error.path for error in raised.value.errors] == paths


@pytest.mark.parametrize("source", ["- 1", "arms: [", 7])
def test_what_is_no_mapping_is_refused(source: Any) -> None:
    with pytest.raises(SpecErrors):
        load_world(source, EXPERIMENT)


def test_a_near_miss_is_named() -> None:
    with pytest.raises(SpecErrors, match="did you mean 'click'"):
        world(arms={"*": {**ARM, "clik": 0.1}})


def test_a_change_moves_what_it_names_and_nothing_else() -> None:
    drifting = world(
        changes=[{"at": 300, "arms": {"a": {"click": 0.9, "latency": {"mean": 9}}}}, {"at": 500, "arms": {"*": {"pages": 1}}}]
    )
    first, second, third = epochs(drifting)
    assert [e.start for e in (first, second, third)] == [0, 300, 500]
    assert (second.means[0, 0, 0], second.means[0, 0, 1], second.sds[0, 0, 1]) == (0.9, 9, 0.5)
    np.testing.assert_array_equal(second.means[0, 1:], first.means[0, 1:])  # drawn means stay as drawn
    np.testing.assert_array_equal(third.means[0, :, :2], second.means[0, :, :2])
    np.testing.assert_array_equal(third.means[0, :, 2], 1)


def test_changes_after_the_horizon_never_come() -> None:
    drifting = world(changes=[{"at": 300, "arms": {"a": {"click": 0.9}}}])
    assert [e.start for e in epochs(drifting, 300)] == [0]


SEGMENTED = {"segments": {"pro": {"share": 0.3, "arms": {"a": {"click": 0.5}}}}}


def test_a_segment_is_as_the_rest_but_for_what_it_says() -> None:
    found = world(**SEGMENTED)
    assert (found.segments, found.shares) == (("other", "pro"), (0.7, 0.3))
    (first,) = epochs(found)
    assert first.means[:, 0, 0].tolist() == [0.1, 0.5]
    np.testing.assert_array_equal(first.means[0, 1:], first.means[1, 1:])  # one draw for both
    np.testing.assert_array_equal(first.means[0, :, 1:], first.means[1, :, 1:])


def test_a_change_may_be_of_one_segment_or_of_all() -> None:
    changes = [{"at": 10, "arms": {"b": {"click": 0.9}}, "segment": "pro"}, {"at": 20, "arms": {"a": {"pages": 7}}}]
    _, second, third = epochs(world(**SEGMENTED, changes=changes))
    assert second.means[1, 1, 0] == 0.9 != second.means[0, 1, 0]
    assert third.means[:, 0, 2].tolist() == [7, 7]
    assert third.means[:, 0, 0].tolist() == [0.1, 0.5]


def test_a_new_arm_is_new_in_every_segment() -> None:
    found = epochs(world(segments={"pro": {"share": 0.3}}, retire=0.01, arms={"*": ARMS["*"]}))
    for epoch in found:
        np.testing.assert_array_equal(epoch.means[0], epoch.means[1])


def test_retirements_come_at_their_rate_and_replace_one_arm_each() -> None:
    found = epochs(world(retire=0.01, arms={"*": ARMS["*"]}), 100_000)
    assert found[0].replaced == ()
    assert len(found) - 1 == pytest.approx(1000, abs=3 * 1000**0.5)
    arms = np.bincount([e.replaced[0] for e in found[1:]], minlength=3)
    assert arms == pytest.approx(333, abs=3 * 333**0.5)
    for before, after in pairwise(found):
        changed = np.flatnonzero(before.means[0, :, 0] != after.means[0, :, 0])
        assert changed.tolist() == list(after.replaced)


def test_new_arms_follow_the_prior_of_the_stage_in_force() -> None:
    drifting = world(retire=0.02, arms={"*": ARMS["*"]}, changes=[{"at": 50_000, "arms": {"*": {"click": {"beta": [30, 10]}}}}])
    found = epochs(drifting, 100_000)
    early = [e.means[0, e.replaced[0], 0] for e in found if e.replaced and e.start < 50_000]
    late = [e.means[0, e.replaced[0], 0] for e in found if e.replaced and e.start > 50_000]
    assert np.mean(early) == pytest.approx(0.1, abs=0.01)
    assert np.mean(late) == pytest.approx(0.75, abs=0.01)


def test_a_run_has_one_truth() -> None:
    drawn = world(retire=0.01, arms={"*": ARMS["*"]})
    assert [e.means.tolist() for e in epochs(drawn, seed=3)] == [e.means.tolist() for e in epochs(drawn, seed=3)]
    assert [e.means.tolist() for e in epochs(drawn, seed=3)] != [e.means.tolist() for e in epochs(drawn, seed=4)]


@pytest.mark.parametrize(
    "delay, mean", [(Delay("fixed", 7), 7), (Delay("exponential", 50), 50), (Delay("lognormal", 10, 0.5), 10 * np.exp(0.125))]
)
def test_delays_have_their_mean(delay: Delay, mean: float) -> None:
    drawn = delay.draw(np.random.default_rng(1), 100_000)
    assert drawn.min() >= 0
    assert drawn.mean() == pytest.approx(mean, rel=0.02)


@pytest.mark.parametrize("prior, mean", [(Prior("beta", 4, 12), 0.25), (Prior("normal", -3, 0.1), -3), (Prior("gamma", 2, 7), 7)])
def test_priors_have_their_mean(prior: Prior, mean: float) -> None:
    rng = np.random.default_rng(1)
    assert np.mean([prior.draw(rng) for _ in range(10_000)]) == pytest.approx(mean, rel=0.03)
