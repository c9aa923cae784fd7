"""What a soak has to say when it ends, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import msgspec
from rich.console import Group
from rich.table import Table

from tests.soak.episodes import Kind

__all__ = ["MIB", "Check", "Report", "as_table"]

MIB = 1 << 20
LINE_MAX = 400


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """Load paused, everything healed, and was compared with the exact answer."""

    at_s: float
    """Since the start."""
    events: int
    """Sent so far."""
    versions: int
    """Of weights, published so far."""
    heal_s: float
    """From the end of load until all of it was counted exactly and the weights had come to rest."""
    rss_mib: list[float]
    """Of each worker that is up."""
    disk_mib: float
    """State of all workers."""
    differences: list[str]


class Report(msgspec.Struct, kw_only=True):
    """A soak, finished or not."""

    seed: int
    workers: int
    units_per_s: float
    minutes: float = 0.0
    events: int = 0
    outcomes: dict[str, int] = {}
    faults: dict[str, int] = {}
    """Episodes by kind."""
    kills: int = 0
    """kill -9 of a worker."""
    exits: dict[str, int] = {}
    """Ends that nobody asked for, by exit code; each was followed by a start."""
    checks: list[Check] = []
    failed: str | None = None
    """Why it could not go on."""
    interrupted: bool = False
    logs: str | None = None
    """Where the logs are, if they were kept."""

    @property
    def differences(self) -> list[str]:
        return [line for check in self.checks for line in check.differences]

    @property
    def restarts(self) -> int:
        """Starts of a worker after the first."""
        return self.kills + self.faults.get(Kind.STOPPED, 0) + sum(self.exits.values())

    @property
    def exit_code(self) -> int:
        """0 if at least one check was made and none found a difference, and nothing else went wrong."""
        return int(not self.checks or bool(self.differences) or self.failed is not None)


def as_table(report: Report) -> Group:
    """For people. What is wrong comes last, where it is read."""
    table = Table(title="Soak", show_header=False, title_justify="left")
    for name, value in _rows(report):
        table.add_row(name, value)
    wrong = [line[:LINE_MAX] for line in report.differences]
    if report.failed is not None:
        wrong.append(f"could not go on: {report.failed}")
    if not report.checks:
        wrong.append("ended before the first check: nothing was compared")
    if wrong and report.logs is not None:
        wrong.append(f"logs: {report.logs}")
    return Group(table, *(wrong or ["Every check found everything counted exactly."]))


def _rows(report: Report) -> list[tuple[str, str]]:
    checks, passed = report.checks, sum(not check.differences for check in report.checks)
    rows = [
        ("minutes", f"{report.minutes:.1f}{', interrupted' if report.interrupted else ''}"),
        ("seed", str(report.seed)),
        ("workers", str(report.workers)),
        ("units a second", f"{report.units_per_s:g}"),
        ("events sent", _number(report.events)),
        *((f"  {name}", _number(n)) for name, n in report.outcomes.items()),
        ("kill -9 of a worker", str(report.kills)),
        *((f"  {kind}", str(n)) for kind, n in sorted(report.faults.items())),
        ("restarts", str(report.restarts)),
        ("ended by themselves, by exit code", _counted(report.exits)),
        ("checks passed", f"{passed} of {len(checks)}"),
    ]
    if checks:
        heal, rss = [check.heal_s for check in checks], [check.rss_mib for check in checks]
        rows += [
            ("versions of weights", _number(checks[-1].versions)),
            ("time to heal, s: median, most", f"{median(heal):.1f}, {max(heal):.1f}"),
            ("RSS of the workers, MiB: first check", _each(rss[0])),
            ("  last check", _each(rss[-1])),
            ("  slope of the mean, MiB an hour", _slope(checks)),
            ("state on disk, MiB: first check, last", f"{checks[0].disk_mib:.1f}, {checks[-1].disk_mib:.1f}"),
        ]
    return rows


def _slope(checks: Sequence[Check]) -> str:
    """Least squares over the checks. Workers are killed all the time, so it says little of a worker that lives for days."""
    points = [(check.at_s / 3600, sum(check.rss_mib) / len(check.rss_mib)) for check in checks if check.rss_mib]
    if len(points) < 3:
        return "too few checks"
    mean_x, mean_y = (sum(axis) / len(points) for axis in zip(*points, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return f"{sum((x - mean_x) * (y - mean_y) for x, y in points) / spread:+.0f}"


def _number(n: int) -> str:
    return f"{n:,}".replace(",", " ")


def _each(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.0f}" for value in values)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{code}: {n}" for code, n in sorted(counts.items())) or "none"
