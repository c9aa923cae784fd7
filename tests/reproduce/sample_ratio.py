"""Sample-ratio checks under moving weights: false alarms, and a loss of 5 % in one arm."""

from __future__ import annotations

from allocator.simulate import Estimate
from tests.reproduce.rows import Answer, Row, Study, exactly
from tests.reproduce.srm import EARLY, simulate

__all__ = ["STUDIES"]

SECTION, SIMULATED = "Sample ratio under moving weights", "simulated, 200 batches of 500"
HOW = "200 batches of 500, weights that follow the measured rates, α = .001"
LOSS = 0.05
UNSTATED = (
    "The source of the 5 % loss says neither how many arms there are nor how far their weights have moved, on which depends "
    "how soon a loss shows; with two arms instead of four three in five are found by then."
)


def nothing_lost(runs: int, seed: int) -> Answer:
    """Four arms; every alarm is a false one."""
    found = simulate(runs, seed)
    return {"e": Estimate(*found.e_process), "expected": Estimate(*found.expected_counts), "even": Estimate(*found.even_split)}


def five_percent_lost(runs: int, seed: int) -> Answer:
    """In the second of four arms."""
    found = simulate(runs, seed, LOSS)
    return {"ever": Estimate(*found.e_process), "early": Estimate(*found.early), "right": exactly(found.right_arm)}


NULL = (
    Row("e", "nothing lost: e-process ever alarms", 0.001, 0.0, "its guarantee; simulated 0 / 2000", "S", "≤"),
    Row("expected", "nothing lost: chi-square against expected counts, peeked at", 0.001, 0.0, "it should fail", "C", "≥"),
    Row("even", "nothing lost: chi-square against the first split", 1.0, 0.001, "it should fail always", "S"),
)
LOST = (
    Row("ever", "5 % lost in one arm: found by batch 200", 0.67, 0.0, SIMULATED, "S", "≥"),
    Row("early", f"5 % lost in one arm: found by batch {EARLY}", 0.67, 0.03, SIMULATED, "S", differs=UNSTATED),
    Row("right", "5 % lost in one arm: alarms that name it", 0.99, 0.0, "demanded", "C", "≥"),
)
STUDIES: tuple[Study, ...] = (
    Study("sample-ratio-null", SECTION, HOW, NULL, nothing_lost, 2000, 2000, 2.0),
    Study("sample-ratio-loss", SECTION, HOW, LOST, five_percent_lost, 2000, 200, 4.0),
)
