"""`allocator simulate`: what the experiment would do in a world that a file describes. Needs no Kafka."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from streams.cli.options import Json
from streams.cli.output import CommandError, FileErrors, print_json

if TYPE_CHECKING:
    from allocator.experiment import Experiment
    from streams.simulations import Candidate

__all__ = ["Progress", "candidate", "simulate"]

T = TypeVar("T")
HORIZON, BATCH, RUNS, CONFIDENCE = 100_000, 1000, 100, 0.95


def simulate(
    spec: Annotated[Path, typer.Argument(metavar="SPEC", help="The experiment, YAML or JSON; - is stdin.")],
    world: Annotated[
        Path,
        typer.Option("--world", metavar="FILE", help="What every arm is truly worth, when that changes, how late rewards come."),
    ],
    runs: Annotated[int, typer.Option("--runs", min=1, help="Independent runs of each policy.")] = RUNS,
    horizon: Annotated[int, typer.Option("--horizon", min=1, help="Units in a run.")] = HORIZON,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Units between two decisions.")] = BATCH,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same answer, on any --processes.")] = 0,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, show_default="one a CPU", help="How many processes share the runs.")
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", metavar="NAME", help="In place of the spec's; several are compared. Also ucb1 and kl-ucb."),
    ] = None,
    confidence: Annotated[
        float, typer.Option("--confidence", min=0.5, max=1.0, help="P(best) at which the leader counts as decided.")
    ] = CONFIDENCE,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.svg", dir_okay=False, help="Draw curves over time there.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Play an experiment many times in a made-up world: regret, whether the right arm wins, and how soon.

    Decisions are made by the code that makes them in production, with the spec's policy and constraints.
    """
    from allocator.simulate import Plan, load_world
    from allocator.spec import load_experiment
    from streams.cli.simulate_print import as_builtins, show
    from streams.simulations import processes_default, simulate_all

    experiment = _read(spec, load_experiment)
    truth = _read(world, lambda text: load_world(text, experiment))
    if not 0.5 < confidence < 1.0:
        raise typer.BadParameter("expected a probability above 0.5, below 1", param_hint="'--confidence'")
    plan = Plan(horizon=horizon, batch=batch, seed=seed, confidence=confidence)
    candidates = [candidate(experiment, name) for name in dict.fromkeys(policy or [experiment.policy.name])]
    with Progress(len(candidates) * runs) as progress:
        outcomes = simulate_all(
            candidates, truth, plan, runs=runs, processes=processes or processes_default(), advance=progress.advance
        )
    if plot is not None:
        from streams.cli.simulate_charts import panels
        from streams.plots import write_svg

        write_svg(plot, panels(experiment, truth, [c.name for c in candidates], outcomes))
    if as_json:
        print_json(as_builtins(experiment, plan, candidates, outcomes))
    else:
        show(experiment, plan, candidates, outcomes)
        if plot is not None:
            typer.echo(f"curves: {plot}")


def _read(file: Path, load: Callable[[str], T]) -> T:
    """What a file says, with the file's name before each of its mistakes."""
    from allocator.errors import SpecErrors

    name = "stdin" if str(file) == "-" else str(file)
    try:
        return load(sys.stdin.read() if name == "stdin" else file.read_text(encoding="utf-8"))
    except SpecErrors as errors:
        raise FileErrors([(name, errors)]) from errors
    except OSError as error:
        raise typer.BadParameter(f"{name!r}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{name}: not UTF-8 text: {error.reason} at byte {error.start}") from error


def candidate(experiment: Experiment, name: str) -> Candidate:
    """The experiment under a policy of that name: the spec's own, one with its default parameters, or a baseline."""
    import msgspec

    from allocator.errors import SpecError
    from allocator.experiment import Policy
    from allocator.policies import policy_of
    from allocator.simulate import BASELINES
    from streams.simulations import Candidate

    if name == experiment.policy.name:
        return Candidate(name, experiment)
    if name in BASELINES:
        return Candidate(name, experiment, baseline=name)
    named = Policy(name=name)
    try:
        policy_of(named, experiment.arm_ids)
    except SpecError as error:
        raise typer.BadParameter(
            f"{name!r}: expected {error.expected}, or {', '.join(BASELINES)}", param_hint="'--policy'"
        ) from error
    return Candidate(name, msgspec.structs.replace(experiment, policy=named))


class Progress:
    """A bar on standard error, on a terminal only; it goes when it is done."""

    def __init__(self, runs: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        shown = Console(stderr=True)
        columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TextColumn("runs"), TimeRemainingColumn())
        self._bar = Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal)
        self._task = self._bar.add_task("", total=runs)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, runs: int) -> None:
        self._bar.advance(self._task, runs)
