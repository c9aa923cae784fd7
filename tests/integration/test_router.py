"""The router on real Kafka: it reads what is there, follows what comes, and outlives the broker."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.partitioner import murmur2

from allocator.errors import TopicError
from allocator.weights import PPM, Gate, Holdback, WeightedArm, Weights
from deploy.kafka.broker import Broker
from streams.admin import ensure_topics
from streams.clients import Unreachable
from streams.connection import Connection
from streams.records import Exposure, encode
from streams.router import Router
from streams.topics import Topics

pytestmark = pytest.mark.kafka
TIMEOUT_S = 60.0
PARTITIONS = 3


def published(version: int, ppm_of_b: int = 500_000, experiment: str = "chat") -> Weights:
    now = time.time()
    return Weights(
        experiment=experiment,
        version=version,
        arms=(WeightedArm("a", PPM - ppm_of_b, 11), WeightedArm("b", ppm_of_b, 12)),
        enrolment=Gate(PPM, 7),
        holdback=Holdback(0, 8, "a"),
        valid_until=now + 600,
        fallback="a",
        policy="thompson",
        reason="test",
        spec_hash="0",
        ts=now,
    )


@asynccontextmanager
async def publisher(bootstrap: str, prefix: str, **options: Any) -> AsyncIterator[Callable[[Weights | None], Any]]:
    """Makes the topics, and gives a function that publishes weights as the allocator does (None: a tombstone)."""
    await ensure_topics(Connection(bootstrap), Topics(prefix), partitions=PARTITIONS)
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, **options) as kafka:

        async def publish(weights: Weights | None) -> None:
            value = None if weights is None else encode(weights)
            key = b"chat" if weights is None else weights.experiment.encode()
            await kafka.send_and_wait(Topics(prefix).weights, value, key)

        publish.kafka = kafka  # type: ignore[attr-defined]
        yield publish


async def test_reads_what_was_published_and_follows_what_comes(kafka: Broker, prefix: str) -> None:
    async with publisher(kafka.bootstrap, prefix) as publish:
        for version in range(1, 40):
            await publish(published(version))
        await publish(published(1, experiment="search"))
        async with Router(kafka.bootstrap, prefix=prefix) as router, asyncio.timeout(TIMEOUT_S):
            assert (router.weights("chat").version, router.weights("search").version) == (39, 1)
            assert router.counters.applied == 40
            waiting = asyncio.create_task(router.changed("chat", after_version=39))
            await publish(published(40, ppm_of_b=PPM))
            assert (await waiting).version == 40
            assert router.assign("chat", "u-1").arm == "b"
            assert router.staleness_s("chat") < TIMEOUT_S


async def test_is_ready_on_an_empty_topic_and_on_one_that_ends_with_a_marker(kafka: Broker, prefix: str) -> None:
    async with publisher(kafka.bootstrap, prefix, transactional_id=prefix) as publish:
        async with Router(kafka.bootstrap, prefix=prefix) as router:
            assert router.counters.applied == 0
        async with publish.kafka.transaction():
            await publish(published(1))
        async with Router(kafka.bootstrap, prefix=prefix) as router:
            assert router.weights("chat").version == 1


async def test_sees_only_what_is_committed_and_does_not_wait_for_the_rest(kafka: Broker, prefix: str) -> None:
    async with publisher(kafka.bootstrap, prefix, transactional_id=prefix) as publish, asyncio.timeout(TIMEOUT_S):
        async with publish.kafka.transaction():
            await publish(published(1))
        await publish.kafka.begin_transaction()
        await publish(published(2))
        async with Router(kafka.bootstrap, prefix=prefix) as router:  # ready while a transaction is open
            assert router.weights("chat").version == 1
            await publish.kafka.abort_transaction()
            async with publish.kafka.transaction():
                await publish(published(3))
            assert (await router.changed("chat", after_version=1)).version == 3
            assert router.counters.applied == 2


async def test_exposures_arrive_under_the_unit_on_its_partition(kafka: Broker, prefix: str) -> None:
    topic = Topics(prefix).exposures
    async with publisher(kafka.bootstrap, prefix) as publish:
        await publish(published(7))
        async with Router(kafka.bootstrap, prefix=prefix) as router:
            units = [f"u-{i}" for i in range(50)] + ["größer", "用户-42"]
            logged = [router.expose(router.assign("chat", unit, segment="pro"), covariates={"n": 1}) for unit in units]
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
    found = {}
    async with consumer, asyncio.timeout(TIMEOUT_S):
        while len(found) < len(units):
            record = await consumer.getone()
            exposure = msgspec.json.decode(record.value, type=Exposure)
            assert record.key == exposure.unit.encode()
            assert record.partition == (murmur2(record.key) & 0x7FFFFFFF) % PARTITIONS
            found[exposure.unit] = exposure
    assert list(found.values()) == [found[exposure.unit] for exposure in found.values()]
    assert found == {exposure.unit: exposure for exposure in logged if exposure is not None}


async def test_a_missing_topic_is_named(kafka: Broker, prefix: str) -> None:
    with pytest.raises(TopicError, match=rf"{prefix}\.weights\.v1 has not been made"):
        await Router(kafka.bootstrap, prefix=prefix).start()


async def test_an_address_where_nobody_answers_is_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: refused
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(Unreachable, match=address):
            await Router(address).start()


@pytest.mark.chaos
async def test_goes_on_without_kafka_and_catches_up_when_it_is_back(own_kafka: Callable[..., Broker], prefix: str) -> None:
    broker = await asyncio.to_thread(own_kafka)
    async with publisher(broker.bootstrap, prefix) as publish:
        await publish(published(1, ppm_of_b=PPM))
        async with Router(broker.bootstrap, prefix=prefix) as router, asyncio.timeout(2 * TIMEOUT_S):
            await asyncio.to_thread(broker.kill)
            assert router.assign("chat", "u-1").arm == "b"
            exposure = router.expose(router.assign("chat", "u-1"))
            assert exposure is not None
            assert router._events.pending == 1
            await asyncio.to_thread(broker.start)
            await publish(published(2, ppm_of_b=0))
            assert (await router.changed("chat", after_version=1)).version == 2
            assert router.assign("chat", "u-1").arm == "a"
            await router._events.flush()
            assert router._events.counters.sent == 1


async def test_the_example_in_a_process_of_its_own_receives_new_weights(kafka: Broker, prefix: str) -> None:
    command = ["-m", "streams.router_example", "--bootstrap", kafka.bootstrap, "--prefix", prefix, "--experiment", "chat"]
    async with publisher(kafka.bootstrap, prefix) as publish, asyncio.timeout(TIMEOUT_S):
        await publish(published(1))
        example = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}
        )
        assert example.stdout is not None
        try:
            assert b"version 1" in await example.stdout.readline()
            await publish(published(2, ppm_of_b=900_000))
            line = await example.stdout.readline()
            assert line.startswith(b"version 2, ")
            assert line.endswith(b": a 10.0 %, b 90.0 %\n")
        finally:
            example.kill()
            await example.communicate()
