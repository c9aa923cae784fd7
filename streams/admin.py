"""Topics: made when missing, checked when present, mended when asked.

What a topic must be is written in `streams.topics`; `problems` compares, and everything else here talks to the broker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from allocator.errors import TopicError, TopicErrors
from streams.clients import ANSWER_TIMEOUT_S, admin_client, started
from streams.connection import Connection
from streams.topics import Topics, TopicSpec

__all__ = [
    "TopicState",
    "create_topics",
    "ensure_topics",
    "problems",
    "read_topics",
    "repair_topics",
    "sources_partitions",
    "tombstones_kept_ms",
]

REPAIR = "allocator doctor --fix"
MOVE = (
    "partitions cannot be taken away: stop every worker, choose a new --prefix, copy the records of exposures and rewards to its "
    "topics by their keys (what is copied twice counts once), and point producers, routers and workers to it"
)
BROKER_DEFAULT = -1
POLL_S = 0.05
_ALREADY_EXISTS = 36
_SET_ON_THE_TOPIC = 1
"""A config entry's source, as DescribeConfigs tells it: set on the topic itself, not inherited."""


@dataclass(frozen=True, slots=True)
class TopicState:
    """One topic as it is. `config` holds what was set on the topic itself."""

    name: str
    partitions: int
    cleanup: str
    config: dict[str, str]


async def ensure_topics(
    connection: Connection, topics: Topics, *, partitions: int, replication: int = BROKER_DEFAULT, create: bool = True
) -> int:
    """Make what is missing (if `create`), check the rest, and return how many partitions the sources have.

    `partitions` counts only when neither source exists yet. The embedded broker knows no admin requests: do not call this there.

    Raises
    ------
    TopicErrors : every topic that is not as it must be.
    Unreachable : no broker answered.
    """
    specs = topics.specs()
    async with started(admin_client(connection), connection) as admin:
        found = await read_topics(admin, [spec.name for spec in specs])
        count = sources_partitions(topics, found, partitions)
        wrong = problems(specs, found, count, missing=not create)
        if not wrong and create:
            missing = [spec for spec in specs if spec.name not in found]
            await create_topics(admin, missing, partitions=count, replication=replication)
            # another worker may have made one of them first, otherwise than this one would
            wrong = problems(specs, await read_topics(admin, [spec.name for spec in specs]), count)
    if wrong:
        raise TopicErrors(wrong)
    return count


def sources_partitions(topics: Topics, found: Mapping[str, TopicState], wanted: int) -> int:
    """Partitions of the sources: what the state was made with, else what the first existing one has, else `wanted`."""
    given = (topics.join_changelog, topics.exposures, topics.rewards)
    existing = [found[name].partitions for name in given if name in found]
    return existing[0] if existing else wanted


def problems(
    specs: Iterable[TopicSpec], found: Mapping[str, TopicState], partitions: int, *, missing: bool = True
) -> list[TopicError]:
    """Where the topics found differ from what they must be; absent ones only if `missing`."""
    wrong: list[TopicError] = []
    for spec in specs:
        state, count = found.get(spec.name), spec.partitions or partitions
        if state is None:
            if missing:
                wrong.append(TopicError(spec.name, "not been made", _description(spec, count), REPAIR))
            continue
        if state.partitions != count:
            reason = "" if spec.partitions else ": the join works partition by partition, so all its topics need as many"
            repair = f"stop every worker, delete the topic and run {REPAIR}, or make it yourself with {_count(count)}"
            if spec.source and state.partitions > count:
                reason = " as when the state was begun: units have moved to other partitions than their state"
                repair = MOVE
            wrong.append(TopicError(spec.name, _count(state.partitions), f"{_count(count)}{reason}", repair))
        if needed := _policy_problem(spec, state):
            wrong.append(TopicError(spec.name, f"cleanup.policy={state.cleanup}", needed, REPAIR))
    return wrong


async def read_topics(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, TopicState]:
    """Those of `names` that exist. Asks for all topics: a request that names one may make the broker create it."""
    wanted = set(names)
    partitions = {row["topic"]: len(row["partitions"]) for row in await admin.describe_topics() if row["topic"] in wanted}
    if not partitions:
        return {}
    states = {}
    for response in await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in partitions]):
        for code, message, _, name, entries in response.resources:
            if code:
                reason = message or for_code(code).__name__
                raise TopicError(name, f"a hidden configuration ({reason})", "a readable one", "allow DescribeConfigs")
            values = {key: value for key, value, *_ in entries}
            own = {key: value for key, value, _, source, *_ in entries if source == _SET_ON_THE_TOPIC}
            states[name] = TopicState(name, partitions[name], values["cleanup.policy"], own)
    return states


