"""What cannot be used, among what can: the good is counted exactly, the rest is a dead letter each, once, over kills too."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Producer

from deploy.kafka.broker import Broker
from streams.topics import Topics
from tests.chaos.checker import differences
from tests.chaos.job import SOURCE_BATCH_BYTES, runner
from tests.chaos.schedule import Kill
from tests.reference import START_TS, Answer, events, fill
from tests.workers import read_topic

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

UNITS = 10_000
POISON_EVERY = 40
"""Events from one poison record to the next: every chunk has some."""

EXPOSURE: dict[str, Any] = {
    "experiment": "exp-0", "unit": "p", "arm": "a", "propensity": 0.25, "ts": START_TS, "exposure_id": "x",
}  # fmt: skip
REWARD: dict[str, Any] = {
    "unit": "p", "metric": "thumbs_up", "value": 1, "ts": START_TS, "reward_id": "r", "experiment": "exp-0",
}  # fmt: skip


class Poison(NamedTuple):
    """One kind of record, and what its reason must say."""

    dataset: str
    value: bytes | None
    reason: str
    key: bytes | None = b"p"


def exposure(reason: str, **wrong: Any) -> Poison:
    return Poison("exposures", _json(EXPOSURE | wrong), reason)


def reward(reason: str, **wrong: Any) -> Poison:
    return Poison("rewards", _json(REWARD | wrong), reason)


def _json(record: dict[str, Any]) -> bytes:
    """Without what is absent; NaN and Infinity as Python writes them, which is not JSON."""
    return json.dumps({name: value for name, value in record.items() if value is not ...}).encode()


POISONS = [
    *(
        Poison(dataset, value, reason, key)
        for dataset, record in (("exposures", EXPOSURE), ("rewards", REWARD))
        for value, reason, key in (
            (None, "truncated", b"p"),
            (b"", "truncated", b"p"),
            (b"{oops", "malformed", b"p"),
            (b'\xff\xfe{"unit"', "malformed", b"p"),
            (b'{"extra": ' + b"[" * 4000, "recursion", b"p"),
            (b"[]", "Expected `object`", b"p"),
            (b"null", "Expected `object`", b"p"),
            (_json(record), "key: missing", None),
            (_json(record), "key: b'q'", b"q"),
        )
    ),
    exposure("Expected `str`", unit=7),
    exposure("Expected `float`", propensity="0.25"),
    exposure("malformed", propensity=float("nan")),
    exposure("1e-06", propensity=0.0),
    exposure("<= 1", propensity=1e300),
    exposure(">= 0", ts=-1.0),
    exposure("malformed", ts=float("inf")),
    exposure("< 100000000000", ts=1e308),
    exposure("at most a day after the log time", ts=START_TS + 1e9),
    exposure("experiment: 'nobody'", experiment="nobody"),
    exposure("arm: 'z'", arm="z"),
    exposure("exposure_id", exposure_id=...),
    reward("Expected `float`", value="1"),
    reward("Expected `float`", value=None),
    reward("malformed", value=float("nan")),
    reward("malformed", value=float("-inf")),
    Poison("rewards", _json(REWARD).replace(b'"value": 1', b'"value": 1e400'), "out of range"),
    reward("value: 1e+300", value=1e300),
    reward("value: 2", value=2),
    reward("metric: 'smiles'", metric="smiles"),
    reward("reward_id", reward_id=...),
]


class Sent:
    """The reference job with poison in it, and where each poison record is."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        fill(bootstrap, prefix, 0)
        self.answer = Answer()
        self.poisons: dict[tuple[str, int, int], Poison] = {}
        self._topics, rng = Topics(prefix), random.Random(3)
        options = {"partitioner": "murmur2_random", "linger.ms": 20, "batch.size": SOURCE_BATCH_BYTES, "compression.type": "lz4"}
        self._producer = Producer({"bootstrap.servers": bootstrap, **options})
        for n, (dataset, unit, record) in enumerate(events(UNITS, 7, self.answer)):
            self._producer.produce(self._topics.name(dataset), json.dumps(record), unit)
            if n % POISON_EVERY == 0:
                self._poison(POISONS[n // POISON_EVERY % len(POISONS)], f"p{rng.randrange(100)}".encode())
            self._producer.poll(0)
        assert self._producer.flush(60) == 0

    def _poison(self, kind: Poison, unit: bytes) -> None:
        """Of this unit, so that all partitions get some and each the units that are its own."""
        value, key = kind.value and kind.value.replace(b'"p"', b'"%b"' % unit), unit if kind.key == b"p" else kind.key
        poison = kind._replace(value=value, key=key)

        def delivered(error: Any, message: Any) -> None:
            assert error is None, error
            self.poisons[message.topic(), message.partition(), message.offset()] = poison

        self._producer.produce(self._topics.name(poison.dataset), value, key, on_delivery=delivered)

    def counted(self) -> dict[str, int]:
        """Poison by outcome, where it names an experiment that it could be counted under."""
        named = [p.dataset for p in self.poisons.values() if p.reason.startswith(("arm", "metric", "value"))]
        return {f"{dataset}.dead": n for dataset, n in Counter(named).items()}


def letters(bootstrap: str, prefix: str) -> list[tuple[tuple[str, int, int], bytes | None, bytes | None, str]]:
    """Origin, key, value and reason of every dead letter."""
    found = []
    for source in (Topics(prefix).exposures, Topics(prefix).rewards):
        for m in read_topic(bootstrap, Topics.dead_letters(source)):
            headers = {name: value.decode() for name, value in m.headers()}
            origin = (headers["origin-topic"], int(headers["origin-partition"]), int(headers["origin-offset"]))
            found.append((origin, m.key(), m.value(), headers["reason"]))
    return found


@pytest.mark.parametrize("transactions", [True, False], ids=["protected", "control"])
def test_poison_among_good_records(kafka: Broker, prefix: str, tmp_path: Path, transactions: bool) -> None:
    sent = Sent(kafka.bootstrap, prefix)
    chaos = runner(kafka, prefix, tmp_path, "--unknown-grace", "0", transactions=transactions)
    with chaos.running(0):
        chaos.run([Kill(at=0.1, batches=1), Kill(at=0.5, disk="wipe", batches=1)] if transactions else [Kill(at=0.1, batches=1)])
        chaos.heal()
    found = letters(kafka.bootstrap, prefix)
    times = Counter(origin for origin, *_ in found)
    assert times.keys() == sent.poisons.keys(), "what is dead is what was poison"
    for origin, key, value, reason in found:
        poison = sent.poisons[origin]
        assert (key, value) == (poison.key, poison.value)
        assert poison.reason in reason, poison
    sent.answer.counters |= sent.counted()
    wrong = differences(kafka.bootstrap, prefix, sent.answer)
    assert (max(times.values()) == 1, wrong == []) == (transactions, transactions), wrong
