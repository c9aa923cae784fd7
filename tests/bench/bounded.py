"""Is a worker bounded? Ten million units through one, as fast as it can, and what that leaves in memory and on disk.

1. The job of `tests.bench.churn` is written to Kafka: about two events a unit, 15 % of the units live at a time, one hot unit.
2. A worker on an empty directory, that many events behind, catches up. Once a second its memory, disk and records are noted, and
   `/ready` is asked again 50 ms after each answer.
3. Event time goes on by half a horizon, then by two more: half of the live units, then all of them are forgotten. Each time, when
   the worker has come to rest, its store is read.
4. The answer is compared with the generator's.

The slope of memory is a least-squares line through the second half of step 2, with its standard error. The heap is trimmed every
20 s and grows in between, so samples close to each other are alike: each point of the line is the mean of the samples of 10 s.
Exit code 1 if the answer is wrong or a bound is not kept. Needs Java 17 and Maven unless --bootstrap names a broker to use; its
topics are removed in the end. Ten million units take 5 GB of disk.
"""

from __future__ import annotations

import argparse
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import msgspec
from confluent_kafka.admin import AdminClient
from rich import box
from rich.console import Console
from rich.table import Table
from rocksdict import AccessType, Options, Rdict

from deploy.kafka.broker import Broker
from streams.join.sweep import UNITS_FROM, deadline_of
from tests.bench.churn import HORIZON_S, fill, pass_time
from tests.bench.sampling import Line, Sample, Sampler, averaged, directory_bytes, fitted
from tests.waiting import until
from tests.workers import WorkerProcess, arm_sums, counters

UNITS = 10_000_000
RSS_MIB_MAX = 600
SLOPE_MIB_MAX = 2.0
"""A million units. Anything that remembers units takes fifty at least."""
SAMPLES_A_POINT = 10
SLOPE_JUDGED_UNITS = 5_000_000
"""In the second half of fewer, the stores' cache is still filling up to its 64 MiB."""
DISK_RATIO_MAX = 2.0
DISK_JUDGED_MIB = 64
"""Of live state. With less, the ratio is of write buffers, whose size is fixed."""
EMPTY_MIB_MAX = 32
"""Files of a store of nothing: RocksDB's logs, and what waits in its buffers."""
READY_S_MAX = 2.0
TIMEOUT_S = 1200.0
QUIET_S = 4.0
ROWS = 20

progress = Console(stderr=True)


class Stored(msgspec.Struct, frozen=True):
    """What a worker's directory holds."""

    live: int
    """Units whose horizon has not passed."""
    dead: int
    live_bytes: int
    disk_bytes: int

    @property
    def ratio(self) -> float:
        """Disk over the keys and values of live units."""
        return self.disk_bytes / max(1, self.live_bytes)


class Verdict(msgspec.Struct, frozen=True):
    """What was to be kept, and whether it was."""

    bound: str
    measured: float
    kept: bool


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that was found."""

    units: int
    events: int
    seconds: float
    samples: list[Sample]
    slope: Line
    """MiB a million units."""
    ready_s_max: float
    ready_s_p99: float
    not_ready: int
    rebalances: int
    full: Stored
    """When the last event was counted."""
    half: Stored
    """When half of the live units were forgotten."""
    empty: Stored
    exact: bool

    @property
    def peak_mib(self) -> float:
        return max(sample.rss_mib for sample in self.samples)

    @property
    def mib_an_hour(self) -> float:
        """Of growth, at the rate measured."""
        return self.slope.slope * self.units / 1e6 / self.seconds * 3600


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command line of this bench."""
    parser.add_argument("--units", type=int, default=UNITS)


def main(options: argparse.Namespace) -> bool:
    """Run everything and print it. Whether every bound was kept."""
    prefix = f"bounded-{secrets.token_hex(3)}"
    with tempfile.TemporaryDirectory(prefix="bounded-") as directory, _kafka(options.bootstrap, Path(directory)) as bootstrap:
        try:
            report = measure(bootstrap, prefix, options.units, Path(directory))
        finally:
            _remove_topics(bootstrap, prefix)
    found = verdicts(report)
    if options.json:
        print(msgspec.json.encode({"report": report, "verdicts": found}).decode())
    else:
        show(report, found)
    return all(verdict.kept for verdict in found)


def measure(bootstrap: str, prefix: str, units: int, directory: Path) -> Report:
    """Steps 1 to 4."""
    progress.print(f"writing the events of {units:,} units …")
    job = fill(bootstrap, prefix, units)
    behind, kept = job.events, []
    progress.print(f"a worker, {behind:,} events behind …")
    worker = WorkerProcess(bootstrap, prefix, directory / "worker")
    with worker.running(), Sampler(worker) as sampler:  # which ends first
        began = time.perf_counter()
        until(lambda: sampler.events() >= behind, TIMEOUT_S, sampler.events)
        seconds, samples = time.perf_counter() - began, list(sampler.samples)
        for ts in (job.end_ts, job.end_ts + HORIZON_S / 2, job.end_ts + 2.5 * HORIZON_S):
            progress.print(f"event time {(ts - job.end_ts) / HORIZON_S:g} horizons after the last unit …")
            if kept:
                pass_time(bootstrap, prefix, job, ts)
                until(lambda: sampler.events() >= job.events, TIMEOUT_S, sampler.events)
            until(partial(sampler.resting, sampler.samples[-1].at_s, QUIET_S), TIMEOUT_S)
            kept.append(stored(worker.data_dir, ts))
    half = len(samples) // 2
    return Report(
        units=units,
        events=behind,
        seconds=seconds,
        samples=samples,
        slope=fitted(averaged([(s.events / behind * units / 1e6, s.rss_mib) for s in samples[half:]], SAMPLES_A_POINT)),
        ready_s_max=max(sampler.ready_s),
        ready_s_p99=sorted(sampler.ready_s)[int(0.99 * len(sampler.ready_s))],
        not_ready=sampler.not_ready,
        rebalances=worker.log.read_text().count("streams.tasks: assigned") - 1,
        full=kept[0],
        half=kept[1],
        empty=kept[2],
        exact=arm_sums(bootstrap, prefix) == job.sums and counters(bootstrap, prefix) == job.counters,
    )


