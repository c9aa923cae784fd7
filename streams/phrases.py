"""Figures as a person reads them at a glance; exact ones are in `allocator.durations`."""

from __future__ import annotations

from datetime import UTC, datetime

from allocator.durations import rough_duration

__all__ = ["rough_duration", "utc"]


def utc(ts: float) -> str:
    """Seconds since the epoch as ``2026-12-01 09:30:00 UTC``."""
    return f"{datetime.fromtimestamp(ts, UTC):%Y-%m-%d %H:%M:%S} UTC"
