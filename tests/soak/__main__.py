"""Load, faults and checks for as long as asked, on a broker of its own, and a report at the end.

    make soak MINUTES=30      or     python -m tests.soak --minutes 30 [--seed S] [--units N] [--workers N] [--report FILE]

Workers are killed (within a commit, while working, while starting; with the disk kept, lost or replaced by an old copy), stopped,
frozen, cut off from the broker, and the broker itself is killed. Every few minutes load pauses, and everything is compared with
the generator's exact answer. ctrl-C ends it with what it has found so far. Exit code 1 on any difference.

Needs Java 17 and Maven, as the tests do.
"""

from __future__ import annotations

import argparse
import logging
import secrets
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import msgspec
from rich.console import Console

from deploy.kafka.broker import BrokerError
from tests.chaos.proxy import proxied
from tests.soak.report import Report, as_table
from tests.soak.soak import Wanted, soak

MINUTES, WORKERS, UNITS_PER_S, ROUND_S = 5.0, 3, 500.0, 120.0

progress = Console(stderr=True)


def main() -> int:
    """Soak and report. Returns the exit code."""
    options = _options()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # of outages that are meant
    wanted = Wanted(
        seconds=60 * options.minutes,
        round_s=options.round,
        seed=options.seed,
        workers=options.workers,
        units_per_s=options.units,
    )
    directory = Path(tempfile.mkdtemp(prefix="soak-"))
    progress.print(f"seed {wanted.seed}, logs in {directory}", markup=False, highlight=False)
    try:
        report = _on_a_broker(wanted, directory)
    except BrokerError as error:
        progress.print(error, style="red", markup=False)
        return 1
    if report.exit_code:
        report.logs = str(directory)
    else:
        shutil.rmtree(directory)
    as_json = msgspec.json.format(msgspec.json.encode(report)).decode()
    if options.report is not None:
        options.report.write_text(as_json)
    if options.json:
        sys.stdout.write(f"{as_json}\n")
    else:
        Console().print(as_table(report), markup=False, highlight=False)
    return report.exit_code


def _on_a_broker(wanted: Wanted, directory: Path) -> Report:
    broker, proxies = proxied(directory / "kafka", wanted.workers)
    with ExitStack() as stack:
        for one in (broker, *proxies):
            stack.enter_context(one)
        return soak(wanted, broker, "soak", directory, proxies)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long load flows (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of load and faults (default: a random one)")
    parser.add_argument("--units", type=float, default=UNITS_PER_S, help="units a second, two events each (default: %(default)g)")
    parser.add_argument("--workers", type=int, default=WORKERS, help="worker processes (default: %(default)d)")
    parser.add_argument("--round", type=float, default=ROUND_S, help="seconds between checks (default: %(default)g)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write it to a file as well, as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
