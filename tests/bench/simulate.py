"""The simulator, which decides with production's `decide`, beside loops over the Thompson sampling of river and obp.

Ten Bernoulli arms, one of them better, a million units. The peers pull, see a reward and update a million times. The simulator
decides once a batch, on the floor-less Thompson policy, and draws what the batch brings; its answer is that of Thompson sampling
with batched updates. Each program has a process of its own, its start is not in the clock, and ratios are of CPU seconds, which
other load on the machine moves least. The programs take turns; figures are medians.

Regret is of single runs, which differ much; what says WRONG has lost as much as an even split would.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median

import msgspec
from rich.table import Table

from allocator.simulate import Plan, load_world, run
from allocator.spec import load_experiment
from tests.bench.report import Verdict, at_least, machine, new_table, progress, publish, seconds

__all__ = ["Row", "add_options", "as_table", "main", "verdicts"]

UNITS, REPEAT = 1_000_000, 3
BEST, GAP, ARMS = 0.5, 0.02, 10
"""Chapelle & Li (2011), Figure 1: the harder of its two worlds with ten arms."""
PEERS = ("obp", "river")
TARGETS = {1000: 15.0, 100: 2.0}
"""Batch → at least so many times as fast as either peer."""
OFF = {"floor": 0, "warmup": 0, "max_shift": 1, "dead_band": 0}


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One program, medians over its runs. `decisions` is how often it decided in a run."""

    who: str
    decisions: int
    seconds: float
    cpu_s: float
    us_per_unit: float
    regret: float
    wrong: bool


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command line of this bench."""
    parser.add_argument("--units", type=int, default=UNITS, help=f"in a run (default {UNITS:,})")
    parser.add_argument("--repeat", type=int, default=REPEAT, help=f"runs of each program (default {REPEAT})")


def main(options: argparse.Namespace) -> bool:
    """Run everybody in turns and print a table. Whether everybody has learnt something."""
    before = machine()
    peers = {who: ["tests.bench.peers.bandits", who] for who in PEERS}
    ours = {f"simulator, batches of {batch}": ["tests.bench.simulate", str(batch)] for batch in TARGETS}
    found: dict[str, list[dict[str, float]]] = {who: [] for who in (*peers, *ours)}
    for seed in range(options.repeat):
        for who, command in {**peers, **ours}.items():
            found[who].append(_measured(command, options.units, seed))
            progress.print(f"{who}: {found[who][-1]['cpu_s']:.2f} s of CPU")
    decisions = {
        **dict.fromkeys(peers, options.units),
        **{who: -(-options.units // b) for who, b in zip(ours, TARGETS, strict=True)},
    }
    rows = [row_of(who, runs, options.units, decisions[who]) for who, runs in found.items()]
    publish({"bench": "simulate", "rows": rows, **before}, [as_table(rows)], verdicts(rows), as_json=options.json)
    return not any(row.wrong for row in rows)


def rates() -> list[float]:
    """The arms' true rates."""
    return [BEST, *[BEST - GAP] * (ARMS - 1)]


def row_of(who: str, runs: Sequence[dict[str, float]], units: int, decisions: int) -> Row:
    """The runs of one program as one row."""
    cpu_s, regret = median(run["cpu_s"] for run in runs), median(run["regret"] for run in runs)
    return Row(
        who=who,
        decisions=decisions,
        seconds=median(run["seconds"] for run in runs),
        cpu_s=cpu_s,
        us_per_unit=cpu_s / units * 1e6,
        regret=regret,
        wrong=regret >= units * GAP * (ARMS - 1) / ARMS or any(run["units"] != units for run in runs),
    )


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """What the project has promised of these figures."""
    cpu_s = {row.who: row.cpu_s for row in rows}
    return [
        at_least(f"batches of {batch}:", cpu_s[peer] / cpu_s[f"simulator, batches of {batch}"], bound, f"× {peer}")
        for batch, bound in TARGETS.items()
        for peer in PEERS
    ]


def as_table(rows: Sequence[Row]) -> Table:
    """For a terminal."""
    cpu_s = {row.who: row.cpu_s for row in rows}
    title = f"Thompson sampling on {ARMS} arms, {rows[0].decisions:,} units"
    table = new_table(title, ["who"], ("decisions", "CPU s", "wall s", "µs a unit", *(f"×{peer}" for peer in PEERS), "regret"))
    for row in rows:
        times = (f"{cpu_s[peer] / row.cpu_s:.3g}" for peer in PEERS)
        regret = "[bold red]WRONG[/]" if row.wrong else f"{row.regret:,.0f}"
        table.add_row(
            row.who, f"{row.decisions:,}", seconds(row.cpu_s), seconds(row.seconds), f"{row.us_per_unit:.2f}", *times, regret
        )
    return table


def _measured(command: Sequence[str], units: int, seed: int) -> dict[str, float]:
    arguments = [sys.executable, "-m", *command, str(units), str(seed), *map(str, rates())]
    answer = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return measured


def _play(batch: int, units: int, seed: int, rates: Sequence[float]) -> None:
    """One run of the simulator, in a process of its own."""
    arms = [f"arm-{k}" for k in range(len(rates))]
    spec = {"experiment": "bench", "arms": arms, "metrics": {"click": "binary"}, "constraints": OFF}
    experiment = load_experiment(spec)
    world = load_world({"arms": {arm: {"click": rate} for arm, rate in zip(arms, rates, strict=True)}}, experiment)
    run(experiment, world, Plan(horizon=batch, batch=batch, seed=seed))  # SciPy is loaded when it is first used
    wall, cpu = time.perf_counter(), time.process_time()
    trace = run(experiment, world, Plan(horizon=units, batch=batch, seed=seed))
    took = {"seconds": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    print(json.dumps({"units": units, **took, "regret": float(trace.regret[-1])}))


if __name__ == "__main__":
    _play(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), [float(rate) for rate in sys.argv[4:]])
