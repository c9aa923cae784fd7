"""`allocator send`: exposures or rewards from a file, for a first try, a backfill or a test."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from streams.cli.kafka import connect, run, topic_must_exist
from streams.cli.options import Bootstrap, InputFile, Json, Prefix
from streams.cli.output import CommandError, print_json
from streams.topics import PREFIX, Topics

if TYPE_CHECKING:
    from streams.event_files import BadLine, Event

__all__ = ["send"]

SHOWN_MAX = 20
"""Bad lines named one by one; the rest are counted."""
IN_FLIGHT_MAX = 2000
"""Records sent before the first of them must have been acknowledged."""


class Kind(StrEnum):
    """What a file holds."""

    EXPOSURES = "exposures"
    REWARDS = "rewards"


class Format(StrEnum):
    """How a file holds it."""

    AUTO = "auto"
    JSONL = "jsonl"
    CSV = "csv"


def send(
    kind: Annotated[Kind, typer.Argument(help="What the lines are.")],
    file: InputFile,
    layout: Annotated[Format, typer.Option("--format", help="auto: lines that start with { are JSON.")] = Format.AUTO,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check the lines and send nothing; needs no Kafka.")] = False,
    bootstrap: Bootstrap = None,
    prefix: Prefix = PREFIX,
    as_json: Json = False,
) -> None:
    """Send a file of exposures or rewards. Bad lines are named, the good ones sent; then the exit code is 1."""
    from streams.event_files import read_events
    from streams.records import Exposure, Reward

    struct: Any = Exposure if kind is Kind.EXPOSURES else Reward
    is_csv = None if layout is Format.AUTO else layout is Format.CSV
    bad: list[BadLine] = []
    try:
        with _opened(file) as lines:
            events = _good(read_events(lines, struct, is_csv=is_csv), bad)
            if dry_run:
                good = sum(1 for _ in events)
            else:
                connection, topic = connect(bootstrap), getattr(Topics(prefix), kind.value)
                good = run(_send(connection, topic, events))
    except UnicodeDecodeError as error:
        raise CommandError(f"{file}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    _report(kind, good, bad, dry_run, as_json)
    if bad:
        raise typer.Exit(1)


@contextmanager
def _opened(file: Path) -> Iterator[TextIO]:
    if str(file) == "-":
        yield sys.stdin
    else:
        with file.open(encoding="utf-8", newline="") as opened:
            yield opened


def _good(lines: Iterator[Event | BadLine], bad: list[BadLine]) -> Iterator[Event]:
    """The events; bad lines go to `bad`."""
    from streams.event_files import Event

    for line in lines:
        if isinstance(line, Event):
            yield line
        else:
            bad.append(line)


async def _send(connection: Any, topic: str, events: Iterator[Event]) -> int:
    """How many were acknowledged: all, or an error says otherwise."""
    from aiokafka import AIOKafkaProducer

    from streams.clients import ANSWER_TIMEOUT_S, started

    await topic_must_exist(connection, topic)
    producer = AIOKafkaProducer(
        **connection.aiokafka(), acks="all", enable_idempotence=True, linger_ms=5, request_timeout_ms=int(ANSWER_TIMEOUT_S * 1000)
    )
    sent = 0
    async with started(producer, connection):
        in_flight: list[asyncio.Future[Any]] = []
        for event in events:
            in_flight.append(await producer.send(topic, event.value, event.key))
            if len(in_flight) == IN_FLIGHT_MAX:
                sent += len(await asyncio.gather(*in_flight))
                in_flight.clear()
        sent += len(await asyncio.gather(*in_flight))
    return sent


def _report(kind: Kind, good: int, bad: list[BadLine], dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({"kind": kind.value, "sent": 0 if dry_run else good, "good": good, "bad": len(bad), "errors": bad})
        return
    for line in bad[:SHOWN_MAX]:
        typer.echo(f"line {line.line}: {line.error}", err=True)
    if len(bad) > SHOWN_MAX:
        typer.echo(f"... and {len(bad) - SHOWN_MAX} more bad lines", err=True)
    typer.echo(f"{good} {kind.value} {'checked, nothing sent' if dry_run else 'sent'}, {len(bad)} bad")
