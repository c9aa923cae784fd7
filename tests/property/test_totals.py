"""The totals are those of the newest partials, in whatever order, however often and over however many restarts they come."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from allocator.delay import LAG_BINS
from allocator.moments import Moments, layout_of
from streams.allocate.totals import Totals
from streams.records import COUNTERS, Cell, Partial
from tests.folding import experiment

CHAT = experiment()
LENGTH = layout_of(1).length
PARTITIONS = 3
PHASES = (1, 2)
CHATS = [msgspec.structs.replace(CHAT, phase=phase) for phase in PHASES]

Place = tuple[int, int, str, str, bool]
"""Phase, period, segment, arm and holdback. Counters are of all phases and have the rest empty."""
NO_CELL: Place = (1, COUNTERS, "", "", False)

places = st.just(NO_CELL) | st.tuples(
    st.sampled_from(PHASES), st.sampled_from([0, 1]), st.sampled_from(["", "pro"]), st.sampled_from(["a", "b"]), st.booleans()
)
# Often the same as before, as where a correction takes back what it was told.
sums = st.sampled_from([[k] * LENGTH for k in (0, 1, 2**70)]) | st.lists(st.integers(0, 2**70), min_size=LENGTH, max_size=LENGTH)
lags = st.lists(st.dictionaries(st.sampled_from([0, 1, LAG_BINS - 1]), st.integers(1, 5)), max_size=2)
counters = st.dictionaries(st.sampled_from(["exposures.applied", "rewards.applied", "rewards.waiting"]), st.integers(1, 10**6))


@st.composite
def histories(draw: st.DrawFn) -> list[Partial]:
    """What partitions publish: each numbers its commits, from 1 in each epoch, and some of them carry some of its cells."""
    made = []
    epochs = draw(st.lists(st.integers(0, 3), min_size=PARTITIONS, max_size=PARTITIONS + 2))
    for place, drawn in enumerate(epochs):
        partition = place % PARTITIONS
        epoch = drawn + 4 * (place // PARTITIONS)  # a partition's later epoch is larger
        for seq in range(1, draw(st.integers(1, 5))):
            for phase, period, segment, arm, holdback in draw(st.lists(places, unique=True, max_size=6)):
                no_cell = period == COUNTERS
                made.append(
                    Partial(
                        experiment="chat",
                        partition=partition,
                        phase=phase,
                        period=period,
                        seq=seq,
                        epoch=epoch,
                        cell=None if no_cell else Cell(segment, arm, holdback, draw(sums), [] if holdback else draw(lags)),
                        counters=draw(counters) if no_cell else {},
                        event_ts=float(draw(st.integers(0, 100))),
                    )
                )
    return made


def place_of(p: Partial) -> Place:
    return NO_CELL if p.cell is None else (p.phase, p.period, p.cell.segment, p.cell.arm, p.cell.holdback)


def summed(partials: list[Partial]) -> tuple[object, ...]:
    """The definition: of each partition's last epoch and each place the one with the largest number, added up."""
    last: dict[int, int] = {}
    for p in partials:
        last[p.partition] = max(p.epoch, last.get(p.partition, 0))
    newest: dict[tuple[int, Place], Partial] = {}
    for p in sorted(partials, key=lambda p: p.seq):
        if p.epoch == last[p.partition]:
            newest[p.partition, place_of(p)] = p
    arms: dict[tuple[int, str], list[int]] = defaultdict(lambda: [0] * LENGTH)
    held_back = {phase: [0] * LENGTH for phase in PHASES}
    total: dict[str, int] = defaultdict(int)
    inputs: dict[str, int] = defaultdict(int)
    late: Counter[tuple[int, str, int, int]] = Counter()
    for p in newest.values():
        inputs[str(p.partition)] = max(inputs[str(p.partition)], p.seq)
        for name, n in p.counters.items():
            total[name] += n
        if p.cell is not None:
            into = held_back[p.phase] if p.cell.holdback else arms[p.phase, p.cell.arm]
            into[:] = [a + b for a, b in zip(into, p.cell.sums, strict=True)]
            late.update({(p.phase, p.cell.arm, j, i): n for j, row in enumerate(p.cell.lags) for i, n in row.items()})
    return {of: row for of, row in arms.items() if any(row)}, held_back, dict(total), dict(inputs), +late


def read(totals: Totals) -> tuple[object, ...]:
    arms: dict[tuple[int, str], list[int]] = {}
    held_back, late = {}, Counter[tuple[int, str, int, int]]()
    for chat in CHATS:
        evidence = totals.training(chat)
        arms.update({(chat.phase, arm): list(m.sums) for arm, m in zip(chat.arm_ids, evidence.total, strict=True)})
        held_back[chat.phase] = list(totals.held_back(chat).sums)
        for arm, rows in evidence.all_lags.items():
            late.update({(chat.phase, arm, j, i): n for j, row in enumerate(rows) for i, n in enumerate(row)})
    return {of: row for of, row in arms.items() if any(row)}, held_back, totals.counters(), totals.inputs(), +late


@given(histories(), st.randoms(use_true_random=False))
def test_any_order_and_any_duplication_gives_the_totals_of_the_newest(partials: list[Partial], rng: random.Random) -> None:
    wanted = summed(partials)
    for _ in range(3):
        sent = [*partials, *rng.choices(partials, k=rng.randrange(5))] if partials else []
        rng.shuffle(sent)
        totals = Totals()
        for each in sent:
            totals.replace(each)
        assert read(totals) == wanted


@given(histories(), st.integers(0, 60))
def test_a_restart_from_what_was_stored_changes_nothing(partials: list[Partial], at: int) -> None:
    """The allocate agent stores what `replace` took, under its place, and restores in any order."""
    stored: dict[tuple[int, Place], Partial] = {}
    before = Totals()
    for each in partials[:at]:
        if before.replace(each):
            stored[each.partition, place_of(each)] = each
    after = Totals()
    for each in [*stored.values(), *partials[at // 2 :]]:
        after.replace(each)
    assert read(after) == summed(partials)


@given(histories())
def test_units_held_back_train_nothing(partials: list[Partial]) -> None:
    """Without their cells the evidence is the same, lags and periods included: no decision can depend on them."""
    with_them, without = Totals(), Totals()
    for each in partials:
        with_them.replace(each)
        held_back = each.cell is not None and each.cell.holdback  # without it, what it says of the partition's epoch stays
        without.replace(msgspec.structs.replace(each, cell=None, period=COUNTERS) if held_back else each)
    for chat in CHATS:
        one, other = with_them.training(chat), without.training(chat)
        assert (one.total, one.lags, one.read_until) == (other.total, other.lags, other.read_until)
        assert seen(one.by_segment) == seen(other.by_segment)
        assert seen(one.by_period) == seen(other.by_period)


def seen(found: Any) -> dict[Any, Any]:
    """Without places that nobody ever was in."""
    return {place: arms for place, arms in found.items() if any(any(m.sums) for m in arms)}


@given(histories())
def test_the_cohorts_are_all_that_is_known_by_period(partials: list[Partial]) -> None:
    totals = Totals()
    for each in partials:
        totals.replace(each)
    for chat in CHATS:
        cohorts, zero = totals.cohorts(chat), Moments.zero(len(chat.metrics))
        assert sum(cohorts.held_back.values(), zero) == totals.held_back(chat)
        assert sum(cohorts.allocated.values(), zero) == sum(totals.training(chat).total, zero)
