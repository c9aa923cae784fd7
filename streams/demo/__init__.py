"""The demo: real outcomes of several models, played as traffic through a broker, a worker and a router of its own.

The way of the demo: matrix (what each model would have answered) → traffic (what happens to each request) → player (the process
that routes and rewards) → stage (starts everything, follows the worker) → live (what is seen meanwhile) → summary (what it came
to) → report (how that is said). `scenarios` are plays of another kind, in simulated worlds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from streams.topics import PREFIX

__all__ = ["RATE_DEFAULT", "ROWS_DEFAULT", "Options", "Story", "run"]

Story = Literal["recommender", "cohorts", "creators"]
"""Names of `streams.demo.scenarios.SCENARIOS`, which the command's --help need not load."""

ROWS_DEFAULT = 20_000
RATE_DEFAULT = 2_000.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line offers.

    Parameters
    ----------
    data : an outcome matrix; None for the shipped one.
    rows : requests to play, at least 1, in shuffled passes over the matrix; None plays `ROWS_DEFAULT`, or fewer where the machine
        is too slow to play them within a minute.
    rate : requests a second wanted, above 0; fewer when the worker falls behind.
    bootstrap : a real Kafka; None starts the embedded broker.
    serve : keep worker and dashboard up after the summary, until Ctrl-C.
    as_json : only the summary, as JSON, on standard output.
    web_port : of the dashboard; 0 takes a free one.
    prefix : of the topics.
    seed : of the order of requests, delays and what is sent twice; of a scenario, of its people.
    scenario : one of `streams.demo.scenarios`, in place of a matrix.
    speed : of a scenario, in times its own, above 0; less when the worker falls behind.
    """

    data: Path | None = None
    rows: int | None = None
    rate: float = RATE_DEFAULT
    bootstrap: str | None = None
    serve: bool = False
    as_json: bool = False
    web_port: int = 0
    prefix: str = PREFIX
    seed: int = 0
    scenario: Story | None = None
    speed: float = 1.0


def run(options: Options) -> int:
    """Play the demo; the exit code: 0, or 1 if the counts do not add up, or 130 when interrupted before the summary.

    Of a scenario it is also 1 if something was not found out.

    Raises
    ------
    AllocatorError : it could not be played; the message says why and what to do.
    """
    # Imported here: the command's --help is quicker without them.
    if options.scenario is not None:
        from streams.demo.scenarios.stage import run as run_scenario  # noqa: PLC0415

        return run_scenario(options)
    from streams.demo.stage import run as run_stage  # noqa: PLC0415

    return run_stage(options)
