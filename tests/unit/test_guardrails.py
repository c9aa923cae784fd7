"""Guardrails: which arm is found to be worse than tolerated, and that few are that are not."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from allocator.evidence import Evidence
from allocator.experiment import Experiment
from allocator.guardrails import TUNED_AT, GuardrailReading, Means, guardrail_readings, means_of
from allocator.inference import Design, Proportion, early_detection
from allocator.inference.boundaries import one_sided_normal_bound, one_sided_normal_log_mixture
from allocator.moments import Moments, layout_of
from allocator.spec import load_experiment
from tests.trained import evidence_of, sums_of

ALPHA = 0.05


def spec(guardrails: dict[str, Any], arms: str = "ab", **changes: Any) -> Experiment:
    return load_experiment(
        {
            "experiment": "x",
            "arms": list(arms),
            "metrics": {"buys": "binary", "latency": {"type": "value", "direction": "down", "resolution": 1}},
            "objective": "buys",
            "guardrails": guardrails,
            **changes,
        }
    )


def read(experiment: Experiment, cells: Any) -> dict[tuple[str, str], GuardrailReading]:
    return {(found.metric, found.arm): found for found in guardrail_readings(experiment, evidence_of(experiment, cells))}


def rates(**arms: tuple[int, int]) -> dict[tuple[str, int, str], list[int]]:
    """Of `buys`, by arm: units and successes."""
    return {("", 0, arm): sums_of(n, [hits, 0]) for arm, (n, hits) in arms.items()}


# -- one look --------------------------------------------------------------------------------------------------------------------


def test_an_arm_that_is_clearly_worse_breaks_it_and_a_better_one_does_not() -> None:
    experiment = spec({"buys": "5%"}, "abc")
    found = read(experiment, rates(a=(5000, 1000), b=(5000, 700), c=(5000, 1300)))
    worse, better = found["buys", "b"], found["buys", "c"]
    assert worse.broken
    assert not better.broken
    assert worse.estimate == pytest.approx(-0.06)
    assert worse.estimate < worse.bound < worse.allowed == pytest.approx(-0.05 * 0.2)
    assert better.bound > better.estimate > 0 > better.allowed
    assert worse.units == 5000
    assert worse.assumptions[0] == "Looked at all the time, and valid at any time at 0.05 / 2 for each arm."


def test_worse_is_higher_where_lower_is_better() -> None:
    experiment = spec({"latency": 2})
    cells = {
        ("", 0, arm): sums_of(5000, [0, 5000 * mean], [0, 5000 * (mean * mean + 400)]) for arm, mean in (("a", 100), ("b", 105))
    }
    slow = read(experiment, cells)["latency", "b"]
    assert slow.broken
    assert slow.estimate == pytest.approx(5)
    assert slow.allowed == 2 < slow.bound < 5
    assert not read(spec({"latency": 6}), cells)["latency", "b"].broken
    assert not read(spec({"latency": "6%"}), cells)["latency", "b"].broken
    assert read(spec({"latency": "2%"}), cells)["latency", "b"].broken


@pytest.mark.parametrize("tolerance, broken", [("5%", True), ("15%", False)])
def test_a_relative_tolerance_is_of_the_size_of_control_where_control_is_negative(tolerance: str, broken: bool) -> None:
    """Up from -100 is better: -110 is 10 % worse."""
    experiment = spec({"latency": tolerance}, metrics={"buys": "binary", "latency": {"type": "value", "resolution": 1}})
    cells = {
        ("", 0, arm): sums_of(5000, [0, 5000 * mean], [0, 5000 * (mean * mean + 400)]) for arm, mean in (("a", -100), ("b", -110))
    }
    found = read(experiment, cells)["latency", "b"]
    assert found.broken == broken
    assert found.allowed == pytest.approx(-100 * float(tolerance[:-1]) / 100)


@pytest.mark.parametrize("few", ["a", "b"])
def test_no_verdict_before_arm_and_control_have_their_units(few: str) -> None:
    experiment = spec({"buys": {"tolerance": "1%", "min_units": 500}})
    cells = rates(a=(5000, 2500), b=(5000, 0)) | rates(**{few: (499, 400 if few == "a" else 0)})
    found = read(experiment, cells)["buys", "b"]
    assert not found.broken
    assert math.isnan(found.bound)
    assert found.refusal == "worth 499 equally weighted units, 500 are demanded of the arm and of control"


def test_units_count_by_their_weight() -> None:
    """400 units of which 10 outweigh the others are worth few."""
    experiment = spec({"buys": "1%"})
    odd = [a + b for a, b in zip(sums_of(390, [0, 0], weight=1), sums_of(10, [0, 0], weight=1000), strict=True)]
    cells = rates(a=(400, 300), b=(1, 0)) | {("", 0, "b"): odd}
    found = read(experiment, cells)["buys", "b"]
    assert found.refusal.startswith("worth 11 equally weighted units")


def test_nothing_is_said_without_units_or_while_all_values_are_equal() -> None:
    experiment = spec({"buys": "1%"})
    nothing = read(experiment, {})["buys", "b"]
    assert math.isnan(nothing.estimate)
    assert not nothing.broken
    assert read(experiment, rates(a=(500, 0), b=(500, 0)))["buys", "b"].refusal.startswith("all values so far are equal")
    assert guardrail_readings(spec({"buys": "1%"}, "a"), Evidence(("a",), 2, {})) == ()


def test_only_the_pairs_asked_for_are_read() -> None:
    experiment = spec({"buys": "1%", "latency": 1}, "abc")
    evidence = evidence_of(experiment, rates(a=(500, 100), b=(500, 10), c=(500, 100)))
    found = guardrail_readings(experiment, evidence, among={("buys", "c"), ("latency", "b")})
    assert [(reading.metric, reading.arm) for reading in found] == [("buys", "c"), ("latency", "b")]
    broken = guardrail_readings(experiment, evidence, broken_only=True)
    assert [(reading.metric, reading.arm) for reading in broken] == [("buys", "b")]


def test_control_counts_only_in_the_periods_in_which_the_arm_had_units() -> None:
    """While b was away control did twice as well: with those units b would look half as good as it is."""
    experiment = spec({"buys": "5%"})
    together = {("", 1, "a"): sums_of(4000, [800, 0]), ("", 1, "b"): sums_of(4000, [800, 0])}
    alone = {("", 0, "a"): sums_of(20000, [8000, 0])}
    assert read(experiment, together | alone) == read(experiment, together)
    assert not read(experiment, together | alone)["buys", "b"].broken
    mixed = {("", 1, "a"): [x + y for x, y in zip(together["", 1, "a"], alone["", 0, "a"], strict=True)]}
    assert read(experiment, together | mixed)["buys", "b"].broken, "the control: in one period they would count"


def test_another_reader_is_all_that_another_kind_of_metric_needs() -> None:
    experiment = spec({"buys": "5%"})
    evidence = evidence_of(experiment, rates(a=(5000, 1000), b=(5000, 1000)))

    def halved(metric: str, sets: Any) -> Means:
        found = means_of(experiment, metric, sets)
        found.mean[:1] /= 2
        return found

    assert guardrail_readings(experiment, evidence, halved, broken_only=True)[0].arm == "b"
    assert not guardrail_readings(experiment, evidence, broken_only=True)


def test_a_metric_made_of_others_is_guarded_by_the_delta_method() -> None:
    """A sum of one is that metric; a ratio of two that fall alike stays."""
    derived = {"same": {"sum": {"buys": 1}}, "share": {"ratio": ["buys", "visits"]}}
    metrics = {"buys": "binary", "visits": "count", **derived}
    experiment = spec({"buys": "5%", "same": "5%", "share": "5%"}, metrics=metrics)
    cells = {("", 0, arm): sums_of(5000, [hits, hits * 5], [hits, hits * 25]) for arm, hits in (("a", 1000), ("b", 700))}
    for sums in cells.values():
        sums[layout_of(2).cross[0][1]] = sums[1] * 5
    found = read(experiment, cells)
    buys, same, share = (found[metric, "b"] for metric in ("buys", "same", "share"))
    assert buys.broken
    assert same.broken
    assert (same.estimate, same.bound, same.allowed) == pytest.approx((buys.estimate, buys.bound, buys.allowed))
    assert not share.broken
    assert share.estimate == pytest.approx(0)
    assert share.control_mean == pytest.approx(0.2)


def test_means_keep_their_digits_far_from_zero() -> None:
    experiment = spec({"latency": 1})
    values = [10**9 + d for d in (-1, 0, 1, 0)] * 100
    sums = sums_of(400, [0, sum(values)], [0, sum(v * v for v in values)])
    found = means_of(experiment, "latency", [Moments(2, tuple(sums))])
    assert found.mean[0] == 1e9
    assert found.variance[0] == pytest.approx(0.5 / 400)
    assert found.effective[0] == pytest.approx(400)


def test_the_mixture_reaches_its_threshold_at_its_bound() -> None:
    v = np.array([0.1, 1.0, 50.0, 1e6])
    for alpha in (0.3, 0.05, 1e-4):
        bound = one_sided_normal_bound(v, alpha, 20.0)
        np.testing.assert_allclose(one_sided_normal_log_mixture(bound, v, 20.0), -math.log(alpha), rtol=1e-9)


# -- whole runs, simulated -------------------------------------------------------------------------------------------------------


def played(
    experiment: Experiment,
    true: list[float],
    runs: int,
    batches: int,
    batch: int,
    seed: int,
    floor: float = 0.05,
    drift: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Units in all at which each run's arms broke the guardrail `buys`, shape (runs, arms), infinite for never; and whether an
    ordinary one-sided test at 5 % of the difference of means, repeated at every look from 100 units on, ever did, shape (runs,).

    Looked at after every batch. Allocation follows the arms' own results by Thompson sampling, so it moves with the noise that
    the guardrail looks at; or is even with floor 1/K. `drift`: all rates swing by that share.
    """
    rng, k = np.random.default_rng(seed), len(true)
    tolerated = experiment.guardrails["buys"].relative
    layout, names = layout_of(2), experiment.arm_ids
    at = (0, 1, layout.square[0], layout.w, layout.w2, layout.wy, layout.w2y, layout.w2y2)
    sums, found = np.zeros((runs, k, 8)), np.full((runs, k), np.inf)
    naive = np.zeros(runs, dtype=bool)
    for t in range(batches):
        hits, n = sums[:, :, 1], sums[:, :, 0]
        draws = rng.beta(1 + hits, 1 + n - hits, size=(32, runs, k))
        best = np.stack([(draws.argmax(axis=-1) == j).mean(axis=0) for j in range(k)], axis=-1)
        p = floor + (1 - k * floor) * best
        w = np.round(1e6 / p)
        given = np.stack([rng.multinomial(batch, row) for row in p])
        y = rng.binomial(given, np.array(true) * (1 + drift * math.sin(t / 5)))
        sums += np.stack([given, y, y, given * w, given * w * w, y * w, y * w * w, y * w * w], axis=-1)
        for run in np.flatnonzero(np.isinf(found[:, 1:]).any(axis=1)):
            by_arm = {}
            for j, name in enumerate(names):
                row = layout.empty()
                for place, value in zip(at, sums[run, j].tolist(), strict=True):
                    row[place] = round(value)
                by_arm[name] = row
            for reading in guardrail_readings(experiment, Evidence(names, 2, {"": by_arm}), broken_only=True):
                j = names.index(reading.arm)
                found[run, j] = min(found[run, j], (t + 1) * batch)
        n, rate = sums[:, :, 0], (sums[:, :, 1] + 0.5) / (sums[:, :, 0] + 1)
        v = rate * (1 - rate) / np.maximum(n, 1)
        z = (rate[:, 1:] - (1 - tolerated) * rate[:, :1]) / np.sqrt(v[:, 1:] + v[:, :1])
        naive |= (z * (np.minimum(n[:, 1:], n[:, :1]) >= 100)).min(axis=1) < -1.645
    return found, naive


