"""`allocator rebuild` and `allocator diff`: the state once more from the sources, and where it differs from the live one."""

from __future__ import annotations

import re
import time
from decimal import Context, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.kafka import connect, run
from streams.cli.options import Bootstrap, Json, Prefix
from streams.cli.output import console, print_json, table
from streams.topics import PREFIX, Topics

if TYPE_CHECKING:
    from allocator.experiment import Experiment
    from streams.audit import Comparison, Difference
    from streams.audit.compare import Arm, ArmName
    from streams.audit.run import Rebuilt
    from streams.connection import Connection

__all__ = ["diff", "rebuild"]

DIRECTORY = Path("allocator-rebuilds")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SHOWN_MAX = 10
"""Differences of each kind on the screen; the rest are counted, and in the JSON."""
PROGRESS_S = 2.0
EXACT = Context(prec=200)


def _name(given: str) -> str:
    if not NAME.fullmatch(given):
        raise typer.BadParameter(f"{given!r} is not a name: letters, digits, dot, dash, underscore")
    return given


DataDir = Annotated[Path, typer.Option("--data-dir", file_okay=False, help="Rebuilds are kept here, one directory each.")]


def rebuild(
    name: Annotated[str, typer.Option("--as", metavar="NAME", callback=_name, help="What to call it.")],
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin again if there is one; otherwise it goes on.")] = False,
    data_dir: DataDir = DIRECTORY,
    bootstrap: Bootstrap = None,
    prefix: Prefix = PREFIX,
    as_json: Json = False,
) -> None:
    """Read exposures and rewards from the beginning into a second state, on this machine, up to where the live one stands.

    Live workers do not notice: nothing is written to Kafka. Interrupted, it goes on when run again. Then: allocator diff NAME.
    """
    began = time.monotonic()
    made = run(_rebuild(connect(bootstrap), Topics(prefix), data_dir, name, fresh))
    seconds = time.monotonic() - began
    if as_json:
        print_json({"name": name, "records": made.records, "seconds": round(seconds, 3), "offsets": _keyed(made.offsets)})
        return
    typer.echo(f"{name}: {_grouped(made.records)} records folded in {seconds:.1f} s, to where the live state stands")
    typer.echo(f"allocator diff {name}: whether they are equal")


def diff(
    name: Annotated[str, typer.Argument(metavar="NAME", callback=_name, help="Of a rebuild.")],
    segments: Annotated[bool, typer.Option("--segments", help="A row for each segment.")] = False,
    data_dir: DataDir = DIRECTORY,
    bootstrap: Bootstrap = None,
    prefix: Prefix = PREFIX,
    as_json: Json = False,
) -> None:
    """Compare the live state with a rebuild bit for bit at the same offsets: arms, counters, units. Exit code 1 if they differ.

    The rebuild goes on to where the live state stands first, so it can be made once and compared again and again.
    """
    found = run(_diff(connect(bootstrap), Topics(prefix), data_dir, name))
    if as_json:
        print_json(_as_json(found))
    else:
        _print(found, name, segments=segments)
    if not found.equal:
        raise typer.Exit(1)


# -- Kafka -----------------------------------------------------------------------------------------------------------------------


async def _rebuild(connection: Connection, topics: Topics, directory: Path, name: str, fresh: bool) -> Rebuilt:
    from streams.audit import rebuild as build

    return await build(connection, topics, directory, name, fresh=fresh, progress=_Reporter())


async def _diff(connection: Connection, topics: Topics, directory: Path, name: str) -> Comparison:
    from streams.audit import diff as compare

    return await compare(connection, topics, directory, name)


class _Reporter:
    """Says now and then on standard error how far it is."""

    def __init__(self) -> None:
        self._began_at = self._said_at = time.monotonic()
        self._first: int | None = None

    def __call__(self, reached: int, of: int) -> None:
        now = time.monotonic()
        self._first = reached if self._first is None else self._first
        if now - self._said_at > PROGRESS_S:
            rate = (reached - self._first) / (now - self._began_at)
            self._said_at = now
            typer.echo(f"{_grouped(reached)} of {_grouped(of)} records, {_grouped(round(rate))} a second", err=True)


# -- print -----------------------------------------------------------------------------------------------------------------------


