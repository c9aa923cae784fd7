"""What becomes of a unit's events, by example: one test an outcome. The law behind them is in tests/property/test_fold.py."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from allocator.experiment import Experiment
from allocator.moments import inverse_propensity
from streams.connection import Connection
from streams.join.fold import REWARDS_MAX, WAITING_MAX
from streams.join.units import pack, unpack
from streams.records import Exposure, Reward
from streams.state import LedgerSettings
from tests.folding import Partition, experiment, exposure, reward

EVENT_ID_MAX = 128
"""Characters that `streams.records` allows an exposure_id or reward_id."""
SPEND = {"metrics": {"spend": {"type": "value", "window": "100s", "resolution": 0.01}}, "objective": "spend"}


def partition(*events: Exposure | Reward, of: list[Experiment] | None = None) -> Partition:
    """The events folded one a chunk, which is the hardest way."""
    made = Partition(of or [experiment()])
    for event in events:
        made.chunk(event)
    assert made.contradictions() == []
    return made


def sums(made: Partition) -> dict[str, list[int]]:
    """{arm, or arm/segment, or arm held back: [n, sum of the first metric]}."""
    found = {}
    for cell, values in made.moments().items():
        name = cell.arm + (f"/{cell.segment}" if cell.segment else "") + (" held back" if cell.holdback else "")
        found[name] = values[:2]
    return found


def dead(made: Partition) -> list[str]:
    """Reasons of the dead letters."""
    exposures, rewards = made.fold.take_dead()
    return [letter.reason for letter in [*exposures, *rewards]]


# -- exposures -------------------------------------------------------------------------------------------------------------------


def test_the_first_exposure_enters_the_moments() -> None:
    made = partition(exposure(propensity=0.25))
    ((cell, values),) = made.moments().items()
    assert (cell.experiment, cell.arm, cell.segment, cell.holdback, cell.period) == ("chat", "a", "", False, 0)
    assert values[0] == 1
    assert inverse_propensity(0.25) in values
    assert made.counters() == {"exposures.applied": 1}


def test_the_same_exposure_again_is_a_duplicate() -> None:
    made = partition(exposure(), exposure(), exposure())
    assert made.counters() == {"exposures.applied": 1, "exposures.duplicate": 2}
    assert sums(made) == {"a": [1, 0]}


def test_a_further_exposure_to_the_same_arm_is_repeated() -> None:
    made = partition(exposure(), exposure(ts=1500.0))
    assert made.counters() == {"exposures.applied": 1, "exposures.repeated": 1}
    assert sums(made) == {"a": [1, 0]}


def test_an_earlier_exposure_takes_the_place_of_the_first_one_seen() -> None:
    of = [experiment(period="1000s")]
    made = partition(exposure(ts=2000.0, propensity=0.5), exposure(ts=1000.0, propensity=0.25), of=of)
    ((cell, values),) = made.moments().items()
    assert cell.period == 1
    assert inverse_propensity(0.25) in values
    assert made.counters() == {"exposures.applied": 1, "exposures.repeated": 1}


def test_an_earlier_exposure_changes_which_rewards_are_in_its_window() -> None:
    of = [experiment(metrics={"thumbs_up": {"type": "binary", "window": "100s"}})]
    made = partition(exposure(ts=1000.0), reward(ts=1090.0), of=of)
    assert sums(made) == {"a": [1, 1]}
    made.chunk(exposure(ts=900.0))
    assert sums(made) == {"a": [1, 0]}
    assert made.counters() == {"exposures.applied": 1, "exposures.repeated": 1, "rewards.late": 1}


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_crossover_takes_the_unit_out_with_its_rewards(order: tuple[int, ...]) -> None:
    events = [exposure(arm="a"), exposure(arm="b", ts=1100.0), reward(ts=1200.0)]
    made = partition(*(events[i] for i in order))
    assert made.moments() == {}
    assert made.counters() == {"exposures.crossover": 2, "rewards.excluded": 1}


def test_held_back_and_assigned_to_the_same_arm_is_a_crossover() -> None:
    made = partition(exposure(arm="a", holdback=True), exposure(arm="a", ts=1100.0))
    assert made.counters() == {"exposures.crossover": 2}


def test_a_crossover_leaves_other_units_alone() -> None:
    made = partition(exposure("u"), exposure("v"), reward("v"), exposure("u", arm="b", ts=1100.0))
    assert sums(made) == {"a": [1, 1]}


def test_an_exposure_of_an_unknown_arm_is_dead_lettered() -> None:
    made = partition(exposure(arm="c"))
    assert dead(made) == ["arm: 'c': expected an arm of 'chat'"]
    assert made.counters() == {"exposures.dead": 1}


def test_an_exposure_in_an_unknown_experiment_is_dead_lettered() -> None:
    made = partition(exposure(experiment="chatt"))
    assert dead(made) == ["experiment: 'chatt': expected the name of an applied experiment"]
    assert made.counters() == {"exposures.dead": 1}
    assert made.stored.keys().isdisjoint({b"u"})


def test_holdback_is_summed_apart() -> None:
    made = partition(exposure("u"), exposure("v", propensity=1.0, holdback=True), reward("u"), reward("v"))
    assert sums(made) == {"a": [1, 1], "a held back": [1, 1]}


@pytest.mark.parametrize("declared, given, counted", [([], "pro", ""), (["pro"], "pro", "/pro"), (["pro"], "free", "/other")])
def test_segments_are_those_declared_and_other(declared: list[str], given: str, counted: str) -> None:
    made = partition(exposure(segment=given), of=[experiment(segments=declared)])
    assert sums(made) == {f"a{counted}": [1, 0]}


def test_an_exposure_without_a_segment_is_other_when_segments_are_declared() -> None:
    assert sums(partition(exposure(), of=[experiment(segments=["pro"])])) == {"a/other": [1, 0]}


def test_exposures_fall_into_periods_by_their_time() -> None:
    made = partition(exposure("u", ts=999.0), exposure("v", ts=1000.0), of=[experiment(period="1000s")])
    assert sorted(cell.period for cell in made.moments()) == [0, 1]


# -- rewards ---------------------------------------------------------------------------------------------------------------------


def test_a_reward_in_the_window_is_applied() -> None:
    made = partition(exposure(), reward())
    assert sums(made) == {"a": [1, 1]}
    assert made.counters() == {"exposures.applied": 1, "rewards.applied": 1}


def test_a_reward_before_its_exposure_waits_and_is_then_applied() -> None:
    made = partition(reward())
    assert made.moments() == {}
    assert made.counters() == {"rewards.waiting": 1}
    made.restart()
    made.chunk(exposure())
    assert sums(made) == {"a": [1, 1]}
    assert made.counters() == {"exposures.applied": 1, "rewards.applied": 1}


def test_the_same_reward_again_is_a_duplicate() -> None:
    made = partition(exposure(), reward(), reward())
    assert sums(made) == {"a": [1, 1]}
    assert made.counters() == {"exposures.applied": 1, "rewards.applied": 1, "rewards.duplicate": 1}


def test_the_same_waiting_reward_again_is_a_duplicate() -> None:
    assert partition(reward(), reward()).counters() == {"rewards.waiting": 1, "rewards.duplicate": 1}


def test_a_correction_replaces_the_value() -> None:
    made = partition(exposure(), reward(reward_id="r"), reward(value=0.0, ts=1002.0, reward_id="r"))
    assert sums(made) == {"a": [1, 0]}
    assert made.counters() == {"exposures.applied": 1, "rewards.applied": 1, "rewards.duplicate": 1}


def test_a_correction_older_than_what_is_known_is_ignored() -> None:
    made = partition(exposure(), reward(value=0.0, ts=1002.0, reward_id="r"), reward(reward_id="r"))
    assert sums(made) == {"a": [1, 0]}
    assert made.counters() == {"exposures.applied": 1, "rewards.applied": 1, "rewards.duplicate": 1}


def test_a_correction_may_move_a_reward_out_of_the_window() -> None:
    of = [experiment(metrics={"thumbs_up": {"type": "binary", "window": "100s"}})]
    made = partition(exposure(), reward(reward_id="r"), reward(ts=1101.0, reward_id="r"), of=of)
    assert sums(made) == {"a": [1, 0]}
    assert made.counters() == {"exposures.applied": 1, "rewards.late": 1, "rewards.duplicate": 1}


def test_rewards_of_a_sum_add_up_and_corrections_replace_their_own_part() -> None:
    of = [experiment(**SPEND)]
    given = [(1.5, "r1", 1001.0), (2.25, "r2", 1002.0), (0.5, "r1", 1003.0)]
    made = partition(exposure(), *(reward(value=v, metric="spend", reward_id=i, ts=t) for v, i, t in given), of=of)
    assert sums(made) == {"a": [1, 275]}


@pytest.mark.parametrize("ts, outcome", [(994.9, "unmatched"), (995.0, "applied"), (1100.0, "applied"), (1100.1, "late")])
def test_the_window_begins_a_clock_skew_before_the_exposure_and_ends_after_the_window(ts: float, outcome: str) -> None:
    of = [experiment(metrics={"thumbs_up": {"type": "binary", "window": "100s"}}, clock_skew="5s")]
    for events in ([exposure(), reward(ts=ts)], [reward(ts=ts), exposure()]):
        made = partition(*events, of=of)
        assert made.counters() == {"exposures.applied": 1, f"rewards.{outcome}": 1}
        assert sums(made) == {"a": [1, int(outcome == "applied")]}


def test_a_reward_of_an_experiment_the_unit_is_not_in_waits() -> None:
    made = partition(exposure(), reward(experiment="two"), of=[experiment(), experiment("two")])
    assert made.counters() == {"exposures.applied": 1, "rewards.waiting": 1}


def test_a_reward_without_experiment_counts_in_every_one_that_declares_the_metric() -> None:
    of = [experiment(), experiment("two"), experiment("three", **SPEND)]
    events = [exposure(), exposure(experiment="two", arm="b"), exposure(experiment="three"), reward(experiment=None)]
    made = partition(*events, of=of)
    found = {(cell.experiment, cell.arm): values[:2] for cell, values in made.moments().items()}
    assert found == {("chat", "a"): [1, 1], ("two", "b"): [1, 1], ("three", "a"): [1, 0]}
    assert made.counters() == {"exposures.applied": 3, "rewards.applied": 1}


def test_a_reward_without_experiment_reaches_exposures_that_come_later() -> None:
    made = partition(
        exposure(), reward(experiment=None), exposure(experiment="two", ts=1000.5), of=[experiment(), experiment("two")]
    )
    assert [values[:2] for values in made.moments().values()] == [[1, 1], [1, 1]]
    assert made.counters() == {"exposures.applied": 2, "rewards.applied": 1}


def test_a_reward_excluded_from_one_experiment_still_counts_in_the_other() -> None:
    events = [exposure(), exposure(arm="b", ts=1000.5), exposure(experiment="two"), reward(experiment=None)]
    made = partition(*events, of=[experiment(), experiment("two")])
    assert {cell.experiment: values[:2] for cell, values in made.moments().items()} == {"two": [1, 1]}
    assert made.counters() == {"exposures.crossover": 2, "exposures.applied": 1, "rewards.applied": 1}


def test_a_reward_of_a_metric_nobody_declares_is_dead_lettered_if_it_names_an_experiment() -> None:
    made = partition(exposure(), reward(metric="clicks"))
    assert dead(made) == ["metric: 'clicks': expected a metric of 'chat'"]
    assert made.counters() == {"exposures.applied": 1, "rewards.dead": 1}


def test_a_reward_of_a_metric_nobody_declares_is_unmatched_if_it_names_none() -> None:
    made = partition(exposure(), reward(metric="clicks", experiment=None))
    assert dead(made) == []
    assert made.counters() == {"exposures.applied": 1, "rewards.unmatched": 1}


def test_a_reward_of_an_unknown_experiment_is_dead_lettered() -> None:
    made = partition(reward(experiment="chatt"))
    assert dead(made) == ["experiment: 'chatt': expected the name of an applied experiment"]
    assert made.counters() == {"rewards.dead": 1}


@pytest.mark.parametrize(
    "kind, value, expected",
    [
        ("binary", 0.5, "0 or 1"),
        ("binary", 2.0, "0 or 1"),
        ("binary", -1.0, "0 or 1"),
        ("count", 1.5, "a whole number that is not negative"),
        ("count", -1.0, "a whole number that is not negative"),
        ("count", 1e300, "a whole number that is not negative"),
        ("value", 1e300, "in size"),
        ("value", -1e300, "in size"),
    ],
)
def test_a_value_out_of_the_metrics_domain_is_dead_lettered(kind: str, value: float, expected: str) -> None:
    of = [experiment(metrics={"m": {"type": kind}}, objective="m")]
    made = partition(exposure(), reward(value=value, metric="m"), of=of)
    (reason,) = dead(made)
    assert reason.startswith(f"value: {value!r}: expected ")
    assert expected in reason
    assert made.counters() == {"exposures.applied": 1, "rewards.dead": 1}
    assert sums(made) == {"a": [1, 0]}


@pytest.mark.parametrize("kind, values", [("binary", [0.0, 1.0]), ("count", [0.0, 1.0, 12.0]), ("value", [-2.5, 0.0, 1e6])])
def test_values_in_the_domain_are_applied(kind: str, values: list[float]) -> None:
    of = [experiment(metrics={"m": {"type": kind}}, objective="m")]
    for value in values:
        made = partition(exposure(), reward(value=value, metric="m"), of=of)
        assert made.counters() == {"exposures.applied": 1, "rewards.applied": 1}


def test_a_value_one_experiment_takes_and_another_cannot_is_applied() -> None:
    of = [experiment(), experiment("two", metrics={"thumbs_up": "value"})]
    made = partition(exposure(), exposure(experiment="two"), reward(value=-3.0, experiment=None), of=of)
    assert made.counters() == {"exposures.applied": 2, "rewards.applied": 1}
    assert {cell.experiment: values[1] for cell, values in made.moments().items()} == {"chat": 0, "two": -3_000_000}


# -- bounds ----------------------------------------------------------------------------------------------------------------------


def test_no_more_than_so_many_rewards_wait() -> None:
    made = Partition()
    made.chunk(*(reward(reward_id=f"r{i}") for i in range(WAITING_MAX + 2)))
    assert made.counters() == {"rewards.waiting": WAITING_MAX, "rewards.dead": 2}
    assert dead(made) == [f"unit: 'u': has {WAITING_MAX} rewards already"] * 2
    made.chunk(reward(reward_id="r0"))
    assert made.counters() == {"rewards.waiting": WAITING_MAX, "rewards.duplicate": 1, "rewards.dead": 2}


def test_a_unit_has_no_more_than_so_many_rewards() -> None:
    made = Partition([experiment(**SPEND)]).chunk(exposure())
    made.chunk(*(reward(value=0.01, metric="spend", reward_id=f"r{i}") for i in range(REWARDS_MAX + 1)))
    assert made.counters() == {"exposures.applied": 1, "rewards.applied": REWARDS_MAX, "rewards.overflow": 1}
    assert dead(made) == []
    assert sums(made) == {"a": [1, REWARDS_MAX]}


# -- forgetting ------------------------------------------------------------------------------------------------------------------

SHORT: dict[str, Any] = {"metrics": {"thumbs_up": {"type": "binary", "window": "100s"}}, "grace": "50s"}


def forgetful(*events: Exposure | Reward) -> Partition:
    return partition(*events, of=[experiment(**SHORT)])


def test_an_exposure_after_everybody_forgot_is_late() -> None:
    made = forgetful(exposure("v", ts=2000.0), exposure("u", ts=1849.0))
    assert made.counters() == {"exposures.applied": 1, "exposures.late": 1}


def test_an_exposure_within_window_and_grace_is_applied() -> None:
    made = forgetful(exposure("v", ts=2000.0), exposure("u", ts=1851.0))
    assert made.counters() == {"exposures.applied": 2}


def test_a_reward_after_everybody_forgot_is_late() -> None:
    made = forgetful(exposure("u", ts=1000.0), reward("v", ts=2000.0), reward("u", ts=1010.0))
    assert made.counters() == {"exposures.applied": 1, "rewards.waiting": 1, "rewards.late": 1}


def test_what_is_forgotten_stays_in_the_moments() -> None:
    made = forgetful(exposure("u"), reward("u"))
    made.fold.evict([(b"u", made.stored[b"u"])])
    made.chunk()
    assert b"u" not in made.stored
    assert sums(made) == {"a": [1, 1]}
    assert made.counters() == {"exposures.applied": 1, "rewards.applied": 1}


def test_rewards_whose_wait_ended_are_unmatched() -> None:
    made = forgetful(reward("u"), reward("u", ts=1002.0))
    made.fold.evict([(b"u", made.stored[b"u"])])
    made.chunk()
    assert made.counters() == {"rewards.unmatched": 2}
    assert made.moments() == {}


# -- lives -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rewarded", [False, True])
@pytest.mark.parametrize("reached, lives", [(1150.0, 1), (1150.1, 2)])
def test_how_far_exposures_have_come_tells_whether_a_unit_is_the_same(reached: float, lives: int, rewarded: bool) -> None:
    """And rewards have no say in it. Regression: one of them prolonged the life it fell in."""
    made = forgetful(exposure("u"), *([reward("u", ts=1090.0)] if rewarded else []), exposure("v", ts=reached))
    made.chunk(exposure("u", arm="b", ts=1151.0))
    counted = {"exposures.applied": 3} if lives == 2 else {"exposures.applied": 1, "exposures.crossover": 2}
    assert {name: n for name, n in made.counters().items() if name.startswith("exposures")} == counted


def test_another_arm_in_another_life_is_no_crossover() -> None:
    made = forgetful(
        exposure("u"), reward("u"), exposure("v", ts=1200.0), exposure("u", arm="b", ts=1201.0), reward("u", ts=1202.0)
    )
    assert sums(made) == {"a": [2, 1], "b": [1, 1]}
    assert made.counters() == {"exposures.applied": 3, "rewards.applied": 2}


@pytest.mark.parametrize("ts, found", [(1100.0, "a"), (1101.0, "late"), (1150.0, "late"), (1151.0, "unmatched"), (1196.0, "b")])
def test_a_reward_is_of_the_last_life_that_began_before_it(ts: float, found: str) -> None:
    exposures = exposure("u"), exposure("v", ts=1200.0), exposure("u", arm="b", ts=1201.0)
    wanted = {"a": [2, int(found == "a")], "b": [1, int(found == "b")]}
    for events in (
        [*exposures, reward("u", ts=ts)],
        [reward("u", ts=ts), *exposures],
        [exposures[0], reward("u", ts=ts), *exposures[1:]],
    ):
        made = forgetful(*events)
        assert sums(made) == wanted
        assert made.counters() == {"exposures.applied": 3, f"rewards.{found if len(found) > 1 else 'applied'}": 1}


@pytest.mark.parametrize("reached, counts", [(1200.0, True), (1200.1, False)])
def test_a_reward_is_of_no_life_that_was_over_when_it_came(reached: float, counts: bool) -> None:
    """Which is known although its exposure comes later."""
    late = [reward("v", 0.0, ts=reached), reward("u", ts=1090.0)]
    for events in ([exposure("u"), *late], [*late, exposure("u")]):
        made = forgetful(*events)
        assert sums(made) == {"a": [1, int(counts)]}
        assert made.counters()["rewards.waiting"] == (1 if counts else 2)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 0, 1, 2), (0, 3, 1, 2)])
def test_a_reward_in_the_windows_of_two_lives_counts_in_the_later(order: tuple[int, ...]) -> None:
    """The exposure that begins it came long after its time."""
    events = exposure("u"), exposure("v", ts=1151.0), exposure("u", arm="b", ts=1050.0), reward("u", ts=1060.0)
    made = forgetful(*(events[i] for i in order))
    assert sums(made) == {"a": [2, 0], "b": [1, 1]}
    made.chunk(exposure("u", arm="b", ts=1049.0))
    assert sums(made) == {"a": [2, 0], "b": [1, 1]}, "derived anew, it is the same"


@pytest.mark.parametrize("ts, outcome", [(1090.0, "applied"), (1150.0, "late")])
def test_an_exposure_is_kept_for_the_last_reward_of_its_life(ts: float, outcome: str) -> None:
    made = forgetful(exposure("u"), exposure("v", ts=1200.0), reward("v", 0.0, ts=1195.0), reward("w", ts=1200.0)).chunk(
        sweep=100
    )
    made.chunk(reward("u", ts=ts))
    assert made.counters()[f"rewards.{outcome}"] == 1 + (outcome == "applied")


def test_a_reward_is_kept_for_the_last_exposure_of_its_life() -> None:
    """Which is a clock skew younger."""
    made = forgetful(reward("u", ts=1001.0), exposure("v", ts=1156.0), reward("v", ts=1156.0)).chunk(sweep=100)
    made.chunk(exposure("u", arm="b", ts=1006.0))
    assert sums(made) == {"a": [1, 1], "b": [1, 1]}


@pytest.mark.parametrize("reached, rewards", [(1240.0, 1), (1240.1, 2)])
def test_an_id_names_another_reward_after_the_horizon_of_the_first(reached: float, rewards: int) -> None:
    spec = experiment(metrics={"spend": {"type": "value", "window": "100s", "resolution": 1}}, objective="spend", grace="50s")
    first, second = (reward("u", v, metric="spend", reward_id="r", ts=ts) for v, ts in ((3.0, 1090.0), (5.0, 1200.0)))
    other = reward("v", 0.0, metric="spend", ts=reached)
    made = partition(exposure("u"), first, exposure("w", ts=1190.0), exposure("u", ts=1199.0), other, second, of=[spec])
    assert sums(made) == {"a": [3, 8 if rewards == 2 else 5]}
    assert made.counters()["rewards.applied"] == rewards
    made.chunk(exposure("u", ts=1198.0))
    assert sums(made) == {"a": [3, 8 if rewards == 2 else 5]}, "derived anew, it is the same"


@pytest.mark.parametrize("swept", [False, True])
def test_a_unit_that_comes_back_after_its_deadline_begins_anew(swept: bool) -> None:
    """Found by the sweep or not, and in the chunk that brings it back or before."""
    made = forgetful(exposure("u"), reward("u", ts=1001.0), exposure("v", ts=3000.0), reward("v", ts=3000.0))
    if swept:
        made.fold.evict([(b"u", made.stored[b"u"])])
    made.chunk(exposure("u", arm="b", ts=3001.0))
    assert sums(made) == {"a": [2, 2], "b": [1, 0]}
    assert made.counters() == {"exposures.applied": 3, "rewards.applied": 2}
    assert len(unpack(made.stored[b"u"])[1]) == 1


@pytest.mark.parametrize("swept", [False, True])
def test_rewards_that_waited_in_a_record_that_begins_anew_are_unmatched_once(swept: bool) -> None:
    made = forgetful(reward("u", ts=1001.0), exposure("v", ts=3000.0), reward("v", ts=3000.0))
    if swept:
        made.fold.evict([(b"u", made.stored[b"u"])])
    made.chunk(exposure("u", ts=3001.0), reward("u", ts=3002.0))
    assert made.counters() == {"exposures.applied": 2, "rewards.applied": 2, "rewards.unmatched": 1}


def test_a_record_survives_its_packing() -> None:
    rewards = {"r": [0, 1.0, -2.5], ("r", 0.5, 1): [1, 0.5, 2.0, 7.25]}
    record = [1_764_000_000, [[0, 1.5, "x", 2_000_000, [0, -(2**62)]], [3, 2.0, "y", 1, None]], rewards]
    assert unpack(pack(record)) == record


def test_the_largest_record_of_a_unit_fits_a_batch() -> None:
    """Or one hot key would stop its partition for good: a commit that cannot be written is tried again for ever."""
    made = Partition([experiment(**SPEND)])
    ts = 1e9 / 7
    made.chunk(exposure("u", exposure_id="🙂" * EVENT_ID_MAX, segment="x", ts=ts), reward("v", metric="spend", ts=ts + 3700))
    ids = ["🙂" * (EVENT_ID_MAX - 4) + f"{i:04}" for i in range(REWARDS_MAX)]
    made.chunk(*(reward("u", value=0.01, metric="spend", ts=ts + 10, reward_id=i) for i in ids))
    assert made.counters() == {"exposures.applied": 1, "rewards.applied": REWARDS_MAX, "rewards.waiting": 1}
    assert all(len(stored) == 4 for stored in unpack(made.stored[b"u"])[2].values()), "each with a mark"
    assert len(made.stored[b"u"]) < 0.7 * LedgerSettings(Connection(), Path()).batch_bytes
