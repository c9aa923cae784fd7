"""The bench of the simulator: medians, ratios of CPU seconds, and what is no answer."""

from __future__ import annotations

import pytest
from rich.console import Console

from tests.bench.simulate import Row, as_table, row_of, verdicts

UNITS = 1_000_000


def runs(*cpu_s: float, regret: float = 1000.0) -> list[dict[str, float]]:
    return [{"units": UNITS, "seconds": 2 * each, "cpu_s": each, "regret": regret} for each in cpu_s]


def simulated(thousand: float, hundred: float, obp: float = 20.0, river: float = 24.0) -> list[Row]:
    ours = {"simulator, batches of 1000": thousand, "simulator, batches of 100": hundred}
    return [row_of(who, runs(each), UNITS, 1000) for who, each in {"obp": obp, "river": river, **ours}.items()]


def test_a_row_is_the_median_of_its_runs() -> None:
    row = row_of("obp", runs(3, 1, 2), UNITS, UNITS)
    assert (row.cpu_s, row.seconds, row.us_per_unit, row.wrong) == (2, 4, 2, False)


def test_whoever_learns_nothing_is_wrong() -> None:
    assert row_of("obp", runs(1, regret=0.018 * UNITS), UNITS, UNITS).wrong
    assert row_of("obp", [{**runs(1)[0], "units": UNITS - 1}], UNITS, UNITS).wrong


@pytest.mark.parametrize("thousand, hundred, met", [(1.0, 8.0, [True] * 4), (1.5, 11.0, [False, True, False, True])])
def test_the_promise_is_kept_against_each_peer(thousand: float, hundred: float, met: list[bool]) -> None:
    found = verdicts(simulated(thousand, hundred))
    assert [verdict.met for verdict in found] == met
    assert found[0].measured == pytest.approx(20 / thousand)


def test_the_table_has_a_line_for_each_program() -> None:
    console = Console(width=120)
    with console.capture() as shown:
        console.print(as_table(simulated(1.0, 8.0)))
    assert all(name in shown.get() for name in ("obp", "river", "batches of 1000", "batches of 100"))
