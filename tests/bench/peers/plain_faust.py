"""Peer: the join as plain Faust has it: an agent a topic, units and arm totals in two RocksDB tables with changelogs.

Duplicates are dropped, early rewards wait in the unit's state, counting is at least once. Settings that matter for speed are
Faust's defaults; `tuned_faust` has better ones. Its time goes into asyncio's machinery a message, and into the changelog: a send
and two puts a table write, and agents held back whenever a hundred sends are outstanding.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from dataclasses import dataclass
from typing import Any

import faust
from confluent_kafka.admin import AdminClient, NewTopic

from streams.topics import Topics
from tests.bench.protocol import Job, Measured, Stopwatch, Sums, run_job
from tests.reference import PARTITIONS

UNITS, TOTALS = "units", "totals"


@dataclass
class Progress:
    """How far the agents are. `done` is resolved with the last event."""

    events: int
    done: asyncio.Future[Stopwatch]
    seen: int = 0
    stopwatch: Stopwatch | None = None

    def begin_event(self) -> None:
        self.stopwatch = self.stopwatch or Stopwatch()

    def end_event(self) -> None:
        self.seen += 1
        if self.seen == self.events and self.stopwatch is not None:
            self.done.set_result(self.stopwatch)


async def join_all(job: Job, **settings: Any) -> Measured:
    """Run an app with these further settings until all events are in its tables."""
    with tempfile.TemporaryDirectory() as directory:
        app = _app(job, directory, settings)
        progress = Progress(job.events, asyncio.get_running_loop().create_future())
        totals = _add_agents(app, Topics(job.prefix), progress)
        _make_changelogs(job.bootstrap, app.conf.id)
        async with app:
            stopwatch = await progress.done
            return stopwatch.measured(progress.seen, _sums(totals))


def _app(job: Job, directory: str, settings: dict[str, Any]) -> faust.App:
    return faust.App(
        f"{job.prefix}-{secrets.token_hex(3)}",
        broker=f"kafka://{job.bootstrap}",
        store="rocksdb://",
        datadir=directory,
        topic_partitions=PARTITIONS,
        topic_disable_leader=True,
        table_standby_replicas=0,
        web_enabled=False,
        **settings,
    )


def _make_changelogs(bootstrap: str, app: str) -> None:
    """Faust would make them too, and wait for ever if its metadata is asked for a moment too soon."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    compacted = {"cleanup.policy": "compact"}
    changelogs = [NewTopic(f"{app}-{table}-changelog", PARTITIONS, 1, config=compacted) for table in (UNITS, TOTALS)]
    for made in admin.create_topics(changelogs).values():
        made.result()


def _table(app: faust.App, name: str) -> Any:
    return app.Table(name, partitions=PARTITIONS, options={"driver": "rocksdict"})


def _add_agents(app: faust.App, topics: Topics, progress: Progress) -> Any:
    """Declare tables and agents; returns the table of arm totals."""
    units, totals = _table(app, UNITS), _table(app, TOTALS)

    def unit_of(event: dict[str, Any]) -> dict[str, Any]:
        return units.get(event["unit"]) or {"arms": {}, "rewarded": [], "early": []}

    def add(experiment: str, arm: str, exposed: int, value: float) -> None:
        key = f"{experiment}/{arm}"
        n, total = totals.get(key) or (0, 0)
        totals[key] = (n + exposed, total + value)

    @app.agent(app.topic(topics.exposures, key_serializer="raw", value_serializer="json"))
    async def exposures(stream: Any) -> None:
        async for event in stream:
            progress.begin_event()
            unit, experiment, arm = unit_of(event), event["experiment"], event["arm"]
            if experiment not in unit["arms"]:
                unit["arms"][experiment] = arm
                add(experiment, arm, 1, sum(value for of, value in unit["early"] if of == experiment))
                units[event["unit"]] = unit
            progress.end_event()

    @app.agent(app.topic(topics.rewards, key_serializer="raw", value_serializer="json"))
    async def rewards(stream: Any) -> None:
        async for event in stream:
            progress.begin_event()
            unit, experiment = unit_of(event), event["experiment"]
            if event["reward_id"] not in unit["rewarded"]:
                unit["rewarded"].append(event["reward_id"])
                if experiment in unit["arms"]:
                    add(experiment, unit["arms"][experiment], 0, event["value"])
                else:
                    unit["early"].append((experiment, event["value"]))
                units[event["unit"]] = unit
            progress.end_event()

    return totals


def _sums(totals: Any) -> Sums:
    """The totals of all partitions: each has its own database with the same keys."""
    sums: Sums = {}
    for key, (n, total) in totals.items():
        experiment, _, arm = key.partition("/")
        cell = sums.setdefault(experiment, {}).setdefault(arm, [0, 0])
        cell[0] += n
        cell[1] += total
    return sums


if __name__ == "__main__":
    run_job(lambda job: asyncio.run(join_all(job)))
