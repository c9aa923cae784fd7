"""`allocator schema`: the records' JSON Schemas and the AsyncAPI document."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from streams.cli.options import Json
from streams.cli.output import CommandError, print_json

__all__ = ["schema"]


def schema(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this one: exposure, reward, ..., asyncapi.")] = None,
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="DIR", file_okay=False, help="Write the files there instead of printing them."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the JSON Schema of every record and the AsyncAPI document of every topic."""
    import yaml

    from streams.schema import documents

    files = {file: text for file, text in documents().items() if name in (None, file.split(".")[0])}
    if not files:
        raise CommandError(f"no schema {name!r}; there are {', '.join(file.split('.')[0] for file in documents())}")
    if write is not None:
        write.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (write / file).write_text(text, encoding="utf-8")
        if as_json:
            print_json([str(write / file) for file in files])
        else:
            typer.echo("\n".join(f"wrote {write / file}" for file in files))
    elif as_json:
        parsed = {file: (yaml.safe_load if file.endswith(".yaml") else orjson.loads)(text) for file, text in files.items()}
        print_json(parsed if name is None else next(iter(parsed.values())))
    else:
        for file, text in files.items():
            typer.echo(text if name is not None else f"--- # {file}\n{text}", nl=name is None)
