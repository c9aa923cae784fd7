"""Runs every study and writes docs/reproduction.md.

    make reproduce                or   python -m tests.reproduce
    make reproduce ARGS=--quick        few runs of the quick studies; prints, and writes nothing
    python -m tests.reproduce --only drift-thompson-100 low-clicks-10

About a quarter of an hour on two cores. Exit code 1 if a number is not reproduced and its row does not say why.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from streams.simulations import processes_default
from tests.reproduce.report import Found, as_markdown, run_all
from tests.reproduce.rows import failed
from tests.reproduce.studies import STUDIES

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "docs" / "reproduction.md"


def main(arguments: list[str]) -> int:
    """The exit code."""
    options = _options(arguments)
    studies = [s for s in STUDIES if (not options.only or s.name in options.only) and (s.quick or not options.quick)]
    found: dict[str, Found] = {}
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    ) as bar:
        task = bar.add_task("studies", total=len(studies))
        for one in run_all(studies, quick=options.quick, seed=options.seed, processes=options.processes):
            found[one.study] = one
            bar.advance(task)
            for row, ours, verdict in one.verdicts():
                error = f" ± {ours.standard_error:.3g}" if ours.standard_error else ""
                published = f"{row.relation} {row.published:g}"
                bar.print(f"{one.study}: {row.what} {published}, ours {ours.value:.6g}{error}: {verdict} ({one.seconds:.0f} s)")
    ordered = [found[study.name] for study in studies]
    if not options.quick and not options.only:
        from tests.reproduce.figures import draw  # noqa: PLC0415  needs Matplotlib, which the figures alone need

        figures = draw(ordered, options.seed, REPORT.with_suffix(""))
        REPORT.write_text(as_markdown(ordered, options.seed, figures), encoding="utf-8")
        console.print(f"written: {REPORT.relative_to(ROOT)}")
    return int(any(failed(row, ours) for one in ordered for row, ours, _ in one.verdicts()))


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.reproduce", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few runs, quick studies only, nothing written")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", choices=[s.name for s in STUDIES], help="these studies, nothing written"
    )
    parser.add_argument("--seed", type=int, default=1, help="of all studies (default 1)")
    parser.add_argument(
        "--processes", type=int, default=processes_default(), help="how many studies at once (default: one a CPU)"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
