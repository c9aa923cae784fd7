"""The Faust app: which topics its agents read, how partitions come and go, and what is started with it.

Faust does membership, rebalances, flow control and the agents' life; chunks of records reach the agents through `streams.seam`,
and what an agent does with them is in `streams.join` and `streams.allocate`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from typing import Any

import faust
from aiokafka import AIOKafkaProducer
from faust.types import TP

from allocator.errors import Fenced
from allocator.weights import Weights
from streams.admin import ensure_topics
from streams.allocate.agent import AllocateAgent, AllocateSettings
from streams.compacted import CompactedTopic
from streams.connection import Connection
from streams.experiments import ExperimentsReader
from streams.join.agent import JoinAgent, JoinSettings
from streams.join.decode import decoder_of
from streams.metrics import Metrics
from streams.partitioning import partition_of
from streams.records import Exposure, Reward
from streams.seam import TRANSPORT_SCHEME, install, read_batches
from streams.settings import WorkerSettings
from streams.specs import Specs
from streams.state import Ledger, LedgerSettings
from streams.tasks import AgentGroup, Partitions
from streams.view import ALLOCATE, JOIN, DecisionLog, WorkerView
from streams.web import WebServer
from streams.weights_table import WeightsTable

__all__ = ["AllocatorApp", "create_app"]

log = logging.getLogger(__name__)

DECISIONS_READ_MAX = 5000
"""Decisions read from the log at the start, for the history of the dashboard."""
EXIT_STATE_AHEAD = 70
"""Exit code when a step failed: memory is ahead of the log, so the process must end at once and be restarted."""


class AllocatorApp(faust.App):  # type: ignore[misc]
    """A Faust app with the two agents and what they read beside their topics."""

    settings: WorkerSettings
    specs: Specs
    published: dict[str, Weights]
    metrics: Metrics
    intake: Partitions
    partition_counts: dict[str, int]

    def prepare(self, settings: WorkerSettings) -> None:
        """Give the app what its agents share. `create_app` calls it once."""
        topics = settings.topics
        self.settings, self.specs, self.published, self.metrics = settings, Specs(), {}, Metrics()
        self.partition_counts = {}
        self._experiments = ExperimentsReader(settings.connection, topics)
        self._experiments.on_change.append(self.specs.take)
        self._weights = WeightsTable(self.published)
        self._weights_topic = CompactedTopic(settings.connection, topics.weights, self._weights.take)
        self.decision_log = DecisionLog()
        self._decisions_topic = CompactedTopic(
            settings.connection, topics.decisions, self.decision_log.take, newest=DECISIONS_READ_MAX
        )
        self.view = WorkerView(self)
        self._web = WebServer(self.view, self.metrics, settings.web_host, settings.web_port)
        self.intake = Partitions(
            (
                AgentGroup(JOIN, (topics.exposures, topics.rewards), self._join_agent),
                AgentGroup(ALLOCATE, (topics.partials,), self._allocate_agent),
            ),
            rewind=self._rewind,
            failed=_fail_stop,
        )
        self.specs.on_change.append(lambda: self.intake.wake(ALLOCATE))

    async def on_start(self) -> None:
        """Before Faust connects: topics are as they must be, specs and published weights are known."""
        settings = self.settings
        await self._web.start()
        if not settings.embedded:
            await ensure_topics(settings.connection, settings.topics, partitions=settings.partitions)
        names = [spec.name for spec in settings.topics.specs()]
        self.partition_counts.update(await _count_partitions(settings.connection, names))
        await self._experiments.start()
        await self._weights_topic.start()
        await self._decisions_topic.start()
        await super().on_start()

    async def on_stop(self) -> None:
        await super().on_stop()
        await self._experiments.stop()
        await self._weights_topic.stop()
        await self._decisions_topic.stop()
        await self._web.stop()

    def owner_url(self, experiment: str) -> str | None:
        """Base URL of the worker that decides for the experiment, as of the last rebalance."""
        partials = self.settings.topics.partials
        partition = partition_of(experiment, self.partition_counts[partials])
        for url, topics in self.assignor.external_topic_distribution.items():
            if partition in topics.get(partials, ()):
                return str(url).rstrip("/")
        return None

    def ready(self) -> tuple[bool, str]:
        """Whether every assigned partition is restored, and if not, what is awaited."""
        if self.rebalancing:
            return False, "rebalancing"
        if not self.intake.restored:
            return False, "restoring state"
        return True, "ready"

    def at_end(self, topic: str, partition: int, offset: int) -> bool:
        """Whether nothing is left to fetch from `offset` on."""
        highwater = self.consumer.highwater(TP(topic, partition))
        return highwater is not None and offset >= highwater

    async def _rewind(self, tp: TP, offset: int) -> int:
        earliest = (await self.consumer.earliest_offsets(tp))[tp]
        if earliest > offset:
            log.error(
                "%s %d: records %d to %d were deleted before they were read: retention is shorter than this worker's lag",
                tp.topic, tp.partition, offset, earliest,
            )  # fmt: skip
            offset = earliest
        await self.consumer.seek_wait({tp: offset})
        return offset

    def _ledger(self, name: str, partition: int, changelog: str) -> Ledger:
        settings = self.settings
        shared = LedgerSettings(settings.connection, settings.data_dir, settings.batch_bytes)
        return Ledger(name, partition, changelog, settings.group, shared)

    def _join_agent(self, partition: int) -> JoinAgent:
        settings, topics = self.settings, self.settings.topics
        shared = JoinSettings(
            topics=topics,
            partitions=self.partition_counts[topics.partials],
            chunk_records_max=settings.chunk_records_max,
            partials_interval_s=settings.partials_interval_s,
            unknown_grace_s=settings.unknown_grace_s,
            letter_bytes_max=settings.batch_bytes // 2,
        )
        return JoinAgent(self._ledger(JOIN, partition, topics.join_changelog), shared, self.specs, self.at_end, self.metrics)

    def _allocate_agent(self, partition: int) -> AllocateAgent:
        shared = AllocateSettings(self.settings.topics, self.partition_counts)
        ledger = self._ledger(ALLOCATE, partition, self.settings.topics.allocate_changelog)
        return AllocateAgent(ledger, shared, self.specs, self.published, self.metrics)


def create_app(settings: WorkerSettings) -> AllocatorApp:
    """The app of one worker, ready for `faust.Worker`."""
    install()
    topics = settings.topics
    read_batches(topics.exposures, decoder_of(Exposure))
    read_batches(topics.rewards, decoder_of(Reward))
    read_batches(topics.partials, list)
    app = AllocatorApp(
        settings.group,
        broker=[f"{TRANSPORT_SCHEME}://{address}" for address in settings.connection.bootstrap.split(",")],
        broker_credentials=settings.connection.faust_credentials(),
        store="memory://",
        datadir=str(settings.data_dir / "faust"),
        canonical_url=settings.url,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=1 << 20,
        broker_max_poll_records=1_000_000,
        broker_commit_interval=1.0,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.session_timeout_s / 4,
        stream_recovery_delay=0.0,
        worker_redirect_stdouts=False,
    )
    app.prepare(settings)
    _add_agents(app)
    return app


def _add_agents(app: AllocatorApp) -> None:
    topics, raw = app.settings.topics, {"key_serializer": "raw", "value_serializer": "raw", "value_type": bytes}

    @app.agent(app.topic(topics.exposures, topics.rewards, **raw), name="join")  # type: ignore[untyped-decorator]
    async def join(stream: Any) -> None:
        async for event in stream.events():
            await app.intake.put(event.message.tp, event.value)

    @app.agent(app.topic(topics.partials, **raw), name="allocate")  # type: ignore[untyped-decorator]
    async def allocate(stream: Any) -> None:
        async for event in stream.events():
            await app.intake.put(event.message.tp, event.value)

    @app.on_partitions_revoked.connect  # type: ignore[untyped-decorator]
    async def revoked(sender: Any, revoked: Any, **_: Any) -> None:
        await app.intake.revoke()

    @app.on_before_shutdown.connect  # type: ignore[untyped-decorator]
    async def shutting_down(sender: Any, **_: Any) -> None:
        # Faust sends no revoked signal on SIGTERM; without this the next owner would have to fence this one.
        await app.intake.revoke()

    @app.timer(interval=1.0)  # type: ignore[untyped-decorator]
    async def refresh_metrics() -> None:
        app.view.refresh(app.metrics)

    @app.on_rebalance_complete.connect  # type: ignore[untyped-decorator]
    async def rebalanced(sender: Any, **_: Any) -> None:
        # Awaited before Faust seeks and lets records flow, outside the time-out that seeking is under.
        await app.intake.assign(app.consumer.assignment())


async def _count_partitions(connection: Connection, topics: Iterable[str]) -> dict[str, int]:
    """Partitions of every topic. On the embedded broker the asking creates the topic."""
    producer = AIOKafkaProducer(**connection.aiokafka())
    await producer.start()
    try:
        return {topic: len(await producer.partitions_for(topic)) for topic in topics}
    finally:
        await producer.stop()


def _fail_stop(error: BaseException) -> None:
    """End the process: what is in memory is ahead of what is committed, and only a restore mends that."""
    if isinstance(error, Fenced):
        log.critical("%s: this worker was away for too long and stops; restart it and it takes part again", error)
    else:
        log.critical("a step failed, the worker stops; restart it and it goes on from the last commit: %s", error, exc_info=error)
    logging.shutdown()
    os._exit(EXIT_STATE_AHEAD)
