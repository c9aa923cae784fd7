"""Starting and stopping aiokafka clients, with one sentence instead of forty seconds when nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError, RequestTimedOutError

from allocator.errors import AllocatorError
from streams.connection import Connection
from streams.seam import stop

__all__ = ["ANSWER_TIMEOUT_S", "UNREACHABLE", "Unreachable", "admin_client", "started"]

ANSWER_TIMEOUT_S = 7.0
"""How long a broker may take to answer; below the 10 s in which the command line promises an answer."""

UNREACHABLE = (KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError, RequestTimedOutError, TimeoutError, OSError)
"""What aiokafka raises when a broker is gone."""

Client = TypeVar("Client", AIOKafkaAdminClient, AIOKafkaConsumer, AIOKafkaProducer)


class Unreachable(AllocatorError):
    """No broker answered at `address`."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__(
            f"no Kafka broker answered at {address}. Check --bootstrap (or ALLOCATOR_BOOTSTRAP), and "
            "ALLOCATOR_SECURITY_PROTOCOL with ALLOCATOR_SASL_* if the cluster asks for TLS or a login"
        )


@asynccontextmanager
async def started(client: Client, connection: Connection) -> AsyncIterator[Client]:
    """The client, started; closed at the end.

    Raises
    ------
    Unreachable : no broker answered in `ANSWER_TIMEOUT_S`, at the start or later.
    """
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await client.start()
        yield client
    except UNREACHABLE as error:
        raise Unreachable(connection.bootstrap) from error
    finally:
        if isinstance(client, AIOKafkaConsumer):
            await stop(client)
        elif isinstance(client, AIOKafkaAdminClient):
            await client.close()
        else:
            await client.stop()


def admin_client(connection: Connection, **options: Any) -> AIOKafkaAdminClient:
    """An admin client that gives up in time."""
    return AIOKafkaAdminClient(**connection.aiokafka(), request_timeout_ms=int(ANSWER_TIMEOUT_S * 1000), **options)
