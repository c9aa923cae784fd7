"""Everything that touches the world: Kafka, Faust, RocksDB, HTTP and the command line. The rules live in `allocator`.

The public names are imported when they are first used, so that the command line starts without what it does not need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streams.app import create_app
    from streams.producer import EventProducer
    from streams.router import Router

__all__ = ["EventProducer", "Router", "create_app"]

_HOMES = {"EventProducer": "streams.producer", "Router": "streams.router", "create_app": "streams.app"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