def stored(data_dir: Path, watermark: float) -> Stored:
    """What the join's stores hold while their worker rests: they are opened beside it, for reading only."""
    live = dead = live_bytes = 0
    for path in data_dir.glob("join-*"):
        with closing(Rdict(str(path), Options(raw_mode=True), access_type=AccessType.read_only(False))) as store:
            for key, value in store.items(from_key=UNITS_FROM):
                if deadline_of(value) < watermark:
                    dead += 1
                else:
                    live += 1
                    live_bytes += len(key) + len(value)
    return Stored(live, dead, live_bytes, sum(map(directory_bytes, data_dir.glob("join-*"))))


def verdicts(report: Report) -> list[Verdict]:
    """What the project has promised, and whether it was kept."""
    slope, empty_mib = report.slope, report.empty.disk_bytes / (1 << 20)
    steepest = slope.slope - 2 * slope.error  # growth that the noise does not explain
    flat = report.units < SLOPE_JUDGED_UNITS or steepest <= SLOPE_MIB_MAX
    unjudged = "" if report.units >= SLOPE_JUDGED_UNITS else ", if there were more"
    return [
        Verdict("every event counted, none late", float(report.exact), report.exact),
        Verdict(f"memory at most {RSS_MIB_MAX} MiB", report.peak_mib, report.peak_mib <= RSS_MIB_MAX),
        Verdict(f"memory grows by at most {SLOPE_MIB_MAX:g} MiB a million units{unjudged}", slope.slope, flat),
        _disk_verdict(f"disk at most {DISK_RATIO_MAX:g} × live state", report.full),
        _disk_verdict("the same with half of it forgotten", report.half),
        Verdict(f"disk at most {EMPTY_MIB_MAX} MiB with all forgotten", empty_mib, empty_mib <= EMPTY_MIB_MAX),
        Verdict(f"/ready answered within {READY_S_MAX:g} s", report.ready_s_max, report.ready_s_max <= READY_S_MAX),
        Verdict("times /ready was not 200", report.not_ready, report.not_ready == 0),
        Verdict("rebalances", report.rebalances, report.rebalances == 0),
    ]


def _disk_verdict(bound: str, found: Stored) -> Verdict:
    judged = found.live_bytes >= DISK_JUDGED_MIB << 20
    return Verdict(bound if judged else f"{bound}, if it were more", found.ratio, not judged or found.ratio <= DISK_RATIO_MAX)


def show(report: Report, found: list[Verdict]) -> None:
    """Everything, for a terminal."""
    console, every = Console(), max(1, len(report.samples) // ROWS)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in ("s", "events", "RSS MiB", "queued MiB", "disk MiB", "records"):
        table.add_column(column, justify="right")
    for s in report.samples[::every]:
        row = (s.at_s, s.events, s.rss_mib, s.queue_mib, s.disk_mib, s.records)
        table.add_row(*(f"{value:,.0f}" for value in row))
    console.print(f"{report.events:,} events of {report.units:,} units in {report.seconds:.0f} s", highlight=False)
    console.print(table)
    line, after = report.slope, {"last event": report.full, "half a horizon": report.half, "two and a half": report.empty}
    console.print(
        f"memory: {line.slope:+.2f} ± {line.error:.2f} MiB a million units, {report.mib_an_hour:+.0f} MiB an hour at this rate; "
        f"/ready: p99 {report.ready_s_p99 * 1000:.0f} ms, longest {report.ready_s_max * 1000:.0f} ms",
        highlight=False,
    )
    for name, s in after.items():
        console.print(
            f"after the {name}: {s.live:,} units live, {s.dead:,} to be forgotten; "
            f"disk {s.disk_bytes / 1e6:.1f} MB of {s.live_bytes / 1e6:.1f} MB live",
            highlight=False,
        )
    for verdict in found:
        console.print(f"{verdict.bound}: {verdict.measured:.2f}, {'[green]kept[/]' if verdict.kept else '[bold red]NOT kept[/]'}")


@contextmanager
def _kafka(bootstrap: str | None, directory: Path) -> Iterator[str]:
    if bootstrap:
        yield bootstrap
        return
    with Broker(directory / "kafka") as broker:
        yield broker.bootstrap


def _remove_topics(bootstrap: str, prefix: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    made = [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith(prefix)]
    for deleted in (admin.delete_topics(made) if made else {}).values():
        deleted.result()
