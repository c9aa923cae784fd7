"""The broker of a bench and the topics on it: what was written to them, and that nothing of it stays."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient

from deploy.kafka.broker import Broker
from tests.waiting import until

__all__ = ["Stage", "stage"]

CONFIG = {
    # No compaction: it would fall on whoever runs next, and take away what is to be counted as written.
    "log.cleaner.backoff.ms": str(24 * 3_600_000),
}
LISTED_TIMEOUT_S, DELETED_TIMEOUT_S = 10, 60.0


@dataclass(frozen=True)
class Stage:
    """`prefix` begins the names of the bench's topics; `directory` is for logs and state."""

    bootstrap: str
    prefix: str
    directory: Path
    log: Path | None
    """Where the broker keeps its partitions; None if it is somebody else's broker."""

    def written(self) -> int | None:
        """Bytes in the logs of all partitions now, those of Kafka's own topics included."""
        if self.log is None:
            return None
        return sum(segment.stat().st_size for partition in self._partitions() for segment in partition.glob("*.log"))

    def topics(self) -> set[str]:
        """Names of the topics that carry the prefix, wherever: some peers put words of their own before it."""
        return {name for name in self._admin().list_topics(timeout=LISTED_TIMEOUT_S).topics if self.prefix in name}

    def clear(self, keep: set[str]) -> None:
        """Delete all but these of the topics."""
        admin = self._admin()
        made = list(self.topics() - keep)
        for deleted in (admin.delete_topics(made) if made else {}).values():
            deleted.result()
        if self.log is not None:  # the broker answers before it has put them aside
            until(lambda: not self._held(set(made)), DELETED_TIMEOUT_S, "deleted topics put aside")

    def _held(self, topics: set[str]) -> bool:
        """Whether a partition of these is among the logs."""
        return any(path.name.rpartition("-")[0] in topics for path in self._partitions())

    def _partitions(self) -> list[Path]:
        """Directories of the partitions that are not being deleted."""
        assert self.log is not None
        return [path for path in self.log.iterdir() if path.is_dir() and not path.name.endswith("-delete")]

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})


@contextmanager
def stage(bootstrap: str | None) -> Iterator[Stage]:
    """The broker given, or one of our own; at the end our topics are deleted."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        directory, prefix = Path(scratch), f"bench-{secrets.token_hex(3)}"
        if bootstrap is None:
            with Broker(directory / "kafka", config=CONFIG) as broker:
                yield Stage(broker.bootstrap, prefix, directory, directory / "kafka" / "log")
        else:
            theirs = Stage(bootstrap, prefix, directory, None)
            try:
                yield theirs
            finally:
                theirs.clear(keep=set())
