"""`allocator plan`: how many units, how long, and what can be found, before an experiment starts. Needs no Kafka."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli import quantities
from streams.cli.options import Json, SpecFile
from streams.cli.output import print_json

if TYPE_CHECKING:
    from allocator.experiment import Experiment
    from allocator.inference import Baseline, Split, Traffic
    from streams.cli.plan_rows import Question, Row
    from streams.cli.plan_simulated import Simulated

__all__ = ["plan"]

MDE_DAYS = 14.0
"""Where --mde has traffic and no duration: every weekday twice."""
KINDS = ("binary", "value", "count")
OPTION = {
    "baseline": "--baseline",
    "sd": "--sd",
    "dispersion": "--dispersion",
    "numerator": "--ratio",
    "numerator_sd": "--ratio",
    "denominator": "--ratio",
    "denominator_sd": "--ratio",
    "correlation": "--ratio",
    "shares": "--split",
    "arms": "--arms",
    "alpha": "--alpha",
    "power": "--power",
    "units_per_day": "--traffic",
    "total": "--units",
    "loss": "--loss",
}
"""The option that an argument of `allocator.inference` came from."""


class Correction(StrEnum):
    """For several arms against one control."""

    BONFERRONI = "bonferroni"
    NONE = "none"


def _svg_file(given: Path | None) -> Path | None:
    if given is not None and given.suffix.lower() != ".svg":
        raise typer.BadParameter(f"{str(given)!r} is not a name that ends in .svg")
    return given


def plan(
    spec: SpecFile = None,
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            metavar="NAME",
            help="With a spec: a metric of it, otherwise its objective. Without: binary, value or count.",
        ),
    ] = None,
    baseline: Annotated[
        float | None, typer.Option("--baseline", parser=quantities.portion, metavar="X|X%", help="The metric's value on control.")
    ] = None,
    sd: Annotated[float | None, typer.Option("--sd", help="Of a value metric: standard deviation between units.")] = None,
    dispersion: Annotated[
        float | None, typer.Option("--dispersion", help="Of a count metric: a unit's variance over its mean; 1 is Poisson.")
    ] = None,
    ratio: Annotated[
        Any,
        typer.Option(
            "--ratio",
            parser=quantities.ratio_moments,
            metavar="MEAN,SD,MEAN,SD,CORR",
            help="Of a ratio, in place of --baseline: numerator, denominator, correlation of a unit's two.",
        ),
    ] = None,
    lift: Annotated[
        float | None,
        typer.Option("--lift", parser=quantities.portion, metavar="X|X%", help="Effect to find, relative to --baseline."),
    ] = None,
    effect: Annotated[
        float | None, typer.Option("--effect", parser=quantities.portion, metavar="X|X%", help="The same as a difference.")
    ] = None,
    mde: Annotated[bool, typer.Option("--mde", help="Ask for the least detectable effect, in --units or --duration.")] = False,
    units: Annotated[
        float | None, typer.Option("--units", help="Usable units in all arms; with --lift: what power they give.")
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option("--duration", parser=quantities.days, metavar="14d|2w", help="The same as a time, by --traffic."),
    ] = None,
    traffic: Annotated[
        float | None,
        typer.Option("--traffic", parser=quantities.per_day, metavar="N/day", help="New units in a time, as 10000/day."),
    ] = None,
    arms: Annotated[
        int | None, typer.Option("--arms", help="How many, control included, on even shares; 2 without a spec.")
    ] = None,
    split: Annotated[
        Any, typer.Option("--split", parser=quantities.split, metavar="A:B[:C...]", help="Uneven shares, control first.")
    ] = None,
    power: Annotated[
        float, typer.Option("--power", parser=quantities.portion, metavar="X|X%", help="Chance of finding the effect.")
    ] = 0.8,
    alpha: Annotated[
        float,
        typer.Option("--alpha", parser=quantities.portion, metavar="X|X%", help="Chance of a false find, all arms together."),
    ] = 0.05,
    one_sided: Annotated[bool, typer.Option("--one-sided", help="Look at one direction only.")] = False,
    correction: Annotated[
        Correction, typer.Option("--correction", help="For several arms against control.")
    ] = Correction.BONFERRONI,
    loss: Annotated[
        float | None,
        typer.Option(
            "--loss",
            parser=quantities.portion,
            metavar="X|X%",
            help="How soon a guardrail, looked at all the time, finds this loss.",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE.svg", dir_okay=False, callback=_svg_file, help="Write curves there.")
    ] = None,
    simulate: Annotated[
        int | None,
        typer.Option("--simulate", metavar="RUNS", min=1, help="Play the spec's policy so often: how soon it has the right arm."),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", metavar="NAME", help="With --simulate: in place of the spec's; several are compared."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="With --simulate: units between two decisions; an 80th of the plan's.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="With --simulate: the same seed gives the same answer.")] = 0,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, show_default="one a CPU", help="With --simulate: they share the runs.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Sample size, power or least detectable effect, and the time it takes.

    Of effect (--lift, --effect), units (--units, --duration) and --power, two say what the third is. With a spec: its arms, its
    metric and its usable traffic.
    """
    from streams.cli import plan_simulated
    from streams.cli.plan_print import as_builtins, show
    from streams.cli.plan_rows import Question, answer

    experiment = _experiment(spec)
    if experiment is not None and (arms is not None or split is not None):
        raise _usage("--arms" if arms is not None else "--split", "left out where a spec names the arms")
    if arms is not None and split is not None:
        raise _usage("--split", "either this or --arms")
    with _naming_options(effect="--effect" if lift is None else "--lift", total="--units" if duration is None else "--duration"):
        name, kind, direction, window_s = _metric(experiment, metric, ratio)
        known = _baseline(kind, baseline, sd, dispersion, ratio)
        splits = _splits(experiment, arms, split)
        arriving = _traffic(experiment, traffic, window_s)
        question = Question(
            metric=name,
            baseline=known,
            splits=splits,
            alpha=alpha,
            power=power,
            two_sided=not one_sided,
            comparisons=len(splits[0].arms) - 1 if correction is Correction.BONFERRONI else 1,
            direction=direction,
            effect=_effect(known, lift, effect),
            total=_total(units, duration, arriving, mde=mde),
            traffic=arriving,
            loss=_loss(known, loss, direction),
        )
        _enough(question, mde=mde)
        rows = answer(question)
        simulated = _simulated(experiment, question, rows, simulate, policy, batch, seed, processes)
    if plot is not None:
        from streams.cli.plan_charts import panels
        from streams.plots import write_svg

        write_svg(plot, panels(question, rows))
    if as_json:
        print_json({**as_builtins(question, rows, plot), "simulated": plan_simulated.as_builtins(simulated)})
        return
    show(question, rows, plot)
    if simulated:
        plan_simulated.show(simulated)


