"""The Faust app: which topics its agents read, how partitions come and go, and what is started with it.

Faust does membership, rebalances, flow control and the agents' life; chunks of records reach the agents through `streams.seam`,
and what an agent does with them is in `streams.join` and `streams.allocate`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable
from typing import Any

import faust
from aiokafka import AIOKafkaProducer
from faust.types import TP

from allocator.errors import StateError, TopicErrors
from allocator.weights import Weights
from streams.admin import ensure_topics, tombstones_kept_ms
from streams.allocate.agent import AllocateAgent, AllocateSettings
from streams.changes import ChangeLog
from streams.compacted import CompactedTopic
from streams.connection import Connection
from streams.experiments import ExperimentsReader
from streams.heap import TRIM_INTERVAL_S, trim_heap
from streams.identity import worker_id
from streams.incarnations import TopicWatch
from streams.join.agent import JoinAgent, JoinSettings
from streams.join.decode import decoder_of
from streams.last_words import GOES_ON, last_words
from streams.metrics import Metrics
from streams.partitioning import partition_of
from streams.queues import Backlog
from streams.records import Exposure, Reward
from streams.seam import read_batches
from streams.seam.faust import TRANSPORT_SCHEME, NoTables, install_transport
from streams.settings import WorkerSettings
from streams.specs import Specs
from streams.state import Ledger, LedgerSettings, Origin
from streams.state.ledger import TOMBSTONES_KEPT_MS
from streams.state.store import StoreMemory
from streams.tasks import AgentGroup, Partitions
from streams.view import ALLOCATE, JOIN, DecisionLog, WorkerView
from streams.web import WebServer
from streams.weights_table import WeightsTable

__all__ = ["AllocatorApp", "create_app"]

log = logging.getLogger(__name__)

DECISIONS_READ_MAX = 5000
"""Decisions read from the log at the start, for the history of the dashboard."""
CHANGES_READ_MAX = 10_000
"""Changes of specs read at the start, for the API; the command line reads all."""
FETCH_WAIT_MS = 250
"""How long the broker may hold a fetch when nothing new is there; it answers at the first record."""
EMBEDDED_FETCH_WAIT_MS = 20
"""The embedded broker does not: who asks it to wait, waits to the end."""
FETCH_BYTES_MIN, FETCH_BYTES_MAX = 64 << 10, 1 << 20
"""Bounds of what one fetch brings of one partition. A record batch is fetched whole, however large it is."""
TOPICS_CHECK_S = 10.0
"""How soon a topic that was deleted, made again or given partitions ends the worker. A check takes 20 ms, in a thread."""
EXIT_REFUSED = 1
"""Exit code when the topics or the state are not what they must be: the message says what to do."""
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
    tombstones_kept_ms: int
    store_memory: StoreMemory
    topic_watch: TopicWatch
    fetch_wait_ms: int

    def prepare(self, settings: WorkerSettings) -> None:
        """Give the app what its agents share. `create_app` calls it once."""
        topics = settings.topics
        self.settings, self.specs, self.published, self.metrics = settings, Specs(), {}, Metrics()
        self.partition_counts, self.tombstones_kept_ms = {}, TOMBSTONES_KEPT_MS
        self.topic_watch = TopicWatch(settings.connection)
        self.fetch_wait_ms = EMBEDDED_FETCH_WAIT_MS if settings.embedded else FETCH_WAIT_MS
        self._experiments = ExperimentsReader(settings.connection, topics)
        self._experiments.on_change.append(self.specs.take)
        self._weights = WeightsTable(self.published)
        self._weights_topic = CompactedTopic(settings.connection, topics.weights, self._weights.take)
        self.decision_log = DecisionLog()
        self._decisions_topic = CompactedTopic(
            settings.connection, topics.decisions, self.decision_log.take, newest=DECISIONS_READ_MAX
        )
        self.change_log = ChangeLog()
        self._changes_topic = CompactedTopic(settings.connection, topics.changes, self.change_log.take, newest=CHANGES_READ_MAX)
        self.view = WorkerView(self)
        self._web = WebServer(self.view, self.metrics, settings.web_host, settings.web_port)
        self.intake = Partitions(
            (
                AgentGroup(JOIN, (topics.exposures, topics.rewards), self._join_agent),
                AgentGroup(ALLOCATE, (topics.partials,), self._allocate_agent),
            ),
            rewind=self._rewind,
            failed=_fail_stop,
            backlog=Backlog(settings.queue_bytes),
        )
        self.store_memory = StoreMemory(settings.cache_bytes, settings.write_buffer_bytes)
        self.specs.on_change.append(lambda: self.intake.wake(ALLOCATE))

    async def on_start(self) -> None:
        """Before Faust connects: topics are as they must be, specs and published weights are known."""
        settings = self.settings
        await self._web.start()
        names = [spec.name for spec in settings.topics.specs()]
        if not settings.embedded:
            await ensure_topics(settings.connection, settings.topics, partitions=settings.partitions)
            changelogs = (settings.topics.join_changelog, settings.topics.allocate_changelog)
            self.tombstones_kept_ms = await tombstones_kept_ms(settings.connection, changelogs)
            await self.topic_watch.start(names)
        self.partition_counts.update(await _count_partitions(settings.connection, names))
        self.conf.consumer_max_fetch_size = self._fetch_bytes()
        await self._experiments.start()
        await self._weights_topic.start()
        await self._decisions_topic.start()
        await self._changes_topic.start()
        await super().on_start()

    async def on_stop(self) -> None:
        await super().on_stop()
        await self._experiments.stop()
        await self._weights_topic.stop()
        await self._decisions_topic.stop()
        await self._changes_topic.stop()
        await self._web.stop()

    def _fetch_bytes(self) -> int:
        """Of one partition in one fetch, such that those of all partitions, which may wait compressed, stay small together."""
        topics = self.settings.topics
        partitions = sum(self.partition_counts[topic] for topic in (topics.exposures, topics.rewards, topics.partials))
        return max(FETCH_BYTES_MIN, min(FETCH_BYTES_MAX, self.settings.queue_bytes // 4 // partitions))

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
        """Whether nothing that is committed is left to fetch from `offset` on."""
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

    async def check_topics(self) -> None:
        """End the process if a topic is not the one it was at the start."""
        try:
            await self.topic_watch.check()
        except TopicErrors as error:
            _fail_stop(error)

    def _ledger(self, name: str, partition: int, changelog: str, *sources: str, cumulative: bool = False) -> Ledger:
        settings = self.settings
        shared = LedgerSettings(
            settings.connection,
            settings.data_dir,
            settings.batch_bytes,
            tombstones_kept_ms=self.tombstones_kept_ms,
            memory=self.store_memory,
        )
        ids = self.topic_watch.ids()
        origin = Origin(sources if ids else (), ids, cumulative, settings.accept_loss)
        return Ledger(name, partition, changelog, settings.group, shared, origin)

    def _join_agent(self, partition: int) -> JoinAgent:
        settings, topics = self.settings, self.settings.topics
        shared = JoinSettings(
            topics=topics,
            partitions=self.partition_counts[topics.partials],
            source_partitions=self.partition_counts[topics.exposures],
            chunk_records_max=settings.chunk_records_max,
            partials_interval_s=settings.partials_interval_s,
            unknown_grace_s=settings.unknown_grace_s,
            letter_bytes_max=settings.batch_bytes // 2,
        )
        return JoinAgent(
            self._ledger(JOIN, partition, topics.join_changelog, topics.exposures, topics.rewards),
            shared,
            self.specs,
            self.at_end,
            self.metrics,
        )

    def _allocate_agent(self, partition: int) -> AllocateAgent:
        shared = AllocateSettings(self.settings.topics, self.partition_counts)
        topics = self.settings.topics
        ledger = self._ledger(ALLOCATE, partition, topics.allocate_changelog, topics.partials, cumulative=True)
        settle = self._weights_topic.settle
        return AllocateAgent(ledger, shared, self.specs, self.published, settle, self.at_end, self.metrics)


def create_app(settings: WorkerSettings) -> AllocatorApp:
    """The app of one worker, ready for `run_worker`'s Faust worker or another. Makes the data directory."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    install_transport()
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
        TableManager=NoTables,
        table_standby_replicas=0,
        consumer_group_instance_id=worker_id(settings.data_dir, settings.url),
        consumer_auto_offset_reset="earliest",
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

    @app.timer(interval=TRIM_INTERVAL_S)  # type: ignore[untyped-decorator]
    async def trim() -> None:
        await asyncio.to_thread(trim_heap)  # milliseconds, without the interpreter's lock

    @app.timer(interval=TOPICS_CHECK_S)  # type: ignore[untyped-decorator]
    async def check_topics() -> None:
        await app.check_topics()

    @app.on_rebalance_complete.connect  # type: ignore[untyped-decorator]
    async def rebalanced(sender: Any, **_: Any) -> None:
        await app.check_topics()  # new partitions come with a rebalance, and must not be assigned
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
    code = EXIT_STATE_AHEAD
    if isinstance(error, StateError | TopicErrors):
        log.critical("the worker stops: %s", error)
        code = EXIT_REFUSED
    else:
        sentence = last_words(error)
        unforeseen = None if sentence else error
        log.critical("%s", sentence or f"a step failed, the worker stops; {GOES_ON}: {error!r}", exc_info=unforeseen)
    logging.shutdown()
    os._exit(code)
