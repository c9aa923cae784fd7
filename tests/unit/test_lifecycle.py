"""An experiment's life: every pair of statuses, and every field that a running experiment must keep."""

from __future__ import annotations

from itertools import product
from typing import Any, get_args

import msgspec
import pytest

from allocator import lifecycle
from allocator.errors import ArgumentError, SpecErrors
from allocator.experiment import Experiment, Status
from allocator.lifecycle import (
    EXPERIMENTS_MAX,
    FIELDS,
    PUBLISHED_AS,
    TRANSITIONS,
    counted,
    crowded,
    differences,
    discarded,
    move,
    promote,
    revise,
    what_changed,
)
from allocator.phases import PHASES_MAX, in_phase, phase_key, phases_of
from allocator.spec import load_experiment

METRICS = {"thumbs_up": "binary", "latency": {"type": "value", "direction": "down", "window": "10m"}}
SINCE = 1_764_000_000.0
STATUSES: tuple[Status, ...] = get_args(Status)
ALLOWED = {
    ("draft", "running"),
    ("draft", "stopped"),
    ("draft", "archived"),
    ("running", "paused"),
    ("running", "promoted"),
    ("running", "stopped"),
    ("paused", "running"),
    ("paused", "promoted"),
    ("paused", "stopped"),
    ("promoted", "stopped"),
    ("promoted", "archived"),
    ("stopped", "archived"),
}


def spec(**changes: Any) -> Experiment:
    fields: dict[str, Any] = {
        "experiment": "chat",
        "arms": ["a", "b"],
        "metrics": METRICS,
        "objective": "thumbs_up",
    }
    return load_experiment(fields | changes)


def with_status(status: Status) -> Experiment:
    return msgspec.structs.replace(spec(), status=status, promoted="b" if status == "promoted" else None, revision=7)


def moved(experiment: Experiment, status: Status) -> Experiment:
    return promote(experiment, "b") if status == "promoted" else move(experiment, status)


@pytest.mark.parametrize("before,after", list(product(STATUSES, STATUSES)))
def test_every_pair_of_statuses(before: Status, after: Status) -> None:
    experiment = with_status(before)
    if before == after:
        assert moved(experiment, after) is experiment
    elif (before, after) in ALLOWED:
        promoted = "b" if after == "promoted" else experiment.promoted
        wanted = msgspec.structs.replace(experiment, status=after, promoted=promoted, revision=8)
        assert moved(experiment, after) == wanted
    else:
        with pytest.raises(SpecErrors, match=f"status: '{before} -> {after}'"):
            moved(experiment, after)


def test_the_table_names_every_status() -> None:
    assert set(TRANSITIONS) == set(STATUSES)
    assert set().union(*TRANSITIONS.values()) <= set(STATUSES)


def test_a_new_name_starts_at_revision_1_with_its_own_status() -> None:
    assert revise(None, spec(status="paused", revision=9)) == spec(status="paused", revision=1)


@pytest.mark.parametrize("status", STATUSES)
def test_the_same_content_changes_nothing(status: Status) -> None:
    current = with_status(status)
    assert revise(current, spec()) is current


@pytest.mark.parametrize(
    "changes",
    [
        {"arms": ["a", "b", "c"]},
        {"arms": [{"id": "a", "params": {"t": 1}}, "b"]},
        {"objective": "latency"},
        {"metrics": {**METRICS, "oec": {"sum": {"thumbs_up": 1, "latency": -0.1}}}, "objective": "oec"},
        {"objective": {"maximise": "thumbs_up", "subject_to": {"latency": {"tolerance": "5%"}}}},
        {"policy": "fixed"},
        {"constraints": {"floor": 0.1}},
        {"enrolment": 0.5},
        {"holdback": 0.1},
        {"lease": "5m"},
        {"metrics": {"thumbs_up": {"type": "binary", "direction": "down"}, "latency": {"type": "value", "window": "10m"}}},
    ],
)
@pytest.mark.parametrize("status", ["running", "paused"])
def test_what_may_change_makes_the_next_revision_and_keeps_the_status(changes: dict[str, Any], status: Status) -> None:
    current = with_status(status)
    assert revise(current, spec(**changes)) == msgspec.structs.replace(spec(**changes), status=status, revision=8)


THUMBS, LATENCY = {"type": "binary"}, {"type": "value", "direction": "down", "window": "10m"}