async def tombstones_kept_ms(connection: Connection, topics: Iterable[str]) -> int:
    """How long compaction surely leaves tombstones on these topics: the least of their delete.retention.ms.

    Raises
    ------
    Unreachable : no broker answered.
    """
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in topics]
    async with started(admin_client(connection), connection) as admin:
        answers = await admin.describe_configs(resources)
    entries = [entry for answer in answers for *_, entries in answer.resources for entry in entries]
    return min(int(value) for key, value, *_ in entries if key == "delete.retention.ms")


async def create_topics(
    admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], *, partitions: int, replication: int = BROKER_DEFAULT
) -> None:
    """Create the topics and wait until the broker shows them. A topic that exists by now is left as it is.

    Raises
    ------
    TopicErrors : what the broker refused, and why.
    """
    if not specs:
        return
    response = await admin.create_topics([_new_topic(spec, spec.partitions or partitions, replication) for spec in specs])
    wrong = [
        TopicError(
            name, f"not been made; creating it failed: {message or for_code(code).__name__}", "to exist", "create it by hand"
        )
        for name, code, message in response.topic_errors
        if code not in (0, _ALREADY_EXISTS)
    ]
    if wrong:
        raise TopicErrors(wrong)
    names = {spec.name for spec in specs}
    await _until(lambda: _all_led(admin, names))


async def repair_topics(
    admin: AIOKafkaAdminClient, specs: Sequence[TopicSpec], *, partitions: int, replication: int = BROKER_DEFAULT
) -> list[str]:
    """Create what is missing and set clean-up policies right; says what was done. Partitions of a topic cannot be mended."""
    found = await read_topics(admin, [spec.name for spec in specs])
    missing = [spec for spec in specs if spec.name not in found]
    await create_topics(admin, missing, partitions=partitions, replication=replication)
    done = [f"created {spec.name}" for spec in missing]
    for spec in specs:
        state = found.get(spec.name)
        if state is not None and _policy_problem(spec, state):
            await _set_policy(admin, state, _policy(spec))
            done.append(f"set cleanup.policy={_policy(spec)} on {spec.name}")
    return done


async def _set_policy(admin: AIOKafkaAdminClient, state: TopicState, policy: str) -> None:
    # this request replaces all that is set on the topic, so what was set goes along
    config = state.config | {"cleanup.policy": policy}
    for response in await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, state.name, config)]):
        for code, message, *_ in response.resources:
            if code:
                found = f"cleanup.policy={state.cleanup}; changing it failed: {message or for_code(code).__name__}"
                raise TopicError(state.name, found, policy, "change it by hand")

    async def is_set() -> bool:
        return (await read_topics(admin, [state.name]))[state.name].cleanup == policy

    await _until(is_set)


async def _until(seen: Callable[[], Awaitable[bool]]) -> None:
    """Wait for the broker to show what it was asked to do. TimeoutError after `ANSWER_TIMEOUT_S`."""
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        while not await seen():  # noqa: ASYNC110 - a broker can only be asked, it does not tell
            await asyncio.sleep(POLL_S)


async def _all_led(admin: AIOKafkaAdminClient, names: set[str]) -> bool:
    """Whether every partition of the topics has a leader, as far as the broker asked knows."""
    led = {
        row["topic"]
        for row in await admin.describe_topics()
        if row["partitions"] and all(partition["leader"] >= 0 for partition in row["partitions"])
    }
    return names <= led


def _new_topic(spec: TopicSpec, partitions: int, replication: int) -> NewTopic:
    config = {"cleanup.policy": _policy(spec)} | spec.config
    # aiokafka refuses -1, the broker's default, unless assignments are given: none are
    return NewTopic(spec.name, partitions, replication, replica_assignments={} if replication < 0 else None, topic_configs=config)


def _policy_problem(spec: TopicSpec, state: TopicState) -> str | None:
    """The clean-up policy needed and why, if the topic has another."""
    if spec.compacted and state.cleanup != "compact":
        return "compact: who reads it later would miss what was deleted"
    if not spec.compacted and "compact" in state.cleanup:
        return "delete: compaction keeps only the last record of a key"
    return None


def _policy(spec: TopicSpec) -> str:
    return "compact" if spec.compacted else "delete"


def _count(partitions: int) -> str:
    return f"{partitions} partition{'' if partitions == 1 else 's'}"


def _description(spec: TopicSpec, partitions: int) -> str:
    return f"{_count(partitions)}, cleanup.policy={_policy(spec)}"
