"""`allocator advance | rollback`, and what the other commands say of stages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import typer

from streams.cli.kafka import connect, run, topic_must_exist
from streams.cli.options import Bootstrap, By, Json, Name, Prefix, Why, author
from streams.cli.output import print_json, share
from streams.phrases import rough_duration
from streams.topics import PREFIX, Topics

if TYPE_CHECKING:
    from allocator.experiment import Experiment
    from allocator.inference.stage_power import GatePower
    from allocator.weights import Weights

__all__ = ["advance", "powers", "rollback", "sentences", "stage_in_force", "stage_line"]


def advance(
    name: Name, why: Why, by: By = None, bootstrap: Bootstrap = None, prefix: Prefix = PREFIX, as_json: Json = False
) -> None:
    """Release the stage an experiment is in: it goes on to the next one, once the rest of the gate holds."""
    _say(name, "advance", by, why, bootstrap, prefix, as_json)


def rollback(
    name: Name, why: Why, by: By = None, bootstrap: Bootstrap = None, prefix: Prefix = PREFIX, as_json: Json = False
) -> None:
    """Go back to the stage before, and stay there until somebody says advance."""
    _say(name, "back", by, why, bootstrap, prefix, as_json)


def stage_in_force(spec: Experiment, weights: Iterable[Weights]) -> dict[str, Any] | None:
    """The stage as the newest weights of the whole experiment have it; None without stages, or before one was entered."""
    standing = next((found.standing for found in weights if found.segment is None), None)
    if standing is None or not standing.stage_since or standing.stage >= len(spec.stages):
        return None
    stage = spec.stages[standing.stage]
    return {
        "number": standing.stage + 1,
        "of": len(spec.stages),
        "name": stage.name,
        "enrolment_ppm": stage.ppm,
        "since": standing.stage_since,
    }


def stage_line(stage: dict[str, Any], now: float) -> str:
    """As one reads it."""
    name = f", {stage['name']}" if stage["name"] else ""
    head = f"stage {stage['number']} of {stage['of']}{name}: {share(stage['enrolment_ppm'])} enrolled"
    return f"{head}, for {rough_duration(now - stage['since'])}"


def powers(spec: Experiment, traffic: float | None, baseline: float | None) -> list[GatePower]:
    """What the gate of each stage can see; empty without stages, or where there is nothing to compare."""
    from allocator.errors import ArgumentError, SpecError
    from allocator.inference.stage_power import baseline_of, gate_powers, watched

    if not spec.stages:
        return []
    found: list[GatePower] = []
    for metric, loss in watched(spec).items():
        given = baseline if metric == spec.objective else None
        try:
            found += gate_powers(spec, metric, baseline_of(spec, metric, given), loss, traffic)
        except ArgumentError as error:
            if given is not None:
                raise typer.BadParameter(f"{given!r}: expected {error.expected}", param_hint="'--baseline'") from error
        except SpecError:  # one arm: nothing to compare
            return []
    return sorted(found, key=lambda power: power.stage)


def sentences(spec: Experiment, found: Iterable[GatePower]) -> Iterator[str]:
    """A line a stage and metric, then what the metrics are on control."""
    known: dict[str, str] = {}
    for each in found:
        stage = f"stage {each.stage + 1} of {len(spec.stages)}, {100 * spec.stages[each.stage].enrolment:.3g} % enrolled"
        days = "" if each.days is None else f" (about {rough_duration(each.days * 86400.0)})"
        gate = ""
        if each.gate_units is not None and each.gate_power is not None:
            power = f"{each.gate_power:.2f}" if each.gate_power >= 0.01 else "below 0.01"
            gate = f"; its gate may open after {each.gate_units:,} in all, power {power}"
        yield (
            f"  {stage}: detects a loss of {100 * each.loss:.3g} % in {each.metric} "
            f"with power {each.power:g} after {each.units:,} units{days}{gate}"
        )
        known[each.metric] = _known(spec, each)
    yield from known.values()


def _known(spec: Experiment, power: GatePower) -> str:
    base, kind = power.known.baseline, spec.metrics[power.metric].type
    value = f"{100 * base.value:.3g} %" if kind == "binary" else f"{base.value:.3g}"
    spread = "" if kind == "binary" else f", with a standard deviation of {base.variance(base.value) ** 0.5:.3g}"
    said = {"given": "as given", "prior": "by its prior", "assumed": "an assumption, --baseline says better"}[power.known.origin]
    return f"  {power.metric} on control: {value}{spread} ({said})"


def _say(
    name: str, go: Literal["advance", "back"], by: str | None, why: str, bootstrap: str | None, prefix: str, as_json: bool
) -> None:
    connection, topics = connect(bootstrap), Topics(prefix)

    async def write() -> tuple[Experiment, int]:
        from allocator.stages import said
        from allocator.standing import Standing
        from streams.cli.weights import read_weights
        from streams.experiments import amend

        await topic_must_exist(connection, topics.experiments)
        weights = (await read_weights(connection, topics)).get(name, [])
        standing = next((found.standing for found in weights if found.segment is None), Standing())
        _, changed = await amend(connection, topics, name, lambda spec: said(spec, standing, go, why), author(by, why))
        return changed, standing.stage

    spec, place = run(write())
    if as_json:
        print_json({"experiment": spec.experiment, "word": spec.word, "stage": place + 1, "revision": spec.revision})
        return
    what = "may be left once its gate holds" if go == "advance" else "is left for the one before"
    typer.echo(f"{name}: stage {place + 1} of {len(spec.stages)} {what}, revision {spec.revision}")
