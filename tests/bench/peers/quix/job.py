"""The join as quixstreams has it: both topics as one data frame, a stateful function by unit, RocksDB with a changelog.

Processing is exactly once (a transaction a checkpoint, every 5 s as by default: oftener would be slower). State is by the
record's key, so totals over units have no store here: they are summed in memory, published ten times a second, and would not
survive a restart. Durable totals take a second topic, and more than halve the rate. Duplicates are dropped, early rewards wait.

The clock starts with the first event processed, and stops when the last checkpoint is committed. The sums are those that
reached a reader of committed records.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from quixstreams import Application, State

from tests.bench.following import following
from tests.bench.protocol import Job, Measured, Stopwatch, Sums, run_job

PUBLISH_EVERY_S = 0.1
PUBLISHED_TIMEOUT_S = 30.0
CONSUMER = {"queued.min.messages": 1_000_000, "fetch.queue.backoff.ms": 5}
PRODUCER = {"compression.type": "lz4"}


class Join:
    """Totals over all units, and when they are due."""

    def __init__(self, events: int, stop: Any) -> None:
        self.stopwatch: Stopwatch | None = None
        self.seen = 0
        self.sums: Sums = {}
        self._events, self._stop = events, stop
        self._published_at = 0.0

    def event(self, event: dict[str, Any], state: State) -> list[dict[str, Any]]:
        """Fold one event; the totals if they are due, else nothing."""
        self.stopwatch = self.stopwatch or Stopwatch()
        unit = state.get("unit") or {"arms": {}, "rewarded": [], "early": []}
        if (self._reward if "reward_id" in event else self._exposure)(unit, event):
            state.set("unit", unit)
        self.seen += 1
        last = self.seen == self._events
        if last:
            self._stop()
        now = time.monotonic()
        if not last and now - self._published_at < PUBLISH_EVERY_S:
            return []
        self._published_at = now
        return [{"events": self.seen, "sums": self.sums}]

    def _exposure(self, unit: dict[str, Any], event: dict[str, Any]) -> bool:
        experiment, arm = event["experiment"], event["arm"]
        if experiment in unit["arms"]:
            return False
        unit["arms"][experiment] = arm
        self._add(experiment, arm, 1, sum(value for of, value in unit["early"] if of == experiment))
        return True

    def _reward(self, unit: dict[str, Any], event: dict[str, Any]) -> bool:
        if event["reward_id"] in unit["rewarded"]:
            return False
        unit["rewarded"].append(event["reward_id"])
        experiment = event["experiment"]
        if experiment in unit["arms"]:
            self._add(experiment, unit["arms"][experiment], 0, event["value"])
        else:
            unit["early"].append((experiment, event["value"]))
        return True

    def _add(self, experiment: str, arm: str, exposed: int, value: int) -> None:
        cell = self.sums.setdefault(experiment, {}).setdefault(arm, [0, 0])
        cell[0] += exposed
        cell[1] += value


def join_all(job: Job) -> Measured:
    """Run the application until all events went through it, and its last checkpoint is committed."""
    group = f"{job.prefix}-quix-{secrets.token_hex(3)}"
    totals = f"{group}-totals"
    with tempfile.TemporaryDirectory() as directory:
        app = Application(
            broker_address=job.bootstrap,
            consumer_group=group,
            auto_offset_reset="earliest",
            state_dir=Path(directory),
            processing_guarantee="exactly-once",
            loglevel="WARNING",
            consumer_extra_config=CONSUMER,
            producer_extra_config=PRODUCER,
        )
        join = Join(job.events, app.stop)
        exposures, rewards = (
            app.dataframe(app.topic(f"{job.prefix}.{name}.v1", key_deserializer="bytes", value_deserializer="json"))
            for name in ("exposures", "rewards")
        )
        joined = exposures.concat(rewards).apply(join.event, stateful=True, expand=True)
        joined.to_topic(app.topic(totals, value_serializer="json"), key=lambda _: b"all")
        app.run()
        assert join.stopwatch is not None, "no event was asked for"
        measured = join.stopwatch.measured(join.seen, None)
    return msgspec.structs.replace(measured, sums=_published(job.bootstrap, totals, join.seen))


def _published(bootstrap: str, topic: str, events: int) -> Sums:
    """The totals published for that many events; the newest ones if those do not come."""
    newest: dict[str, Any] = {"events": 0, "sums": {}}
    deadline = time.monotonic() + PUBLISHED_TIMEOUT_S
    with following(bootstrap, topic) as consumer:
        while newest["events"] < events and time.monotonic() < deadline:
            message = consumer.poll(1.0)
            if message is not None and message.error() is None:
                published = msgspec.json.decode(message.value() or b"")
                newest = max(newest, published, key=lambda totals: totals["events"])
    sums: Sums = newest["sums"]
    return sums


if __name__ == "__main__":
    run_job(join_all)