@pytest.mark.parametrize(
    "true, tolerance, drift",
    [([0.1, 0.1, 0.1], 0, 0.0), ([0.02, 0.02], 0, 0.0), ([0.2, 0.19], "5%", 0.0), ([0.2, 0.2], 0, 0.6)],
    ids=["equal arms", "a low rate", "at the tolerance", "rates that drift"],
)
def test_false_alarms_over_a_run_stay_below_alpha(true: list[float], tolerance: Any, drift: float) -> None:
    experiment = spec({"buys": tolerance}, "abc"[: len(true)])
    runs = 80
    found, naive = played(experiment, true, runs=runs, batches=35, batch=400, seed=11, drift=drift)
    assert np.isfinite(found).any(axis=1).sum() <= runs * ALPHA
    assert naive.sum() > 2 * runs * ALPHA, "the control: looking as often with an ordinary test"


def test_an_arm_ten_percent_worse_is_found_about_when_planning_says() -> None:
    """.18 against .20 where 2 % are tolerated, at even shares: 17 000 units in all on average, 27 000 with probability .8.

    Planning looks all the time; looking every 1000 units takes about two looks more.
    """
    experiment = spec({"buys": {"tolerance": "2%", "action": "evict"}})
    plan = early_detection(
        Proportion(0.2), -0.02 + 0.02 * 0.2, Design((0.5, 0.5), alpha=ALPHA, power=0.8), tuned_at=2 * TUNED_AT * 100
    )
    assert plan.mean_total == pytest.approx(17_000, rel=0.01)
    assert plan.total == pytest.approx(27_300, rel=0.01)
    found = played(experiment, [0.2, 0.18], runs=100, batches=110, batch=1000, seed=5, floor=0.5)[0][:, 1]
    assert np.isfinite(found).all()
    assert found.mean() == pytest.approx(plan.mean_total + 2000, rel=0.15)
    assert np.mean(found <= plan.total + 2000) == pytest.approx(0.8, abs=0.08)


