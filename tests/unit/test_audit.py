"""The audit without Kafka: a damaged record is named whatever the damage, and what is left out and where a source is cut."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from allocator.errors import StateError
from streams.audit import partition as rebuilding
from streams.audit.compare import Comparison, Difference, _unit_fields, merged, named_sums
from streams.audit.directory import NoRebuild, opened_rebuild
from streams.audit.refused import Refused
from streams.audit.state import State
from streams.cli import audit
from streams.join.account import COUNTS_PREFIX
from streams.join.cells import CELL_PREFIX
from streams.join.fold import MARKS_KEY
from streams.join.lags import LAGS_PREFIX
from streams.join.versions import VERSIONS_PREFIX
from streams.seam import Batch
from tests.folding import Partition, experiment, exposure, reward
from tests.stored import Stored, compared

SPEC = experiment(
    metrics={"thumbs_up": "binary", "spend": {"type": "value", "resolution": 0.01}}, objective="thumbs_up", segments=["pro"]
)
HORIZON_S = 90_000.0
"""The window of a day, and the grace of an hour."""
NOT_COMPARED = (LAGS_PREFIX, VERSIONS_PREFIX)


def partition() -> Partition:
    """Every sort of record: two arms, a crossover, a segment, corrections, and rewards that wait."""
    return Partition([SPEC]).chunk(
        exposure("u", ts=1000.5),
        exposure("v", "b", ts=1001.0, segment="pro"),
        exposure("both", "a", ts=1002.0),
        exposure("both", "b", ts=1003.0),
        reward("u", ts=1001.5),
        reward("u", 2.25, ts=1002.5, metric="spend", experiment=None),
        reward("v", 0.0, ts=1004.0),
        reward("\x00waits", ts=1005.0),
    )


def come_back() -> Partition:
    """Two lives of a unit, since exposures have gone on; what came before stays, since rewards have not."""
    later = 1000.5 + 2 * HORIZON_S
    return Partition([SPEC]).chunk(exposure("u"), reward("u")).chunk(exposure("v", ts=later)).chunk(exposure("u", "b", ts=later))


def belated() -> Partition:
    """A reward long after its ts, and an id that names another by now, since rewards have gone on and exposures have not."""
    made = Partition([SPEC]).chunk(exposure("u"), reward("u", reward_id="r")).chunk(reward("v", ts=1002.0 + HORIZON_S))
    return made.chunk(reward("u", 0.0, ts=1003.0, reward_id="s"), reward("u", ts=1003.5 + HORIZON_S, reward_id="r"))


@pytest.mark.parametrize("made", [partition, come_back, belated])
def test_every_bit_of_every_record_counts(made: Callable[[], Partition]) -> None:
    """Exhaustive: the bits of a partition's records are flipped one by one. Nothing is allocated by `NOT_COMPARED`."""
    whole = made()
    assert compared(whole, made()).equal
    for key, value in whole.stored.items():
        if key.startswith(NOT_COMPARED):
            continue
        for bit in range(8 * len(value)):
            changed = bytearray(value)
            changed[bit // 8] ^= 1 << bit % 8
            found = compared({**whole.stored, key: bytes(changed)}, whole)
            assert found.differences, (key, bytes(changed))
            assert not found.equal


def test_lives_and_rewards_that_came_late_have_names() -> None:
    fields = _unit_fields(next(unit for key, unit in State(Stored(come_back().stored), {SPEC.experiment: SPEC}).units(0.0)))
    assert (fields["chat: ts"], fields["chat, life 2: ts"]) == (1000.0, 1000.5 + 2 * HORIZON_S)
    fields = _unit_fields(next(unit for key, unit in State(Stored(belated().stored), {SPEC.experiment: SPEC}).units(0.0)))
    assert (fields["reward r: ts"], fields["reward r of 1001.0: ts"]) == (1003.5 + HORIZON_S, 1001.0)
    assert (fields["reward s: mark"], fields["reward r: mark"]) == (1002.0 + HORIZON_S, None)


def test_every_record_counts() -> None:
    whole = partition()
    for key in whole.stored:
        found = compared({k: v for k, v in whole.stored.items() if k != key}, whole)
        assert found.equal == key.startswith(NOT_COMPARED), key


def test_a_difference_says_what_and_how_much() -> None:
    whole = partition()
    [u] = [key for key in whole.stored if key == b"u"]
    later = Partition([SPEC])
    later.stored = dict(whole.stored)
    later.restart()
    later.chunk(reward("u", 3.5, ts=1003.0, metric="spend", experiment=None, reward_id="r-u-1002.5"))
    found = compared({**whole.stored, u: later.stored[u]}, whole)
    fields = {d.field: (d.live, d.rebuilt) for d in found.differences}
    assert {(d.kind, d.name, d.partition) for d in found.differences} == {("unit", "'u'", 0)}
    assert fields["reward r-u-1002.5: value"] == (3.5, 2.25)
    assert fields["chat: values"] == ([1, 350], [1, 225])
    assert (found.compared["unit"], found.differing) == (4, {"unit": 1})

    found = compared(later, whole)
    assert Difference(0, "counter", "(no known experiment)", "rewards.duplicate", 1, 0) in found.differences
    arm = next(arm for name, arm in found.arms.items() if name.arm == "a" and not arm.equal)
    assert [arm.live[2], arm.rebuilt[2]] == [350, 225]
    assert audit._changes(arm, SPEC) == "sum of spend 350 live, 225 rebuilt and 5 more"


def test_partitions_that_make_up_for_each_other_are_not_equal() -> None:
    one, other = Partition([SPEC]).chunk(exposure("u")), Partition([SPEC])
    specs = {SPEC.experiment: SPEC}
    found = Comparison(specs)
    for p, (live, rebuilt) in enumerate([(one, other), (other, one)]):
        part = compared(live, rebuilt)
        found.differing += part.differing
        for name, arm in part.arms.items():
            found.arms[name] = merged(found.arms[name], arm) if p else arm
    [arm] = found.arms.values()
    assert arm.live == arm.rebuilt
    assert not arm.equal
    assert audit._changes(arm, SPEC) == "differ by partition or period"


def test_sums_have_names_and_exact_decimals() -> None:
    sums = named_sums(list(range(1, 15)), SPEC)
    assert list(sums)[:6] == [
        "units", "sum of thumbs_up", "sum of spend", "sum of thumbs_up²", "sum of thumbs_up·spend", "sum of spend²",
    ]  # fmt: skip
    assert named_sums([5, 0, 7], None) == {"sum 0": 5, "sum 2": 7}
    assert audit._sums([2, 1, -12345], SPEC) == "thumbs_up 1, spend -123.45"
    assert audit._decimal(10**30 + 1, 1e-6) == "1" + "0" * 24 + ".000001"
    assert audit._plain([1 << 60, 5, 0.5]) == [str(1 << 60), 5, 0.5]


def raw(*offsets: int) -> list[Any]:
    return [SimpleNamespace(offset=offset) for offset in offsets]


@pytest.mark.parametrize(
    "end,kept",
    [
        (30, [(0, 10, [3, 9]), (10, 12, [10, 11])]),
        (12, [(0, 10, [3, 9]), (10, 12, [10, 11])]),
        (11, [(0, 10, [3, 9]), (10, 11, [10])]),
        (10, [(0, 10, [3, 9])]),
        (2, [(0, 2, [])]),  # a fetch that begins with what nobody sees
        (0, []),
    ],
)
def test_a_rebuild_ends_at_the_offset_it_is_told(end: int, kept: list[Any]) -> None:
    batches = [Batch(0, 10, 2, 0, 0, raw(3, 9)), Batch(10, 12, 2, 0, 0, raw(10, 11))]
    found = [(b.base, b.next, [r.offset for r in b.payload]) for b in rebuilding._up_to(end, batches)]
    assert found == kept


def test_refused_offsets_are_found_by_range() -> None:
    refused = Refused(array("q", [3, 5, 9]), array("q", [5]))
    assert refused.between(0, 100) == {3, 5, 9}
    assert refused.between(4, 8) == {5}
    assert refused.between(5, 5) == {5}
    assert refused.between(6, 8) == refused.between(10, 20) == set()
    assert [offset for offset in (3, 4, 5, 9) if refused.is_nameless(offset)] == [5]


def test_a_rebuild_is_of_one_deployment_and_has_one_user(tmp_path: Path) -> None:
    with pytest.raises(NoRebuild, match="allocator rebuild --as mine"), opened_rebuild(tmp_path, "mine", "p", 2, create=False):
        pass
    with opened_rebuild(tmp_path, "mine", "p", 2, create=True) as made:
        (made.partition(0)).mkdir()
        with pytest.raises(StateError, match="in use"), opened_rebuild(tmp_path, "mine", "p", 2, create=True):
            pass
        with made.scratch("x") as scratch:
            scratch.mkdir()
        assert not scratch.exists()
    other = opened_rebuild(tmp_path, "mine", "p", 3, create=True)
    with pytest.raises(StateError, match="'p' with 2 partitions, expected 'p' with 3"), other:
        pass
    with opened_rebuild(tmp_path, "mine", "p", 3, create=True, fresh=True) as made:
        assert not made.partition(0).exists()


def test_an_incomplete_source_is_a_sentence() -> None:
    error = rebuilding.Incomplete(TopicPartition("t.rewards.v1", 2), 812, 0)
    assert str(error).startswith("t.rewards.v1, partition 2, begins at offset 812 and the rebuild needs it from 0: ")
    assert "retention.ms" in str(error)


def test_marks_counts_and_cells_are_records() -> None:
    """What the exhaustive test rests on."""
    keys = partition().stored
    assert MARKS_KEY in keys
    assert sum(key.startswith(COUNTS_PREFIX) for key in keys) == 2
    assert sum(key.startswith(CELL_PREFIX) for key in keys) == 3
