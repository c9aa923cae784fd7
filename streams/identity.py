"""Who a worker is for Kafka over its restarts: the id lies beside its state, so the seat in the group goes with the disk.

A worker that dies and is started again takes its old seat at once. Nobody waits for the end of its dead session, no partition
moves, and the other workers do not even notice. On SIGTERM it gives the seat up, since it may not come back, and the others take
over at once. A worker that has lost its disk, or is reached under another URL, is a new one: the seat of the old one is free when
its session has ended.

The exact counts do not depend on it: transactional ids are by partition and fence whoever had it before.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from xxhash import xxh64_hexdigest

__all__ = ["worker_id"]

FILE = "worker-id"


def worker_id(data_dir: Path, url: str) -> str:
    """The id of whoever has this directory and URL; [0-9a-f-], as Kafka takes few other characters.

    RocksDB's lock lets no two workers share a directory. The URL is part of it because Faust refuses the assignment of a former
    self that others knew under another one.
    """
    path = data_dir / FILE
    kept = path.read_text() if path.exists() else ""
    if not kept:  # or killed before it was written
        kept = secrets.token_hex(8)
        path.write_text(kept)
    return f"{kept}-{xxh64_hexdigest(url.encode())}"
