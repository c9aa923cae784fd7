"""Running what a command does with Kafka, from start to end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from streams.cli.output import CommandError

if TYPE_CHECKING:
    from streams.connection import Connection

__all__ = ["connect", "run", "topic_must_exist"]

T = TypeVar("T")


def connect(bootstrap: str | None) -> Connection:
    """How to reach Kafka, from the option or the environment."""
    import typer

    from streams.connection import Connection

    connection = Connection.from_environment(bootstrap)
    for address in connection.bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise typer.BadParameter(f"{address!r} is not HOST:PORT", param_hint="--bootstrap")
    return connection


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result; what Kafka refuses becomes a sentence."""
    from aiokafka.errors import KafkaError

    # aiokafka logs, as errors, what it then raises or retries
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        return asyncio.run(coroutine)
    except KafkaError as error:
        raise CommandError(f"Kafka refused: {error}") from error


async def topic_must_exist(connection: Connection, topic: str) -> None:
    """Raises CommandError if the topic is missing. Reading a missing topic would make some brokers create it, wrongly set up."""
    from streams.clients import admin_client, started

    async with started(admin_client(connection), connection) as admin:
        if topic not in await admin.list_topics():
            repair = "Start a worker (allocator worker) or run allocator doctor --fix, or name another --prefix"
            raise CommandError(f"there is no topic {topic} on {connection.bootstrap}. {repair}")
