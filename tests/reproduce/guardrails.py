"""Guardrails: false alarms over a run that somebody looks at all the time, and how soon a worse arm is found."""

from __future__ import annotations

from functools import partial

import numpy as np

from allocator.guardrail import Guardrail
from allocator.guardrails import TUNED_AT, Means, broken
from allocator.inference import Design, EarlyDetection, Proportion, early_detection
from allocator.inference.period_sums import PeriodSums
from allocator.simulate import Estimate
from tests.reproduce.coverage import ALPHA, World, play
from tests.reproduce.rows import Answer, Row, Study

__all__ = ["STUDIES"]

SECTION = "Guardrails"
CHUNK = 500
MIN_UNITS = 100
SUMS = ("n", "y", "y2", "w", "w2", "wy", "w2y", "w2y2")

WORLDS: dict[str, tuple[World, Guardrail]] = {
    "equal": (World(), Guardrail(tolerance=0.0)),
    "rare": (World(rates=(0.01, 0.01, 0.01), size=400), Guardrail(tolerance=0.0)),
    "at-tolerance": (World(rates=(0.2, 0.19), floor=0.05), Guardrail(tolerance="5%")),
    "drift": (World(drift=0.6), Guardrail(tolerance=0.0)),
    "heavy": (World(rates=(1.0, 1.0, 1.0), sigma=1.5), Guardrail(tolerance=0.0)),
}
WORSE = World(rates=(0.2, 0.18), batches=440, size=250, floor=0.5)
WORSE_THAN_TOLERATED = Guardrail(tolerance="2%")


def first_found(world: World, guardrail: Guardrail, runs: int, seed: int) -> np.ndarray:
    """Units in all at which each run's arms broke it, looked at after every batch; shape (runs, arms - 1), infinite for never."""
    found = [_first_found(world, guardrail, min(CHUNK, runs - start), (seed, start)) for start in range(0, runs, CHUNK)]
    return np.concatenate(found)


def _first_found(world: World, guardrail: Guardrail, runs: int, seed: tuple[int, int]) -> np.ndarray:
    sums = play(world, runs, seed)
    means = Means.of(PeriodSums(*(np.cumsum(getattr(sums, name), axis=1) for name in SUMS), sums.present))
    arms, first = len(world.rates), []
    for k in range(1, arms):
        arm, control = (Means(*(getattr(means, name)[..., j].ravel() for name in Means.__slots__)) for j in (k, 0))
        fired = broken(guardrail, arm, control, down=False, arms=arms).reshape(runs, world.batches)
        first.append(np.where(fired.any(axis=1), (1 + fired.argmax(axis=1)) * world.size, np.inf))
    return np.stack(first, axis=1)


def false_alarms(runs: int, seed: int, *, names: tuple[str, ...]) -> Answer:
    """Share of the runs in which any arm broke it."""
    answer = {}
    for name in names:
        share = float(np.isfinite(first_found(*WORLDS[name], runs, seed)).any(axis=1).mean())
        answer[name] = Estimate(share, (share * (1 - share) / runs) ** 0.5)
    return answer


def detection(runs: int, seed: int) -> Answer:
    """Units in all until an arm of .18 breaks a guardrail of 2 % against .20, and whether it has by when planning says."""
    units = first_found(WORSE, WORSE_THAN_TOLERATED, runs, seed)[:, 0]
    by = float((units <= _planned().total).mean())
    seen = np.minimum(units, WORSE.batches * WORSE.size)
    return {
        "mean": Estimate(float(seen.mean()), float(seen.std() / runs**0.5)),
        "power": Estimate(by, (by * (1 - by) / runs) ** 0.5),
    }


def _planned() -> EarlyDetection:
    design = Design((0.5, 0.5), alpha=ALPHA, power=0.8)
    return early_detection(Proportion(0.2), -0.02 + 0.02 * 0.2, design, tuned_at=2 * TUNED_AT * MIN_UNITS)


def _alarms(name: str, how: str, rows: dict[str, str], seconds: float) -> Study:
    found = tuple(Row(key, f"{what}: any alarm in a run", ALPHA, 0.0, "its guarantee", "C", "≤") for key, what in rows.items())
    return Study(name, SECTION, how, found, partial(false_alarms, names=tuple(rows)), 4000, 200, seconds)


HOW = "a look after each of 100 batches, Thompson moving on the same metric, α = .05, no tolerance unless said"
EQUAL = {
    "equal": "three arms of .1",
    "rare": "three arms of .01",
    "at-tolerance": ".19 against .20 where 5 % are tolerated",
    "drift": "three arms of .1 that swing by 60 %",
    "heavy": "log-normal values, σ = 1.5",
}
LATER = "Planning looks all the time. Looked at every 1000 units it takes 19 500 on average."
FOUND = (
    Row("mean", "units in all until .18 is found against .20, 2 % tolerated", 17_000, 1000, "early_detection", "C", note=LATER),
    Row("power", "found by 27 300 units", 0.8, 0.02, "early_detection", "C"),
)
STUDIES: tuple[Study, ...] = (
    _alarms("guardrail-alarms", HOW, EQUAL, 60.0),
    Study("guardrail-detection", SECTION, "even shares, a look every 250 units", FOUND, detection, 1000, 100, 20.0),
)