def _print(found: Comparison, name: str, *, segments: bool) -> None:
    from rich.markup import escape

    shown = table("experiment", "arm", *(["segment"] if segments else []), ">units", "sums", f"live and {name}")
    for arm, sums in sorted(_rows(found, segments).items()):
        spec = found.specs.get(arm.experiment)
        state = "[green]equal[/]" if sums.equal else f"[bold red]{escape(_changes(sums, spec))}[/]"
        label = arm.arm + (" (holdback)" if arm.holdback else "")
        middle = [escape(arm.segment)] if segments else []
        units = _grouped(sums.live[0] if sums.live else 0)
        shown.add_row(escape(arm.experiment), escape(label), *middle, units, escape(_sums(sums.live, spec)), state)
    console().print(shown)
    for kind in ("cell", "counter", "unit", "event time"):
        _print_differences(kind, [d for d in found.differences if d.kind == kind], found)
    for partition, offsets in sorted(found.offsets.items()):
        at = ", ".join(f"{topic.split('.')[-2]} {_grouped(offset)}" for topic, offset in sorted(offsets.items()))
        typer.echo(f"partition {partition} at {at or 'its beginning'}")
    if found.refused:
        typer.echo(f"{_grouped(found.refused)} dead letters of the live state were left out here, too")
    for note in found.notes:
        typer.echo(f"note: {note}")
    _print_verdict(found)


def _print_differences(kind: str, differences: list[Difference], found: Comparison) -> None:
    if not differences:
        return
    from rich.markup import escape

    names = {"cell": "sums", "counter": "events by outcome", "unit": "unit records", "event time": "event time"}
    shown = table(f"{names[kind]} that differ", "partition", "field", ">live", ">rebuilt")
    for d in differences[:SHOWN_MAX]:
        shown.add_row(escape(d.name), str(d.partition), escape(d.field), escape(_value(d.live)), escape(_value(d.rebuilt)))
    console().print(shown)
    if len(differences) > SHOWN_MAX:
        typer.echo(f"  ... {found.differing[kind]} of {found.compared[kind]} differ; --json shows more")


def _print_verdict(found: Comparison) -> None:
    words = {"cell": "cells", "counter": "sets of counters", "unit": "unit records", "event time": "event times"}
    if found.equal:
        counted = ", ".join(f"{_grouped(found.compared[kind])} {word}" for kind, word in words.items() if kind != "event time")
        typer.echo(f"equal, bit for bit, at the same offsets: {counted}")
        return
    parts = [f"{_grouped(n)} of {_grouped(found.compared[kind])} {words[kind]}" for kind, n in found.differing.items()]
    typer.echo(f"DIFFERENT at the same offsets: {', '.join(parts)}")


def _rows(found: Comparison, segments: bool) -> dict[ArmName, Arm]:
    """The arms, segments added up unless they are asked for."""
    from streams.audit.compare import merged

    rows: dict[ArmName, Arm] = {}
    for name, arm in found.arms.items():
        key = name if segments else name._replace(segment="")
        rows[key] = merged(rows[key], arm) if key in rows else arm
    return rows


def _sums(sums: list[int], spec: Experiment | None) -> str:
    """Each metric's sum in its own unit, exactly."""
    if spec is None:
        return "(no spec)"
    return ", ".join(
        f"{name} {_decimal(steps, metric.resolution)}"
        for (name, metric), steps in zip(spec.metrics.items(), sums[1:], strict=False)
    )


def _decimal(steps: int, resolution: float) -> str:
    text = f"{EXACT.multiply(Decimal(steps), Decimal(repr(resolution))):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _changes(arm: Arm, spec: Experiment | None) -> str:
    """What the totals have in common is left out; partitions can differ and make up for each other."""
    from streams.audit.compare import named_sums

    live, rebuilt = named_sums(arm.live, spec), named_sums(arm.rebuilt, spec)
    changed = [f for f in dict.fromkeys([*live, *rebuilt]) if live.get(f, 0) != rebuilt.get(f, 0)]
    if not changed:
        return "differ by partition or period"
    first = f"{changed[0]} {_value(live.get(changed[0], 0))} live, {_value(rebuilt.get(changed[0], 0))} rebuilt"
    return first + (f" and {len(changed) - 1} more" if len(changed) > 1 else "")


def _value(value: Any) -> str:
    return "-" if value is None else _grouped(value) if isinstance(value, int) else str(value)


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _keyed(offsets: dict[int, dict[str, int]]) -> dict[str, dict[str, int]]:
    return {str(partition): of_topic for partition, of_topic in sorted(offsets.items())}


def _as_json(found: Comparison) -> dict[str, Any]:
    return {
        "equal": found.equal,
        "offsets": _keyed(found.offsets),
        "arms": [
            {**name._asdict(), "equal": arm.equal, "live": _plain(arm.live), "rebuilt": _plain(arm.rebuilt)}
            for name, arm in sorted(found.arms.items())
        ],
        "compared": dict(found.compared),
        "differing": dict(found.differing),
        "differences": [{**d._asdict(), "live": _plain(d.live), "rebuilt": _plain(d.rebuilt)} for d in found.differences],
        "dead_letters": found.refused,
        "notes": found.notes,
    }


def _plain(value: Any) -> Any:
    """Integers as text from where JSON's readers would round them."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, int) and abs(value) >= 1 << 53 else value
