"""Exactly-counted state of one partition: RocksDB on disk, a compacted changelog in Kafka, one transaction a chunk."""

from streams.state.ledger import Ledger, LedgerSettings, Output
from streams.state.origin import Checkpoint, Origin
from streams.state.store import Store

__all__ = ["Checkpoint", "Ledger", "LedgerSettings", "Origin", "Output", "Store"]