# -- the spec --------------------------------------------------------------------------------------------------------------------


def test_every_default_is_filled_in_and_the_record_reads_back() -> None:
    experiment = spec({"buys": "2.5 %", "latency": {"tolerance": 3, "action": "cap", "cap": "7%"}}, overruled={"buys": ["b"]})
    assert msgspec.to_builtins(experiment.guardrails["buys"]) == {
        "tolerance": "2.5%", "action": "alert", "min_units": 100, "alpha": 0.05, "cap": None,
    }  # fmt: skip
    latency = experiment.guardrails["latency"]
    assert (latency.absolute, latency.relative, latency.cap) == (3.0, 0.0, 0.07)
    assert (experiment.guardrails["buys"].absolute, experiment.guardrails["buys"].relative) == (0.0, 0.025)
    assert spec({"buys": {"tolerance": 0.1, "action": "cap"}}).guardrails["buys"].cap == 0.05
    assert experiment.overruled == {"buys": ("b",)}
    record = msgspec.json.decode(msgspec.json.encode(experiment))
    assert load_experiment(record) == experiment


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"guardrails": ["buys"]}, "guardrails: ['buys']: expected a mapping from metrics to their guardrails"),
        ({"guardrails": {"bys": "1%"}}, "guardrails.bys: 'bys': expected a metric: one of buys, latency; did you mean 'buys'?"),
        ({"guardrails": {"buys": {}}}, "guardrails.buys.tolerance: 'missing': expected a share of control's mean such as 1%"),
        ({"guardrails": {"buys": "1 percent"}}, "guardrails.buys.tolerance: '1 percent': expected a share"),
        ({"guardrails": {"buys": -1}}, "guardrails.buys.tolerance: -1: expected a share"),
        ({"guardrails": {"buys": True}}, "guardrails.buys.tolerance: True: expected a share"),
        ({"guardrails": {"buys": "100%"}}, "guardrails.buys.tolerance: '100%': expected less than 100%"),
        (
            {"guardrails": {"buys": {"tolerance": 0, "acton": "stop"}}},
            "expected a field of a guardrail: one of tolerance, action",
        ),
        (
            {"guardrails": {"buys": {"tolerance": 0, "action": "evit"}}},
            "'evit': expected an action: one of alert, freeze, cap, evict",
        ),
        ({"guardrails": {"buys": {"tolerance": 0, "min_units": 1}}}, "min_units: 1: expected a whole number of at least 2"),
        ({"guardrails": {"buys": {"tolerance": 0, "alpha": 0}}}, "alpha: 0: expected a probability above 0, below 1"),
        ({"guardrails": {"buys": {"tolerance": 0, "cap": "5%"}}}, "cap: '5%': expected nothing: only action cap limits a share"),
        (
            {"guardrails": {"buys": {"tolerance": 0, "action": "cap", "cap": "1%"}}, "constraints": {"floor": 0.02}},
            "cap: 0.01: expected a share such as 5%, above 0, at least constraints.floor, 0.02, and below 1",
        ),
        ({"overruled": {"buys": ["b"]}}, "overruled.buys: 'buys': expected nothing: the spec has no guardrails"),
        (
            {"guardrails": {"buys": "1%"}, "overruled": {"buys": ["a"]}},
            "overruled.buys[0]: 'a': expected an arm other than control",
        ),
        ({"guardrails": {"buys": "1%"}, "overruled": {"buys": "b"}}, "overruled.buys: 'b': expected a list of arms"),
        ({"overruled": ["buys"]}, "overruled: ['buys']: expected a mapping from guardrails to lists of arms"),
    ],
)
def test_what_is_wrong_is_told_with_path_value_and_expectation(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(Exception, match="expected") as error:
        spec(changes.pop("guardrails", {}), **changes)
    assert told in str(error.value)
    assert len(error.value.errors) == 1  # type: ignore[attr-defined]