@pytest.mark.parametrize(
    "changes,path",
    [
        ({"unit": "session"}, "unit"),
        ({"period": "2h"}, "period"),
        ({"metrics": {"latency": LATENCY, "thumbs_up": THUMBS}}, "metrics"),
        ({"covariates": ["revenue_28d"]}, "covariates"),
        ({"metrics": {"thumbs_up": THUMBS}}, "metrics"),
        ({"metrics": {"thumbs_up": THUMBS, "latency": LATENCY, "cost": "value"}}, "metrics"),
        ({"metrics": {"thumbs_up": {"type": "count"}, "latency": LATENCY}}, "metrics.thumbs_up.type"),
        ({"metrics": {"thumbs_up": THUMBS, "latency": {**LATENCY, "resolution": 0.01}}}, "metrics.latency.resolution"),
        ({"metrics": {"thumbs_up": THUMBS, "latency": {**LATENCY, "aggregate": "max"}}}, "metrics.latency.aggregate"),
        ({"metrics": {"thumbs_up": THUMBS, "latency": {**LATENCY, "window": "20m"}}}, "metrics.latency.window"),
        ({"metrics": {"thumbs_up": THUMBS, "latency": {**LATENCY, "cap": 9}}}, "metrics.latency.cap"),
        ({"metrics": {"thumbs_up": THUMBS, "latency": {**LATENCY, "missing": "excluded"}}}, "metrics.latency.missing"),
    ],
)
@pytest.mark.parametrize("status", ["running", "paused"])
def test_what_would_mix_moments_begins_a_phase_or_is_refused(changes: dict[str, Any], path: str, status: Status) -> None:
    with pytest.raises(SpecErrors) as caught:
        revise(with_status(status), spec(**changes))
    assert path in [error.path for error in caught.value.errors]
    assert all("stop it and apply under a new name" in error.expected for error in caught.value.errors)

    if path == "unit":  # another unit is another experiment
        with pytest.raises(SpecErrors, match="unit"):
            revise(with_status(status), spec(**changes), phase_from=SINCE)
        return
    current = with_status(status)
    after = revise(current, spec(**changes), phase_from=SINCE)
    assert after == msgspec.structs.replace(spec(**changes), status=status, revision=8, phase=2, since=SINCE, earlier=(current,))
    (lost,) = discarded(current, after)
    assert lost.startswith("phase 2 begins (")
    assert path in lost.partition(")")[0]
    assert {p for p, _, _ in what_changed(current, after)} >= {"phase", "since"}


def test_phases_follow_each_other_and_each_can_be_read_as_it_was() -> None:
    first = revise(None, spec(phase=3, since=1.0, earlier=[msgspec.to_builtins(spec())]))
    assert (first.phase, first.since, first.earlier) == (1, 0.0, ()), "a spec file cannot set them"
    free = revise(first, spec(enrolment=0.5), phase_from=SINCE)
    assert free.phase == 1
    second = revise(free, spec(period="2h"), phase_from=SINCE)
    third = revise(second, spec(period="3h"), phase_from=SINCE - 5.0)
    assert [(phase.phase, phase.since, phase.period_s) for phase in phases_of(third)] == [
        (1, 0.0, first.period_s),
        (2, SINCE, 7200.0),
        (3, SINCE, 10800.0),
    ], "none begins before the one before it"
    assert (in_phase(third, 1), in_phase(third, 3)) == (free, third)
    with pytest.raises(SpecErrors, match="phase: 4: expected a phase of chat: from 1 to 3"):
        in_phase(third, 4)
    assert load_experiment(msgspec.json.decode(msgspec.json.encode(third))) == third
    assert third.spec_hash == spec(period="3h").spec_hash, "what is summed is what it says"
    assert [phase_key(phase) for phase in phases_of(third)] == ["chat", "chat@2", "chat@3"]


def test_phases_are_bounded_and_a_promoted_experiment_begins_none() -> None:
    current = spec()
    for n in range(2, PHASES_MAX + 1):
        current = revise(current, spec(period=f"{n}h"), phase_from=SINCE)
    with pytest.raises(SpecErrors, match=f"at most {PHASES_MAX} phases"):
        revise(current, spec(period="99h"), phase_from=SINCE)
    with pytest.raises(SpecErrors, match="stop it and apply under a new name"):
        revise(with_status("promoted"), spec(period="2h"), phase_from=SINCE)


def test_a_wrong_earlier_phase_is_named_by_its_place() -> None:
    with pytest.raises(SpecErrors, match=r"earlier\[0\]\.arms"):
        spec(earlier=[{**msgspec.to_builtins(spec()), "arms": []}])


def test_metrics_made_of_others_come_change_and_go_with_their_weights() -> None:
    current = spec()
    for derived in (
        {"oec": {"sum": {"thumbs_up": 1}}},
        {"oec": {"sum": {"thumbs_up": 2, "latency": -1}}},
        {"per": {"ratio": ["latency", "thumbs_up"]}},
        {},
    ):
        objective = next(iter(derived), "thumbs_up")
        current = revise(current, spec(metrics={**METRICS, **derived}, objective=objective))
        assert (list(current.derived), current.columns) == (list(derived), ("thumbs_up", "latency"))
    assert current.revision == 5


def test_every_refused_field_is_named_at_once() -> None:
    with pytest.raises(SpecErrors) as caught:
        revise(spec(), spec(unit="session", period="2h"))
    assert [(error.path, error.value) for error in caught.value.errors] == [("unit", "session"), ("period", "2h")]


