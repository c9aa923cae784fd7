"""Many experiments on one worker: how old is what routers know, at a steady rate of events?

A hundred experiments of four arms, five metrics and ten segments, 20 000 events/s in all: 3333 units a second, each with an
exposure and, a second later, a reward of every metric. Arms are equally good and nothing holds the weights (no warm-up, floor,
dead-band or limited shift), so that every decision is published: `publish_interval` is 1 s, the default.

The publish age is that of `latency`, asked of the same topics in the same way: from when a reward was due to be sent until a
router in another process than the worker's has the first weights of its experiment that contain it. So an event that has just
missed a publication waits for the next one, and that wait, up to `publish_interval`, is in it. Beside it stands the age of the
newest reward in weights when they arrive, which leaves that wait out.

Two jobs: `thompson`, where segments are read out and one set of weights is published, and `per-segment`, where each segment
and the rest have weights of their own: twelve decisions and publications in the place of one.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import httpx
import msgspec
from rich.table import Table

from streams.topics import Topics
from tests.bench.latency import REWARD_AFTER_S, Found, Load, measure, metric_name
from tests.bench.protocol import peak_rss_mib
from tests.bench.report import Verdict, at_most, machine, new_table, progress, publish
from tests.bench.stage import Stage, stage
from tests.bench.worker import TimedWorker
from tests.reference import ARMS, PARTITIONS
from tests.sources import make_topics

__all__ = ["Row", "add_options", "main"]

RATE, SECONDS, WARM_UP_S = 20_000, 30.0, 10.0
EXPERIMENTS, METRICS, SEGMENTS = 100, 5, 10
POLICIES = ("thompson", "per-segment")
P99_MS_MAX = 2000.0


class Row(msgspec.Struct, kw_only=True):
    """One job."""

    policy: str
    found: Found
    rss_mib: float
    decide_ms: float
    """Of one experiment with its segments, on average."""
    decides_per_s: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command line of this bench."""
    parser.add_argument("--rate", type=int, default=RATE, help=f"events a second (default {RATE:,})")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"how long, after the warm-up (default {SECONDS:g})")
    parser.add_argument("--warm-up", type=float, default=WARM_UP_S, help=f"seconds left out (default {WARM_UP_S:g})")
    parser.add_argument("--experiments", type=int, default=EXPERIMENTS, help=f"default {EXPERIMENTS}")
    parser.add_argument("--publish-interval", default="1s", help="of every experiment (default 1s)")
    parser.add_argument("--policy", choices=POLICIES, help="one job instead of both")


def main(options: argparse.Namespace) -> bool:
    """Run the jobs and print a column each. Whether every reward was seen in weights."""
    before = machine()
    seconds = options.warm_up + options.seconds + REWARD_AFTER_S
    load = Load.of(options.rate, seconds, options.experiments, METRICS, SEGMENTS)
    with stage(options.bootstrap) as on:
        rows = [run_job(on, load, policy, options) for policy in ([options.policy] if options.policy else POLICIES)]
    title = (
        f"{options.experiments} experiments, {len(ARMS)} arms, {METRICS} metrics, {SEGMENTS} segments, "
        f"{options.rate:,} events/s, publish_interval {options.publish_interval}"
    )
    verdicts = [_verdict(row) for row in rows]
    publish({"bench": "experiments", "rows": rows, **before}, [_table(rows, title)], verdicts, as_json=options.json)
    return not any(row.found.missing for row in rows)


def run_job(on: Stage, load: Load, policy: str, options: argparse.Namespace) -> Row:
    """A worker of its own on topics of its own, which are deleted."""
    prefix, topics = f"{on.prefix}-{policy}", on.topics()
    specs = [spec(f"exp-{e}", policy, options.publish_interval) for e in range(options.experiments)]
    own = Stage(on.bootstrap, prefix, on.directory, on.log)
    try:
        make_topics(on.bootstrap, Topics(prefix), PARTITIONS, specs)
        worker = TimedWorker(on.bootstrap, prefix, on.directory / policy)
        with worker.running():
            progress.print(policy)
            found = asyncio.run(measure(own, worker, load, options.warm_up))
            decides, seconds = _decided(worker)
            rss_mib = peak_rss_mib(worker.pid())
            worker.stop()
    finally:
        on.clear(keep=topics)
    played_s = len(load.units) / load.per_s
    return Row(policy=policy, found=found, rss_mib=rss_mib, decide_ms=1000 * seconds / decides, decides_per_s=decides / played_s)


def spec(name: str, policy: str, publish_interval: str) -> dict[str, Any]:
    """What the owner of an experiment would write, but for constraints that let every change through."""
    return {
        "experiment": name,
        "arms": list(ARMS),
        "metrics": {metric_name(j): {"type": "value", "resolution": 1} if j else "binary" for j in range(METRICS)},
        "objective": metric_name(0),
        "segments": [f"segment-{s}" for s in range(SEGMENTS)],
        "policy": policy,
        "publish_interval": publish_interval,
        "constraints": {"floor": 0, "warmup": 0, "max_shift": 1, "dead_band": 0},
    }


def _decided(worker: TimedWorker) -> tuple[int, float]:
    """Decisions made, and the seconds they took."""
    lines = dict(line.rsplit(" ", 1) for line in httpx.get(f"{worker.url}/metrics", timeout=30).text.splitlines() if line)
    return int(float(lines["allocator_decide_seconds_count"])), float(lines["allocator_decide_seconds_sum"])


def _verdict(row: Row) -> Verdict:
    return at_most(f"{row.policy}: publish age p99", row.found.p99_ms, P99_MS_MAX, "ms")


def _table(rows: list[Row], title: str) -> Table:
    table = new_table(title, ["what"], [row.policy for row in rows])
    figures: list[tuple[str, Any]] = [
        ("rewards", lambda row: f"{row.found.rewards:,}"),
        ("in no weights", lambda row: "0" if not row.found.missing else f"[bold red]{row.found.missing:,}: WRONG[/]"),
        ("events/s", lambda row: f"{row.found.events_per_s:,.0f}"),
        ("publish age p50, ms", lambda row: f"{row.found.p50_ms:,.0f}"),
        ("publish age p99, ms", lambda row: f"{row.found.p99_ms:,.0f}"),
        ("publish age at most, ms", lambda row: f"{row.found.max_ms:,.0f}"),
        ("of the newest reward in weights: p50, ms", lambda row: f"{row.found.newest_p50_ms:,.0f}"),
        ("of the newest reward in weights: p99, ms", lambda row: f"{row.found.newest_p99_ms:,.0f}"),
        ("until the partial: p99, ms", lambda row: f"{row.found.partial_p99_ms:,.0f}"),
        ("one decision, ms", lambda row: f"{row.decide_ms:.2f}"),
        ("decisions/s", lambda row: f"{row.decides_per_s:.0f}"),
        ("weights of experiments published/s", lambda row: f"{row.found.publications_per_s:.0f}"),
        ("worker, % of a core", lambda row: f"{100 * row.found.worker_cpu_share:.0f}"),
        ("worker's most memory, MiB", lambda row: f"{row.rss_mib:.0f}"),
        ("sender at most late, ms", lambda row: f"{row.found.sender_late_ms_max:.0f}"),
    ]
    for what, figure in figures:
        table.add_row(what, *(figure(row) for row in rows))
    return table
