"""The holdback as `allocator show` prints it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from streams.topics import Topics

if TYPE_CHECKING:
    from allocator.experiment import Experiment
    from streams.connection import Connection
    from streams.holdback import HoldbackMetric, HoldbackState

__all__ = ["holdback_comment", "holdback_now"]


async def holdback_now(connection: Connection, topics: Topics, spec: Experiment) -> HoldbackState | None:
    """None if nobody is to be held back, or nothing can have been counted: no worker has made the topic of sums."""
    if not spec.holdback:
        return None
    from streams.clients import admin_client, started
    from streams.holdback import read_holdback
    from streams.totals import read_totals

    async with started(admin_client(connection), connection) as admin:
        if topics.partials not in await admin.list_topics():
            return None
    totals = await read_totals(connection, topics, [spec.experiment])
    return read_holdback(spec, totals[spec.experiment], time.time())


def holdback_comment(spec: Experiment, found: HoldbackState | None) -> list[str]:
    """Lines for below the spec."""
    if found is None:
        return []
    head = f"# holdback: {found.held_back} units held back on {spec.control}, {found.allocated} allocated"
    return [head, *(f"#   {name}: {_sentence(metric)}" for name, metric in found.metrics.items())]


def _sentence(metric: HoldbackMetric) -> str:
    if metric.interval is None or metric.gain_interval is None:
        return f"no effect to tell yet: {metric.refusal}"
    low, high = metric.interval
    least, most = metric.gain_interval
    return (
        f"{metric.effect:+.4g} a unit as allocated, 95 % interval {low:.4g} to {high:.4g}; "
        f"gained {metric.gain:.4g} ({least:.4g} to {most:.4g}) over {metric.allocated} units"
    )
