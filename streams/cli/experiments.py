"""`allocator apply | list | show`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from streams.cli import quantities
from streams.cli.guardrails import breach_line
from streams.cli.kafka import connect, run, topic_must_exist
from streams.cli.options import Bootstrap, By, Json, Name, Phase, Prefix, SpecFiles, Why, author
from streams.cli.output import CommandError, FileErrors, console, lease, print_json, share, table
from streams.cli.stages import powers, sentences, stage_in_force, stage_line
from streams.phrases import rough_duration, utc
from streams.topics import PREFIX, Topics

if TYPE_CHECKING:
    from allocator.evidence import Evidence
    from allocator.experiment import Experiment
    from allocator.inference.stage_power import GatePower
    from allocator.weights import Weights
    from streams.borrowing import Wanted
    from streams.changes import Author
    from streams.connection import Connection

__all__ = ["apply", "difference", "ended_phase", "list_", "load_specs", "show"]

T = TypeVar("T")
STATUS_STYLE = {
    "draft": "yellow",
    "running": "green",
    "paused": "yellow",
    "promoted": "green",
    "stopped": "dim",
    "archived": "dim",
}


def apply(
    specs: SpecFiles,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the files and write nothing; needs no Kafka.")] = False,
    traffic: Annotated[
        float | None,
        typer.Option("--traffic", parser=quantities.per_day, metavar="N/day", help="With stages: new units in a time."),
    ] = None,
    baseline: Annotated[
        float | None,
        typer.Option("--baseline", parser=quantities.portion, metavar="X|X%", help="With stages: the objective on control."),
    ] = None,
    by: By = None,
    why: Why = "",
    yes: Annotated[bool, typer.Option("--yes", help="Even if counted data would be left unread.")] = False,
    bootstrap: Bootstrap = None,
    prefix: Prefix = PREFIX,
    as_json: Json = False,
) -> None:
    """Check spec files, then start or change their experiments. Priors that borrow from other experiments become numbers.

    A file that names the revision it was made from, as allocator show prints it, is refused if another one is in force by now.
    """
    wanted = _load_each(specs, _load_wanted)
    seen = [powers(each.experiment, traffic, baseline) for each in wanted]
    results: list[tuple[Experiment | None, Experiment]]
    _refuse_overlaps(specs, [each.experiment for each in wanted], {})
    if dry_run:
        results = [(None, each.experiment) for each in wanted]
    else:
        results = run(_put_in_force(connect(bootstrap), Topics(prefix), specs, wanted, author(by, why), yes))
    if as_json:
        print_json([_applied(before, after, power) for (before, after), power in zip(results, seen, strict=True)])
        return
    for (before, after), each, power in zip(results, wanted, seen, strict=True):
        later = ", what it borrows is looked up when it is applied" if each.borrows else ""
        typer.echo(f"{after.experiment}: checked, nothing written{later}" if dry_run else _sentence(before, after))
        for sentence in (*_caps(after), *sentences(after, power)):
            typer.echo(sentence)


def list_(
    every: Annotated[bool, typer.Option("--all", help="Archived ones too.")] = False,
    bootstrap: Bootstrap = None,
    prefix: Prefix = PREFIX,
    as_json: Json = False,
) -> None:
    """Every experiment with its status and the age of its weights."""
    specs, weights = run(_specs_and_weights(connect(bootstrap), Topics(prefix)))
    rows = [(specs[name], weights.get(name, [])) for name in sorted(specs) if every or specs[name].status != "archived"]
    if as_json:
        print_json([_summary(spec, found) for spec, found in rows])
        return
    if not rows:
        archived = f"; {len(specs)} are archived, see --all" if specs else ""
        typer.echo(f"no experiments yet; start one with: allocator apply SPEC{archived}")
        return
    shown = table("experiment", "status", ">revision", ">arms", "objective", "stage", ">weights", ">age")
    now = time.time()
    for spec, found in rows:
        newest = max(found, key=lambda w: w.version, default=None)
        stage = stage_in_force(spec, found)
        shown.add_row(
            spec.experiment,
            f"[{STATUS_STYLE[spec.status]}]{spec.status}[/]",
            str(spec.revision),
            str(len(spec.arms)),
            spec.objective,
            f"{stage['number']} of {stage['of']}, {share(stage['enrolment_ppm'])}" if stage else "-",
            str(newest.version) if newest else "-",
            rough_duration(now - newest.ts) if newest else "-",
        )
    console().print(shown)


def show(
    name: Name,
    tree: Annotated[
        bool, typer.Option("--tree", help="In place of the spec, the objective's parts with their effects against control.")
    ] = False,
    phase: Phase = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = PREFIX,
    as_json: Json = False,
) -> None:
    """The whole spec, defaults included, as YAML that can be applied again; as comments the weights in force and the holdback."""
    from streams.cli.holdback import holdback_comment, holdback_now
    from streams.cli.spec_yaml import to_yaml

    connection, topics = connect(bootstrap), Topics(prefix)
    specs, weights = run(_specs_and_weights(connection, topics))
    spec = specs.get(name)
    if spec is None:
        from difflib import get_close_matches

        near = get_close_matches(name, specs, 1)
        raise CommandError(f"no experiment {name!r}" + (f"; did you mean {near[0]!r}?" if near else "; allocator list shows all"))
    if phase is not None:
        spec = ended_phase(spec, phase)
    if tree:
        from streams.cli.tree_print import print_trees

        print_trees(spec, run(_evidence(connection, topics, spec)), as_json=as_json)
        return
    found, holdback = weights.get(name, []), run(holdback_now(connection, topics, spec))
    if as_json:
        print_json({"spec": spec, "weights": found, "stage": stage_in_force(spec, found), "holdback": holdback})
        return
    now, stage = time.time(), stage_in_force(spec, found)
    comments = [_comment(w, now) for w in found] or ["# no weights yet"]
    comments = [*([f"# {stage_line(stage, now)}"] if stage else []), *comments, *holdback_comment(spec, holdback)]
    if spec.earlier:
        comments.append(f"# phase {spec.phase} since {utc(spec.since)}; earlier ones: allocator show {name} --phase N")
    text = to_yaml(spec) + "\n".join(["", *comments])
    if sys.stdout.isatty():
        from rich.syntax import Syntax

        console().print(Syntax(text, "yaml", theme="ansi_dark", background_color="default", word_wrap=True))
    else:
        typer.echo(text)


def ended_phase(spec: Experiment, number: int) -> Experiment:
    """The experiment as it was in one of its phases. CommandError: it has no such phase."""
    from allocator.phases import in_phase

    if number > spec.phase:
        raise CommandError(f"{spec.experiment} has no phase {number}: it is in phase {spec.phase}")
    return in_phase(spec, number)


def load_specs(files: list[Path]) -> list[Experiment]:
    """Of files, or of standard input for ``-``. FileErrors names every mistake in every file."""
    from streams.own_policies import load_spec, require_policy

    def load(text: str) -> Experiment:
        experiment = load_spec(text)
        require_policy(experiment)
        return experiment

    return _load_each(files, load)


def _load_wanted(text: str) -> Wanted:
    from streams.borrowing import load_wanted
    from streams.own_policies import require_policy

    wanted = load_wanted(text)
    require_policy(wanted.experiment)
    return wanted


def _load_each(files: list[Path], load: Callable[[str], T]) -> list[T]:
    from allocator.errors import SpecErrors

    loaded, wrong = [], []
    for file in files:
        name = "stdin" if str(file) == "-" else str(file)
        try:
            loaded.append(load(sys.stdin.read() if name == "stdin" else file.read_text(encoding="utf-8")))
        except SpecErrors as errors:
            wrong.append((name, errors))
        except UnicodeDecodeError as error:
            raise CommandError(f"{name}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    if wrong:
        raise FileErrors(wrong)
    return loaded


def _refuse_overlaps(files: list[Path], wanted: list[Experiment], in_force: Mapping[str, Experiment]) -> None:
    """FileErrors if experiments of one namespace would share units."""
    from allocator.errors import SpecErrors
    from allocator.namespaces import conflicts_among

    found = zip(files, conflicts_among(wanted, in_force), strict=True)
    if wrong := [("stdin" if str(file) == "-" else str(file), SpecErrors(errors)) for file, errors in found if errors]:
        raise FileErrors(wrong)


async def _put_in_force(
    connection: Connection, topics: Topics, files: list[Path], wanted: list[Wanted], who: Author, discard: bool
) -> list[tuple[Experiment | None, Experiment]]:
    """Nothing is written before all that is borrowed is known, and all namespaces are found free."""
    from streams.borrowing import fill_in
    from streams.experiments import change, read_experiments
    from streams.quantiles import fill_in_caps

    if any(each.borrows for each in wanted):
        await topic_must_exist(connection, topics.experiments)
        await topic_must_exist(connection, topics.partials)
    specs = [await fill_in_caps(connection, topics, await fill_in(connection, topics, each)) for each in wanted]
    if any(spec.namespace is not None for spec in specs) and await _has_topic(connection, topics.experiments):
        _refuse_overlaps(files, specs, await read_experiments(connection, topics))
    filled = [(spec, each.revision) for spec, each in zip(specs, wanted, strict=True)]
    return [await change(connection, topics, spec, who, read=read, discard=discard) for spec, read in filled]


async def _has_topic(connection: Connection, topic: str) -> bool:
    from streams.clients import admin_client, started

    async with started(admin_client(connection), connection) as admin:
        return topic in await admin.list_topics()


def _sentence(before: Experiment | None, after: Experiment) -> str:
    if before is None:
        return f"{after.experiment}: new, {after.status}, {len(after.arms)} arms, revision {after.revision}"
    if before == after:
        return f"{after.experiment}: unchanged, {after.status}, revision {after.revision}"
    from allocator.lifecycle import differences

    lines = [f"{after.experiment}: changed, {after.status}, revision {after.revision}"]
    if after.phase != before.phase:
        lines.append(f"  phase {after.phase} counts exposures from {utc(after.since)} on; the one before: --phase {before.phase}")
    return "\n".join([*lines, *(difference(path, old, new) for path, old, new in differences(before, after))])


def difference(path: str, old: Any, new: Any) -> str:
    """One field before and after."""
    what = f"added {new!r}" if old is None else f"removed {old!r}" if new is None else f"{old!r} -> {new!r}"
    return f"  {path}: {what}"


def _caps(spec: Experiment) -> Iterator[str]:
    """What became of caps at a quantile."""
    from allocator.caps import units_needed

    for name, metric in spec.metrics.items():
        if metric.cap_quantile is not None:
            quantile = f"the quantile {metric.cap_quantile:g}"
            needed = f"none yet: apply again when {quantile} has {units_needed(metric.cap_quantile):,} units whose window is over"
            yield f"  cap of {name}: " + (needed if metric.cap is None else f"{metric.cap:g}, {quantile} of a warm-up")


def _applied(before: Experiment | None, after: Experiment, power: list[GatePower]) -> dict[str, Any]:
    from allocator.lifecycle import differences

    return {
        "experiment": after.experiment,
        "change": "new" if before is None else "unchanged" if before == after else "changed",
        "revision": after.revision,
        "status": after.status,
        "phase": after.phase,
        "since": after.since,
        "changes": [
            {"path": path, "before": old, "after": new} for path, old, new in (differences(before, after) if before else ())
        ],
        "spec": after,
        "stages": power,
    }


def _summary(spec: Experiment, weights: list[Weights]) -> dict[str, Any]:
    return {
        "experiment": spec.experiment,
        "status": spec.status,
        "revision": spec.revision,
        "arms": list(spec.arm_ids),
        "objective": spec.objective,
        "stage": stage_in_force(spec, weights),
        "weights": [
            {
                "segment": w.segment,
                "version": w.version,
                "ts": w.ts,
                "valid_until": w.valid_until,
                "ppm": {a.id: a.ppm for a in w.arms},
            }
            for w in weights
        ],
    }


def _comment(weights: Weights, now: float) -> str:
    segment = "" if weights.segment is None else f" of segment {weights.segment}"
    arms = ", ".join(f"{arm.id} {share(arm.ppm)}" for arm in weights.arms)
    head = f"# weights{segment}, version {weights.version}, {rough_duration(now - weights.ts)} old, {lease(weights, now)}"
    breaches = "".join(f"\n#   {breach_line(breach)}" for breach in weights.standing.breaches)
    return f"{head}\n#   {arms}\n#   {weights.reason}{breaches}"


async def _evidence(connection: Connection, topics: Topics, spec: Experiment) -> Evidence:
    from streams.totals import read_totals

    await topic_must_exist(connection, topics.partials)
    totals = await read_totals(connection, topics, {spec.experiment})
    return totals[spec.experiment].training(spec)


async def _specs_and_weights(connection: Connection, topics: Topics) -> tuple[dict[str, Experiment], dict[str, list[Weights]]]:
    from streams.cli.weights import read_weights
    from streams.experiments import read_experiments

    await topic_must_exist(connection, topics.experiments)
    return await read_experiments(connection, topics), await read_weights(connection, topics)
