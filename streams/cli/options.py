"""Options that many commands share, each said once. They come after the command: ``allocator list --prefix shop``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.connection import BOOTSTRAP_DEFAULT
from streams.topics import PREFIX

if TYPE_CHECKING:
    from streams.changes import Author

__all__ = [
    "Bootstrap",
    "By",
    "InputFile",
    "Json",
    "Name",
    "Partitions",
    "Phase",
    "Prefix",
    "SpecFile",
    "SpecFiles",
    "Why",
    "author",
]


def _remember(ctx: typer.Context, wanted: bool) -> bool:
    ctx.meta["json"] = wanted  # for errors, which are reported outside the command
    return wanted


def _readable(given: Path | list[Path] | None) -> Path | list[Path] | None:
    for file in given if isinstance(given, list) else [given] if given is not None else []:
        if str(file) != "-" and not file.is_file():
            raise typer.BadParameter(f"{str(file)!r} is not a file")
    return given


Bootstrap = Annotated[
    str | None,
    typer.Option(
        "--bootstrap",
        metavar="HOST:PORT[,...]",
        envvar="ALLOCATOR_BOOTSTRAP",
        show_default=BOOTSTRAP_DEFAULT,
        help="Kafka brokers to start from.",
    ),
]
Prefix = Annotated[
    str, typer.Option("--prefix", envvar="ALLOCATOR_PREFIX", help=f"Topics are named {PREFIX}.exposures.v1 and so on.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.", callback=_remember)]
InputFile = Annotated[Path, typer.Argument(metavar="FILE", callback=_readable, help="JSON lines or CSV; - is stdin.")]
SpecFile = Annotated[Path | None, typer.Argument(metavar="[SPEC]", callback=_readable, help="YAML or JSON; - is stdin.")]
SpecFiles = Annotated[list[Path], typer.Argument(metavar="SPEC...", callback=_readable, help="YAML or JSON; - is stdin.")]
Phase = Annotated[
    int | None, typer.Option("--phase", min=1, metavar="N", help="As in that phase, with what it counted; else the present one.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The experiment's name.")]
Partitions = Annotated[
    int, typer.Option("--partitions", min=1, help="Partitions of exposures and rewards, if they are to be made.")
]
By = Annotated[
    str | None,
    typer.Option("--by", metavar="WHO", envvar="ALLOCATOR_USER", show_default="the system's user", help="Who makes the change."),
]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="Why it is made, for allocator changes.")]


def author(by: str | None, why: str) -> Author:
    """Who makes a change, by the options `By` and `Why`."""
    from streams.changes import Author, whoever

    return Author(by or whoever(), why)
