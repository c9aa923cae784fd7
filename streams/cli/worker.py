"""`allocator worker`: one worker process."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from streams.cli.kafka import connect, run
from streams.cli.options import Bootstrap, Partitions, Prefix
from streams.settings import WorkerSettings

__all__ = ["worker"]

DATA_DIR = Path("allocator-data")
DEFAULT = WorkerSettings(data_dir=DATA_DIR)


class LogLevel(StrEnum):
    """How much the worker says on standard error."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


LOG_LEVEL = LogLevel(DEFAULT.log_level)


def worker(
    bootstrap: Bootstrap = None,
    prefix: Prefix = DEFAULT.prefix,
    data_dir: Annotated[
        Path,
        typer.Option(
            "--data-dir", file_okay=False, envvar="ALLOCATOR_DATA_DIR", help="State lives here; each worker needs its own."
        ),
    ] = DATA_DIR,
    web_host: Annotated[str, typer.Option("--web-host", help="Address the dashboard and API listen on.")] = DEFAULT.web_host,
    web_port: Annotated[
        int, typer.Option("--web-port", min=0, max=65535, help="Its port, one a worker; 0 takes a free one.")
    ] = DEFAULT.web_port,
    advertised_url: Annotated[
        str | None, typer.Option("--advertised-url", metavar="URL", help="How other workers reach this one's web, if otherwise.")
    ] = None,
    partitions: Partitions = DEFAULT.partitions,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="The broker is the demo's: make and check no topics.")
    ] = DEFAULT.embedded,
    session_timeout: Annotated[
        float,
        typer.Option(
            "--session-timeout",
            metavar="SECONDS",
            min=1.0,
            max=60.0,
            help="A dead worker's partitions move to others after this.",
        ),
    ] = DEFAULT.session_timeout_s,
    chunk_records_max: Annotated[
        int, typer.Option("--chunk-records-max", min=1, help="Records of each source in one transaction, when that many wait.")
    ] = DEFAULT.chunk_records_max,
    batch_bytes: Annotated[
        int, typer.Option("--batch-bytes", min=2000, help="Largest record batch sent; at most the broker's message.max.bytes.")
    ] = DEFAULT.batch_bytes,
    unknown_grace: Annotated[
        float,
        typer.Option(
            "--unknown-grace", min=0, metavar="SECONDS", help="How long an event may be ahead of its experiment's spec."
        ),
    ] = DEFAULT.unknown_grace_s,
    queue_mib: Annotated[
        int, typer.Option("--queue-mib", min=1, metavar="MIB", help="Memory for events fetched and not counted yet.")
    ] = DEFAULT.queue_bytes >> 20,
    cache_mib: Annotated[
        int, typer.Option("--cache-mib", min=1, metavar="MIB", help="Memory for blocks of the store; 1.25 bytes a unit, or more.")
    ] = DEFAULT.cache_bytes >> 20,
    write_buffer_mib: Annotated[
        int, typer.Option("--write-buffer-mib", min=1, metavar="MIB", help="Memory for records not yet in the store's files.")
    ] = DEFAULT.write_buffer_bytes >> 20,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Go on although records of a source are gone that its state is made of.")
    ] = DEFAULT.accept_loss,
    log_level: Annotated[
        LogLevel, typer.Option("--log-level", envvar="ALLOCATOR_LOG_LEVEL", case_sensitive=False, help="How much to log.")
    ] = LOG_LEVEL,
) -> None:
    """Run one worker: join, allocate, publish weights, serve the dashboard. Start several, they share the partitions."""
    settings = WorkerSettings(
        connection=connect(bootstrap),
        prefix=prefix,
        data_dir=data_dir,
        partitions=partitions,
        web_host=web_host,
        web_port=web_port,
        advertised_url=advertised_url,
        embedded=embedded,
        session_timeout_s=session_timeout,
        chunk_records_max=chunk_records_max,
        batch_bytes=batch_bytes,
        unknown_grace_s=unknown_grace,
        queue_bytes=queue_mib << 20,
        cache_bytes=cache_mib << 20,
        write_buffer_bytes=write_buffer_mib << 20,
        accept_loss=accept_loss,
        log_level=log_level.value,
    )
    run(_check(settings))
    from streams.worker import run_worker

    raise typer.Exit(run_worker(settings))


async def _check(settings: WorkerSettings) -> None:
    """What can be wrong with the broker or its topics is said before Faust starts, as a sentence."""
    from streams.admin import ensure_topics
    from streams.clients import admin_client, started

    if settings.embedded:
        async with started(admin_client(settings.connection), settings.connection):
            return
    await ensure_topics(settings.connection, settings.topics, partitions=settings.partitions)