@pytest.mark.parametrize("status", ["stopped", "archived"])
def test_what_has_ended_takes_no_change(status: Status) -> None:
    with pytest.raises(SpecErrors, match=f"a new name: this experiment is {status}"):
        revise(with_status(status), spec(enrolment=0.5))


def test_everything_of_a_draft_may_change() -> None:
    wanted = spec(unit="session", period="2h", metrics={"clicks": "count"}, objective="clicks")
    assert revise(with_status("draft"), wanted) == msgspec.structs.replace(wanted, status="draft", revision=8)


def test_every_field_of_a_spec_has_its_rule() -> None:
    """A field without one would be refused in every change."""
    assert {field.name for field in msgspec.structs.fields(Experiment)} <= set(FIELDS)


def test_routers_are_told_what_they_have_always_known() -> None:
    assert set(PUBLISHED_AS) == set(STATUSES)
    assert set(PUBLISHED_AS.values()) == {"running", "paused", "stopped"}


# -- promotion -------------------------------------------------------------------------------------------------------------------


def test_promotion_names_an_arm_of_the_experiment() -> None:
    with pytest.raises(SpecErrors, match="promoted: 'B': expected an arm: one of a, b"):
        promote(spec(), "B")
    with pytest.raises(ArgumentError, match="promote names the arm"):
        move(spec(), "promoted")


def test_another_arm_can_be_promoted_instead() -> None:
    assert promote(with_status("promoted"), "b") is not promote(with_status("promoted"), "a")
    again = promote(with_status("promoted"), "a")
    assert (again.status, again.promoted, again.revision) == ("promoted", "a", 8)


def test_the_promoted_arm_and_the_status_stay_when_a_spec_is_applied() -> None:
    revised = revise(with_status("promoted"), spec(holdback=0.05))
    assert (revised.status, revised.promoted, revised.revision) == ("promoted", "b", 8)
    with pytest.raises(SpecErrors, match=r"arms: .*: expected b among them: it is promoted"):
        revise(with_status("promoted"), spec(arms=["a", "c"]))


def test_a_promoted_spec_can_be_read_again_and_must_name_its_arm() -> None:
    promoted = with_status("promoted")
    assert load_experiment(msgspec.to_builtins(promoted)) == promoted
    with pytest.raises(SpecErrors, match="promoted: None: expected an arm: one of a, b"):
        spec(status="promoted")


def test_promotion_changes_no_hash_of_the_spec() -> None:
    assert with_status("promoted").spec_hash == spec().spec_hash


# -- what is told of a change ----------------------------------------------------------------------------------------------------


def test_only_drafts_are_not_counted() -> None:
    every = {status: with_status(status) for status in STATUSES}
    assert set(counted(every)) == set(STATUSES) - {"draft"}


def test_what_a_change_discards_is_said() -> None:
    before, after = spec(segments=["free", "pro"]), spec(arms=["a", "c"], segments=["pro"])
    assert [sentence.partition(":")[0] for sentence in discarded(before, after)] == [
        "arm b is removed",
        "segment free is removed",
    ]
    assert discarded(after, before)  # c is removed
    assert discarded(spec(), spec(arms=["b", "a", "c"], segments=["pro"])) == ()
    assert discarded(msgspec.structs.replace(before, status="draft"), after) == ()


def test_status_and_promoted_arm_are_part_of_what_changed() -> None:
    assert what_changed(spec(), with_status("promoted")) == [("status", "running", "promoted"), ("promoted", None, "b")]
    assert what_changed(spec(), spec(lease="2m")) == [("lease", 60.0, 120.0)]


def test_a_change_of_the_summed_fields_is_seen_for_each_of_them() -> None:
    """Guards the list in the module: a field of Metric is either summed, so of a phase, or known to be harmless."""
    fields = {field.name for field in msgspec.structs.fields(type(spec().metrics["latency"]))}
    assert fields == {*lifecycle._SUMMED, "cap_quantile", "direction", "prior", "arm_priors"}


def test_differences_name_paths() -> None:
    after = spec(arms=["b", "c"], control="b", constraints={"floor": 0.1}, status="paused")
    assert differences(spec(), after) == [
        ("arms.a", {"id": "a"}, None),
        ("arms.c", None, {"id": "c"}),
        ("control", "a", "b"),
        ("constraints.floor", 0.02, 0.1),
        ("fallback", "a", "b"),
    ]
    assert differences(spec(), spec(arms=["b", "a"], control="a")) == [("arms", ["a", "b"], ["b", "a"])]


def test_a_group_of_workers_has_a_thousand_experiments_at_most() -> None:
    one = spec()
    assert crowded(one, [one] * (EXPERIMENTS_MAX - 1)) == []
    (error,) = crowded(one, [one] * EXPERIMENTS_MAX)
    assert "at most 1000 experiments" in str(error)
    put_away = msgspec.structs.replace(one, status="archived")
    assert crowded(one, [put_away, *[one] * (EXPERIMENTS_MAX - 1)]) == []