# -- from options to a question --------------------------------------------------------------------------------------------------


def _usage(option: str, expected: str) -> typer.BadParameter:
    return typer.BadParameter(f"expected {expected}", param_hint=f"'{option}'")


@contextmanager
def _naming_options(**moved: str) -> Iterator[None]:
    """An argument outside its domain is wrong usage of the option it came from."""
    from allocator.errors import ArgumentError

    try:
        yield
    except ArgumentError as error:
        option = {**OPTION, **moved}.get(error.name, error.name)
        raise typer.BadParameter(f"{error.name} {error.value!r}: expected {error.expected}", param_hint=f"'{option}'") from error


def _experiment(spec: Path | None) -> Experiment | None:
    if spec is None:
        return None
    from streams.cli.experiments import load_specs

    return load_specs([spec])[0]


def _metric(experiment: Experiment | None, name: str | None, ratio: Any) -> tuple[str, str, Any, float]:
    """Name, kind, direction and window."""
    if experiment is None:
        kind = "ratio" if ratio is not None else "binary" if name is None else name
        if kind not in (*KINDS, "ratio") or (ratio is not None and name is not None):
            raise _usage("--metric", "left out with --ratio" if ratio is not None else f"one of {', '.join(KINDS)}, or a spec")
        return f"{kind} metric", kind, "up", 0.0
    name = experiment.objective if name is None else name
    found = experiment.metrics.get(name)
    if found is None:
        raise _usage("--metric", f"a metric of {experiment.experiment}: one of {', '.join(experiment.metrics)}")
    return name, "ratio" if ratio is not None else found.type, found.direction, found.window_s


