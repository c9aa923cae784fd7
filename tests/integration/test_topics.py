"""Topics on a real broker: made as they must be, refused otherwise, mended on request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from allocator.errors import TopicErrors
from deploy.kafka.broker import Broker
from streams.admin import ensure_topics, read_topics, repair_topics
from streams.clients import Unreachable, admin_client, started
from streams.connection import Connection
from streams.doctor import examine
from streams.topics import Topics
from tests.topic_admin import TopicAdmin

pytestmark = pytest.mark.kafka


async def make(admin: AIOKafkaAdminClient, name: str, partitions: int, **config: str) -> None:
    """Make a topic as somebody else would, and wait until the broker shows it."""
    new = NewTopic(name, partitions, 1, topic_configs={key.replace("_", "."): value for key, value in config.items()})
    response = await admin.create_topics([new])
    assert [code for _, code, _ in response.topic_errors] == [0]
    async with asyncio.timeout(30):
        while name not in await read_topics(admin, [name]):
            continue


async def test_missing_topics_are_made_and_then_found_right(kafka: Broker, prefix: str) -> None:
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    assert await ensure_topics(connection, topics, partitions=3) == 3
    assert await ensure_topics(connection, topics, partitions=8) == 3
    assert await ensure_topics(connection, topics, partitions=8, create=False) == 3
    async with started(admin_client(connection), connection) as admin:
        found = await read_topics(admin, [spec.name for spec in topics.specs()])
    assert {name: state.partitions for name, state in found.items()} == {
        spec.name: spec.partitions or 3 for spec in topics.specs()
    }
    assert {name for name, state in found.items() if state.cleanup == "compact"} == {
        s.name for s in topics.specs() if s.compacted
    }
    assert found[topics.join_changelog].config["min.cleanable.dirty.ratio"] == "0.2"


async def test_the_sources_a_company_has_already_set_the_partitions(kafka: Broker, prefix: str) -> None:
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    async with started(admin_client(connection), connection) as admin:
        await make(admin, topics.rewards, 5)
        assert await ensure_topics(connection, topics, partitions=4) == 5
        assert (await read_topics(admin, [topics.exposures]))[topics.exposures].partitions == 5


async def test_wrong_topics_are_all_named_and_nothing_is_made(kafka: Broker, prefix: str) -> None:
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    async with started(admin_client(connection), connection) as admin:
        await make(admin, topics.exposures, 2)
        await make(admin, topics.rewards, 3, cleanup_policy="compact")
        await make(admin, topics.weights, 1)
        with pytest.raises(TopicErrors) as caught:
            await ensure_topics(connection, topics, partitions=4)
        assert [(error.topic, error.found) for error in caught.value.errors] == [
            (topics.rewards, "3 partitions"),
            (topics.rewards, "cleanup.policy=compact"),
            (topics.weights, "cleanup.policy=delete"),
        ]
        assert topics.experiments not in await admin.list_topics()


async def test_missing_topics_are_errors_if_they_are_not_to_be_made(kafka: Broker, prefix: str) -> None:
    with pytest.raises(TopicErrors) as caught:
        await ensure_topics(Connection(kafka.bootstrap), Topics(prefix), partitions=4, create=False)
    assert [error.found for error in caught.value.errors] == ["not been made"] * len(Topics(prefix).specs())


async def test_repair_mends_policies_and_keeps_what_else_was_set(kafka: Broker, prefix: str) -> None:
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    async with started(admin_client(connection), connection) as admin:
        await make(admin, topics.weights, 1, cleanup_policy="compact,delete", retention_ms="123456789")
        await make(admin, topics.exposures, 2, cleanup_policy="compact")
        done = await repair_topics(admin, topics.specs(), partitions=2)
        assert f"set cleanup.policy=compact on {topics.weights}" in done
        assert f"set cleanup.policy=delete on {topics.exposures}" in done
        assert f"created {topics.rewards}" in done
        found = await read_topics(admin, [topics.weights])
        assert found[topics.weights].config == {"cleanup.policy": "compact", "retention.ms": "123456789"}
        assert await repair_topics(admin, topics.specs(), partitions=2) == []
    assert await ensure_topics(connection, topics, partitions=4, create=False) == 2


async def test_what_the_broker_refuses_is_told(kafka: Broker, prefix: str) -> None:
    with pytest.raises(TopicErrors) as caught:
        await ensure_topics(Connection(kafka.bootstrap), Topics(prefix), partitions=1, replication=7)
    assert "creating it failed" in caught.value.errors[0].found
    assert "replication" in caught.value.errors[0].found.lower()


async def test_a_broker_that_is_gone_is_unreachable(own_kafka: Callable[[], Broker], prefix: str) -> None:
    broker = own_kafka()
    broker.kill()
    with pytest.raises(Unreachable, match=broker.bootstrap):
        await ensure_topics(Connection(broker.bootstrap), Topics(prefix), partitions=1)


async def test_partitions_added_to_the_sources_are_refused_and_named_by_the_doctor(kafka: Broker, prefix: str) -> None:
    connection, topics = Connection(kafka.bootstrap), Topics(prefix)
    assert await ensure_topics(connection, topics, partitions=2) == 2
    TopicAdmin(kafka.bootstrap).add_partitions(topics.rewards, 3)
    with pytest.raises(TopicErrors, match="has 3 partitions, needs 2 partitions as when the state was begun"):
        await ensure_topics(connection, topics, partitions=2)
    [named] = [check for check in await examine(connection, topics, partitions=2) if check.name == "topics"]
    assert (named.state, named.found.partition(",")[0]) == ("fail", f"{topics.rewards} has 3 partitions")
    assert "choose a new --prefix" in named.repair
