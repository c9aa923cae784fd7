"""One unit with as many events as it likes: its record stays small, and costs the same however many events a chunk has of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.join import account, fold
from streams.join.fold import LIVES_MAX, REWARDS_MAX
from streams.records import Exposure, Reward
from streams.settings import WorkerSettings
from tests.folding import Partition, experiment, exposure, reward

METRICS = {"score": {"type": "value", "aggregate": "last", "window": "1d"}, "thumbs_up": {"type": "binary", "window": "1d"}}
SPEC = experiment(metrics=METRICS, objective="thumbs_up")
EVENTS, CHUNK = 60_000, 4000
CHUNKS = EVENTS // CHUNK
BATCH_BYTES = WorkerSettings(data_dir=Path()).batch_bytes


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often that was done which looks at every reward of a unit."""
    made: Counter[str] = Counter()

    def counted(name: str, do: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            made[name] += 1
            return do(*arguments)

        return call

    monkeypatch.setattr(fold, "unpack", counted("unpack", fold.unpack))
    monkeypatch.setattr(account, "values_of", counted("values_of", account.values_of))
    return made


def hot(n: int) -> Exposure | Reward:
    """The n-th event of the hot unit: exposures and rewards by turns, each with an id of its own."""
    ts = 1000.0 + n / 10
    if n % 2:
        return reward("hot", float(n % 7), metric="score", ts=ts, reward_id=f"r{n}")
    return exposure("hot", ts=ts, exposure_id=f"x{n}")


def traffic(first: int, count: int) -> Iterator[Exposure | Reward]:
    """So many events of the hot unit, with a normal unit after every tenth."""
    for n in range(first, first + count):
        yield hot(n)
        if n % 10 == 0:
            yield exposure(f"u{n}", ts=1000.0 + n / 10)
            yield reward(f"u{n}", 1.0, ts=1000.0 + n / 10)


def test_a_hot_unit_costs_a_look_at_its_record_a_chunk(calls: Counter[str]) -> None:
    made = Partition([SPEC])
    for n in range(CHUNKS):
        made.chunk(*traffic(n * CHUNK, CHUNK))
    normal = EVENTS // 10
    assert made.counters() == {
        "exposures.applied": 1 + normal,
        "exposures.repeated": EVENTS // 2 - 1,
        "rewards.applied": REWARDS_MAX + normal,
        "rewards.overflow": EVENTS // 2 - REWARDS_MAX,
    }
    assert calls["unpack"] <= CHUNKS
    assert calls["values_of"] == 1, "there was room for more rewards only in the first chunk"
    assert made.fold.crowded == b"hot"


def test_without_keeping_what_was_unpacked_every_event_would_cost_it(
    calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control."""
    monkeypatch.setattr(fold, "LARGE_BYTES", 1 << 30)
    made = Partition([SPEC]).chunk(*traffic(0, CHUNK)).chunk(*traffic(CHUNK, 200))
    assert calls["unpack"] == 200
    assert made.counters()["rewards.overflow"] == (CHUNK + 200) // 2 - REWARDS_MAX


def test_the_record_stays_as_it_is_once_it_is_full() -> None:
    made = Partition([SPEC]).chunk(*traffic(0, CHUNK))
    full = made.stored[b"hot"]
    made.chunk(*traffic(CHUNK, CHUNK))
    assert made.stored[b"hot"] is full, "it was not written again"
    assert len(full) < BATCH_BYTES / 10


def test_exposures_ever_earlier_have_the_rewards_looked_at_once(calls: Counter[str]) -> None:
    """A backfill that begins with the newest."""
    made = Partition([SPEC]).chunk(hot(2000), *(hot(n) for n in range(2001, 2801, 2)))
    calls.clear()
    made.chunk(*(hot(n) for n in range(1998, -2, -2)))
    assert calls["values_of"] == 1
    assert made.counters() == {"exposures.applied": 1, "exposures.repeated": 1000, "rewards.applied": 400}
    assert next(iter(made.moments().values()))[1] == (2799 % 7) * 1_000_000


def faithful(lives: int, *, rewarded: bool = True) -> Iterator[int]:
    """The size of a unit's record after each of its lives: it comes back whenever its horizon has passed, and never stops."""
    spec = experiment(metrics={"thumbs_up": {"type": "binary", "window": "20s"}}, grace="10s")
    made = Partition([spec])
    for n in range(lives):
        ts = 1000.0 + 35 * n
        given = [reward("hot", ts=ts + 1, reward_id=f"{n % 3}"), reward("other", ts=ts + 2)] if rewarded else []
        made.chunk(exposure("other", ts=ts)).chunk(exposure("hot", ts=ts, exposure_id=f"{n % 3}"), *given)
        yield len(made.stored[b"hot"])
    assert made.counters()["exposures.applied"] >= lives


def test_the_lives_of_a_unit_that_never_stops_are_forgotten_one_by_one() -> None:
    sizes = list(faithful(100))
    assert max(sizes) == max(sizes[:6])


def test_without_forgetting_them_they_would_be_kept_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control."""
    monkeypatch.setattr(account, "is_spent", lambda *_: False)
    sizes = list(faithful(100))
    assert max(sizes) > 10 * max(sizes[:6])


def test_lives_do_not_wait_for_ever_for_rewards_that_do_not_come() -> None:
    sizes = list(faithful(20 * LIVES_MAX, rewarded=False))
    assert max(sizes) == max(sizes[: LIVES_MAX + 1])


@pytest.mark.parametrize("size", [1, 7, 300])
def test_chunks_of_any_size_give_the_same(size: int) -> None:
    log = [hot(n) for n in range(300)] + [reward("hot", 9.0, metric="score", ts=2000.0, reward_id="r299")]
    whole, cut = Partition([SPEC]).chunk(*log), Partition([SPEC])
    for at in range(0, len(log), size):
        cut.chunk(*log[at : at + size])
    assert cut.moments() == whole.moments()
    assert cut.counters() == whole.counters() == {
        "exposures.applied": 1, "exposures.repeated": 149, "rewards.applied": 150, "rewards.duplicate": 1,
    }  # fmt: skip
