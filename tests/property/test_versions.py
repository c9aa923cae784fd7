"""Units by weights version are a function of the log of exposures: not of chunks, of rewards, or of restarts."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from allocator.moments import inverse_propensity
from allocator.versions import VERSIONS_KEPT, VersionTable, VersionUnits
from streams.records import Exposure
from tests.folding import Partition, events_of, experiment, exposure, reward, take_anyhow

SPECS = [experiment("chat"), experiment("own", segments=["pro"], policy={"name": "per-segment"})]
VERSIONS = 2 * VERSIONS_KEPT

exposures = st.builds(
    Exposure,
    experiment=st.sampled_from(["chat", "chat", "own"]),
    unit=st.integers(0, 30).map("u-{}".format),
    arm=st.sampled_from(["a", "b"]),
    propensity=st.sampled_from([0.5, 0.25, 0.3]),
    ts=st.integers(1000, 1200).map(float),
    exposure_id=st.just("x"),
    weights_version=st.integers(0, VERSIONS),
    holdback=st.sampled_from([False, False, True]),
)
logs = st.lists(st.lists(exposures, max_size=8), max_size=12)
tables = st.lists(st.tuples(st.integers(0, VERSIONS), st.sampled_from("ab"), st.integers(1, 9), st.integers(0, 99)), max_size=40)


def seen(log: list[list[Exposure]]) -> list[Exposure]:
    """Of every unit the first exposure that was read."""
    first: dict[str, Exposure] = {}
    for x in (x for batch in log for x in batch if x.experiment == "chat"):
        first.setdefault(x.unit, x)
    return [x for x in first.values() if not x.holdback]


def as_defined(counted: list[tuple[int, str, int, int, float]]) -> tuple[list[VersionUnits], VersionUnits | None]:
    """The table, from (version, arm, units, weight, ts) all at once."""
    kept = sorted({version for version, *_ in counted})[-VERSIONS_KEPT:]
    older = [row for row in counted if row[0] not in kept]
    latest = max(((ts, version) for version, *_, ts in older), default=None)
    return (
        [_row(version, [row for row in counted if row[0] == version]) for version in kept],
        None if latest is None else _row(latest[1], older),
    )


def _row(version: int, counted: list[tuple[int, str, int, int, float]]) -> VersionUnits:
    arms = sorted({arm for _, arm, *_ in counted})
    units = {arm: (sum(r[2] for r in counted if r[1] == arm), sum(r[3] for r in counted if r[1] == arm)) for arm in arms}
    return VersionUnits(version, max(ts for *_, ts in counted), units)


@settings(max_examples=150, deadline=None)
@given(logs, st.integers(0, 2**32))
def test_the_table_is_a_function_of_the_log_of_exposures(log: list[list[Exposure]], seed: int) -> None:
    rng = random.Random(seed)
    firsts = [(x.weights_version, x.arm, 1, inverse_propensity(x.propensity), x.ts) for x in seen(log)]
    wanted = as_defined(firsts)
    rewards = [events_of([reward(unit=f"u-{rng.randrange(30)}", ts=1100.0)]) for _ in range(5)]
    for _ in range(3):
        partition = take_anyhow(Partition(SPECS), [events_of(batch) for batch in log if batch], rewards, rng)
        table = partition.fold.versions.of.get("chat", VersionTable())
        assert (table.rows, table.older) == wanted
        assert "own" not in partition.fold.versions.of, "its segments have versions of their own"


@given(tables, st.integers(1, 3), st.randoms(use_true_random=False))
def test_tables_of_partitions_add_up_to_the_one_of_all(
    counted: list[tuple[int, str, int, int]], parts: int, rng: random.Random
) -> None:
    rows = [(version, arm, units, units * 7, float(ts)) for version, arm, units, ts in counted]
    of_parts = [VersionTable() for _ in range(parts)]
    for row in rows:
        version, arm, units, weight, ts = row
        rng.choice(of_parts).count(version, arm, units, weight, ts)
    rng.shuffle(of_parts)
    total = VersionTable()
    for part in of_parts:
        total.add(part.rows, part.older)
    wanted_rows, wanted_older = as_defined(rows)
    # Of a version that is older elsewhere, a partition without newer ones may still know: it is then older for all.
    found = {row.version: row for row in total.rows}
    assert all(found[row.version].total <= row.total for row in wanted_rows)
    assert [row.version for row in total.rows] == [row.version for row in wanted_rows]
    units = sum(row.total for row in total.rows) + (total.older.total if total.older else 0)
    assert units == sum(row[2] for row in rows)
    if parts == 1:
        assert (total.rows, total.older) == (wanted_rows, wanted_older)


def test_a_version_counts_each_unit_once_with_the_propensity_logged() -> None:
    partition = Partition([SPECS[0]])
    partition.chunk(
        exposure(unit="u", arm="a", weights_version=3, propensity=0.5, ts=1000.0),
        exposure(unit="v", arm="b", weights_version=3, propensity=0.25, ts=1010.0),
        exposure(unit="u", arm="a", weights_version=4, propensity=0.5, ts=1020.0),
        exposure(unit="w", arm="a", weights_version=3, propensity=1.0, ts=1030.0, holdback=True),
    )
    rows = partition.fold.versions.of["chat"].rows
    assert rows == [VersionUnits(3, 1010.0, {"a": (1, 2_000_000), "b": (1, 4_000_000)})]


def test_state_stored_before_versions_were_counted_is_taken_over() -> None:
    partition = Partition([SPECS[0]]).chunk(exposure(), reward())
    stored = {key: value for key, value in partition.stored.items() if not key.startswith(b"\x00versions")}
    assert len(stored) < len(partition.stored)
    partition.stored = stored
    partition.restart()
    assert partition.fold.versions.of == {}
    partition.chunk(exposure(unit="v", weights_version=1))
    assert [row.total for row in partition.fold.versions.of["chat"].rows] == [1]