def _baseline(kind: str, value: float | None, sd: float | None, dispersion: float | None, ratio: Any) -> Baseline:
    from allocator.inference import Count, Mean, Proportion, Ratio

    for option, given, owner in (("--sd", sd, "value"), ("--dispersion", dispersion, "count")):
        if given is not None and kind != owner:
            raise _usage(option, f"left out: it belongs to a {owner} metric, this is a {kind} metric")
    if kind == "ratio":
        if ratio is None or value is not None:
            raise _usage("--ratio" if ratio is None else "--baseline", "--ratio alone, which says the baseline")
        return Ratio(*ratio)
    if value is None:
        raise _usage("--baseline", f"the {kind} metric's value on control" + (", such as 10%" if kind == "binary" else ""))
    if kind == "binary":
        return Proportion(value)
    if kind == "count":
        return Count(value) if dispersion is None else Count(value, dispersion)
    if sd is None:
        raise _usage("--sd", "the standard deviation between units of a value metric")
    return Mean(value, sd)


def _splits(experiment: Experiment | None, arms: int | None, split: Any) -> tuple[Split, ...]:
    from allocator.inference import Split, even_shares, splits_of

    if experiment is not None:
        return splits_of(experiment)
    shares = even_shares(2 if arms is None else arms) if split is None else split
    names = ("control", *(["treatment"] if len(shares) == 2 else [f"arm {k}" for k in range(1, len(shares))]))
    return (Split("even split" if split is None else "given split", names, shares),)


def _traffic(experiment: Experiment | None, per_day: float | None, window_s: float) -> Traffic | None:
    from allocator.inference import Traffic, usable_share

    if per_day is None:
        return None
    usable = 1.0 if experiment is None else usable_share(experiment)
    return Traffic(per_day, usable, window_s / quantities.DAY_S)


def _effect(baseline: Baseline, lift: float | None, effect: float | None) -> float | None:
    if lift is not None and effect is not None:
        raise _usage("--effect", "either this or --lift")
    return effect if lift is None else lift * _scale(baseline, "--lift")


def _loss(baseline: Baseline, loss: float | None, direction: str) -> float | None:
    """The sign is the harmful one, however it was typed."""
    if loss is None:
        return None
    return abs(loss) * _scale(baseline, "--loss") * (-1 if direction == "up" else 1)


def _scale(baseline: Baseline, option: str) -> float:
    if baseline.value == 0:
        raise _usage(option, "a baseline other than 0, which it is relative to; --effect is a difference")
    return abs(baseline.value)


def _total(units: float | None, duration: float | None, traffic: Traffic | None, *, mde: bool) -> float | None:
    if units is not None and duration is not None:
        raise _usage("--duration", "either this or --units")
    if duration is not None and traffic is None:
        raise _usage("--traffic", "new units in a time, such as 10000/day, to know the units of --duration")
    if units is None and duration is None and mde and traffic is not None:
        return traffic.units_after(MDE_DAYS + traffic.window_days)
    if duration is None or traffic is None:
        return units
    if duration <= traffic.window_days:
        raise _usage("--duration", f"longer than the {traffic.window_days:g} days in which a unit's rewards come")
    return traffic.units_after(duration)


def _simulated(
    experiment: Experiment | None,
    question: Question,
    rows: Sequence[Row],
    runs: int | None,
    policies: list[str] | None,
    batch: int | None,
    seed: int,
    processes: int | None,
) -> tuple[Simulated, ...]:
    """A row a policy; none without --simulate."""
    if runs is None:
        if policies:
            raise _usage("--simulate", "how many runs of each --policy, such as 500")
        return ()
    if experiment is None:
        raise _usage("--simulate", "a spec, whose policy is played")
    if question.metric != experiment.objective:
        raise _usage("--metric", f"{experiment.objective}, which the policy follows, with --simulate")
    from allocator.inference import Ratio
    from streams.cli.plan_simulated import Simulation, simulate_policies
    from streams.cli.simulate import Progress, candidate
    from streams.simulations import processes_default

    if isinstance(question.baseline, Ratio):
        raise _usage("--ratio", "--baseline in its place with --simulate")
    played = [candidate(experiment, name) for name in dict.fromkeys(policies or [experiment.policy.name])]
    simulation = Simulation(runs, seed, processes or processes_default(), batch)
    with Progress(len(played) * runs) as progress:
        return simulate_policies(played, question, rows[0], simulation, progress.advance)


def _enough(question: Question, *, mde: bool) -> None:
    if mde and question.effect is not None:
        raise _usage("--mde", "no effect beside it: it asks for one")
    if question.effect is None and question.total is None:
        needed = "--units or --traffic beside it" if mde else "an effect such as 5%, or --mde with --units or --traffic"
        raise _usage("--mde" if mde else "--lift", needed)
