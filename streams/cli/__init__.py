"""The command `allocator`. One file a command group; this one gathers them and turns errors into a sentence and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage. Whatever is heavy (Faust, SciPy, RocksDB, aiokafka) is imported inside the
command that needs it, so that `--help` is quick.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from allocator.errors import AllocatorError
from streams.cli import (
    audit,
    demo,
    dlt,
    doctor,
    experiments,
    guardrails,
    health,
    lifecycle,
    namespaces,
    plan,
    report,
    schema,
    send,
    simulate,
    stages,
    weights,
    worker,
)
from streams.cli.output import fail

__all__ = ["app", "main"]


class _Commands(TyperGroup):
    """Commands in the order in which they are needed, whose expected errors end without a traceback."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except AllocatorError as error:
            fail(error, as_json=ctx.meta.get("json", False))
            raise typer.Exit(1) from error


app = typer.Typer(cls=_Commands, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
app.command()(demo.demo)
app.command()(worker.worker)
app.command()(experiments.apply)
app.command("list")(experiments.list_)
app.command()(experiments.show)
app.command()(lifecycle.start)
app.command()(lifecycle.pause)
app.command()(lifecycle.resume)
app.command()(stages.advance)
app.command()(stages.rollback)
app.command()(guardrails.overrule)
app.command()(lifecycle.promote)
app.command()(lifecycle.stop)
app.command()(lifecycle.archive)
app.command()(lifecycle.changes)
app.command()(weights.weights)
app.command()(report.report)
app.command()(namespaces.namespaces)
app.command()(send.send)
app.command()(doctor.doctor)
app.command()(health.health)
app.add_typer(dlt.app, name="dlt")
app.command()(audit.rebuild)
app.command()(audit.diff)
app.command()(plan.plan)
app.command()(simulate.simulate)
app.command()(schema.schema)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(version("streaming-allocator"))
        except PackageNotFoundError:
            typer.echo("not installed: running from its source")
        raise typer.Exit()


@app.callback()
def allocator(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Moves traffic to the better arm while the experiment runs: exposures and rewards in, weights out, on Kafka."""


def main() -> None:
    """Entry point of the command line."""
    app(prog_name="allocator")
