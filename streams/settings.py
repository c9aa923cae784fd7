"""Settings of a worker: each exists once, typed, with unit, default and reason; the command line takes them from here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from streams.connection import Connection
from streams.topics import PREFIX, Topics

__all__ = ["WorkerSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """One worker process. Several on one machine need a data directory and a web port each."""

    connection: Connection = field(default_factory=Connection.from_environment)
    prefix: str = PREFIX
    data_dir: Path
    """RocksDB lives here. May be lost: it is restored from the changelogs, which takes longer than keeping it."""
    partitions: int = 4
    """Partitions of the sources if the worker creates them: the most workers that can ever share the work."""
    web_host: str = "127.0.0.1"
    web_port: int = 8377
    """0 takes any free port."""
    advertised_url: str | None = None
    """How other workers reach this one's HTTP; http://<web_host>:<web_port> if not given."""
    embedded: bool = False
    """The broker is the embedded one, which knows no topic creation and has four partitions a topic."""
    session_timeout_s: float = 6.0
    """The partitions of a worker that died move to others after this, unless it was started again on its disk before. The least
    that brokers take by default. A worker that freezes for longer loses its partitions and stops."""
    partials_interval_s: float = 0.04
    """Shortest time between two publications of a partition's changed moments. It is an eighth of the shortest `publish_interval`
    where that is longer: fresher partials would only wait."""
    unknown_grace_s: float = 5.0
    """How long an event may be ahead of the spec it names before it is dead-lettered."""
    chunk_records_max: int = 10_000
    """Records of each source in one transaction, when that many wait."""
    batch_bytes: int = 1_000_000
    """Largest record batch sent; the broker refuses more than its message.max.bytes (1 MiB by default). A single record, such
    as a unit with hundreds of rewards, must fit too: less than the default is for tests of what happens between batches."""
    queue_bytes: int = 256 << 20
    """Memory for events that are fetched and not counted yet, all partitions together. Four partitions then fold chunks of 10 000
    records of each source while as many wait. Less makes smaller transactions when far behind, and so slower ones."""
    cache_bytes: int = 64 << 20
    """Memory for blocks of the store, indexes and filters included, all partitions together. A filter takes 1.25 bytes a live
    unit: give it room for them, or look-ups go to the disk."""
    write_buffer_bytes: int = 64 << 20
    """Memory for records not yet in the store's files, all partitions together. More writes to the disk less often; records that
    were overwritten or deleted take up to a few times as much there before they are gone."""
    accept_loss: bool = False
    """Go on although a source was deleted and made again, or no longer holds what a new state would begin with."""
    log_level: str = "INFO"

    @property
    def topics(self) -> Topics:
        return Topics(self.prefix)

    @property
    def group(self) -> str:
        """Consumer group of all workers of the deployment, and the beginning of their transactional ids."""
        return f"{self.prefix}-worker"

    @property
    def url(self) -> str:
        """Where other workers find this one."""
        return self.advertised_url or f"http://{self.web_host}:{self.web_port}"
