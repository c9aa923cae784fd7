"""A join partition's records as the audit reads them, without RocksDB: for its unit and property tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from streams.audit.compare import Comparison
from streams.audit.state import State
from tests.folding import Partition

__all__ = ["Stored", "compared"]


@dataclass
class Stored:
    """`streams.audit.state.Records` over a dict."""

    records: Mapping[bytes, bytes]

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted((k, v) for k, v in self.records.items() if k.startswith(prefix)))

    def scan_from(self, key: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted((k, v) for k, v in self.records.items() if k >= key))


def compared(live: Partition | Mapping[bytes, bytes], rebuilt: Partition) -> Comparison:
    """What the audit says of the two, as one partition 0."""
    specs = {e.experiment: e for e in rebuilt.experiments}
    records = live.stored if isinstance(live, Partition) else live
    found = Comparison(specs)
    found.add(0, {}, State(Stored(records), specs), State(Stored(rebuilt.stored), specs))
    return found
