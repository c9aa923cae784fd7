"""The whole loop on real Kafka: a spec is applied, events go in, weights come out at routers, also at one in another process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from deploy.kafka.broker import Broker
from streams.experiments import apply, set_status
from streams.producer import EventProducer
from streams.router import Router
from streams.topics import Topics
from tests.loops import PREFIX, UNITS, Loop, spec, within
from tests.workers import WorkerProcess, read_topic

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def worker(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """One worker for the tests of this module, which have an experiment each."""
    directory = tmp_path_factory.mktemp("loop")
    with WorkerProcess(kafka.bootstrap, PREFIX, directory).running() as running:
        yield running
        assert running.stop() == 0


@pytest.fixture
async def loop(kafka: Broker, worker: WorkerProcess) -> AsyncIterator[Loop]:
    async with (
        EventProducer(kafka.bootstrap, prefix=PREFIX) as events,
        Router(kafka.bootstrap, prefix=PREFIX, events=events) as router,
    ):
        yield Loop(kafka.bootstrap, worker, events, router)


# -- weights ---------------------------------------------------------------------------------------------------------------------


async def test_a_new_experiment_starts_with_even_weights(loop: Loop) -> None:
    name = await loop.apply(spec())
    weights = loop.router.weights(name)
    assert (weights.version, weights.status, weights.fallback) == (1, "running", "a")
    assert [(arm.id, arm.ppm) for arm in weights.arms] == [("a", 500_000), ("b", 500_000)]
    assert weights.valid_until > time.time()
    assert loop.router.assign(name, "u-1").enrolled
    detail = await loop.detail(name, lambda found: found["version"] == 1)
    assert "warm-up: a has 0 of 10 units, and 1 more short of it" in detail["reason"]


async def test_traffic_moves_to_the_better_arm(loop: Loop) -> None:
    name = await loop.apply(spec())
    loop.expose(name)
    loop.reward(name, best="b")
    await loop.weights_where(name, lambda shares: shares == {"a": 20_000, "b": 980_000})
    # counters are those of now, arms those of the last decision
    detail = await loop.detail(
        name, lambda found: found["events_read"] == 4 * UNITS and {arm["n"] for arm in found["arms"]} == {UNITS}
    )
    assert detail["counters"] == {"exposures.applied": 2 * UNITS, "rewards.applied": 2 * UNITS}
    rows = {arm["id"]: arm for arm in detail["arms"]}
    assert rows["b"]["p_best"] > 0.999
    assert rows["a"]["interval"][1] < rows["b"]["interval"][0]
    decisions = await loop.until(
        lambda: loop.worker.get(f"/api/experiments/{name}/decisions"), lambda found: found and "b leads" in found[0]["reason"]
    )
    newest = loop.router.weights(name)
    assert decisions[0]["version"] == newest.version
    assert [arm["ppm"] for arm in decisions[0]["arms"]] == [20_000, 980_000]
    assert decisions[0]["inputs"] == newest.inputs


async def test_what_a_router_serves_is_what_the_worker_counts(loop: Loop) -> None:
    name = await loop.apply(spec(holdback=0.2, enrolment=0.8))
    assigned = [loop.router.assign(name, f"{name}-{i}") for i in range(2000)]
    for assignment in assigned:
        if loop.router.expose(assignment):
            loop.events.reward(assignment.unit, "thumbs_up", 1, experiment=name)
    enrolled = [assignment for assignment in assigned if assignment.enrolled]
    trained = Counter(assignment.arm for assignment in enrolled if not assignment.holdback)
    assert 0 < sum(trained.values()) < len(enrolled) < len(assigned)
    detail = await loop.detail(name, lambda found: found["counters"].get("rewards.applied") == len(enrolled))
    assert detail["counters"] == {"exposures.applied": len(enrolled), "rewards.applied": len(enrolled)}
    found = await loop.detail(name, lambda found: sum(arm["n"] for arm in found["arms"]) == sum(trained.values()))
    assert {arm["id"]: arm["n"] for arm in found["arms"]} == trained


async def test_a_router_in_another_process_has_new_weights_within_a_second_after_rewards_flip(loop: Loop) -> None:
    """The rewards of all units are corrected at once, so that the other arm is the better one; several times over, because one
    time may meet a pause of the machine."""
    name = await loop.apply(spec())
    loop.expose(name)
    loop.reward(name, best="b")
    await loop.weights_where(name, lambda shares: shares["b"] > 900_000)
    async with router_example(loop.bootstrap, name) as line_where:
        await line_where("b")
        delays, ages = [], []
        for best in "abab":
            flipped = time.monotonic()
            loop.reward(name, best)
            ages.append(await line_where(best))
            delays.append(time.monotonic() - flipped)
    assert min(delays) < 1.0, f"seconds from the flip of the rewards to new weights: {delays}"
    assert min(ages) < 1.0, f"age of the weights when they came: {ages}"


@asynccontextmanager
async def router_example(bootstrap: str, name: str) -> AsyncIterator[Callable[[str], Any]]:
    """`python -m streams.router_example`; gives a way to wait for the line by which an arm has most of the traffic."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streams.router_example", "--bootstrap", bootstrap, "--prefix", PREFIX, "--experiment", name),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert process.stdout is not None
    lines = process.stdout

    async def line_where(arm: str) -> float:
        """Age of the weights, in seconds, when they were printed."""
        while line := (await within(lines.readline())).decode():
            age, shares = re.fullmatch(r"version \d+, (\S+) s old: (.*)\n", line).groups()  # type: ignore[union-attr]
            if float(dict(share.split()[:2] for share in shares.split(", "))[arm]) > 90:
                return float(age)
        raise AssertionError("the router ended")

    try:
        yield line_where
    finally:
        process.kill()
        await process.communicate()


async def test_pause_holds_the_weights_resume_moves_them_and_stop_sends_everything_to_the_fallback(loop: Loop) -> None:
    name = await loop.apply(spec(fallback="b"))
    loop.expose(name)
    loop.reward(name, best="a")
    held = await loop.weights_where(name, lambda shares: shares == {"a": 980_000, "b": 20_000})

    await set_status(loop.connection, loop.topics, name, "paused")
    while (weights := loop.router.weights(name)).status != "paused":
        await within(loop.router.changed(name, after_version=weights.version))
    loop.reward(name, best="b")
    detail = await loop.detail(name, lambda found: next(arm for arm in found["arms"] if arm["id"] == "b")["p_best"] > 0.9)
    assert detail["status"] == "paused"
    assert {arm["id"]: arm["ppm"] for arm in detail["arms"]} == held
    assert {arm.id: arm.ppm for arm in loop.router.weights(name).arms} == held
    assert loop.router.assign(name, "u-1").enrolled

    await set_status(loop.connection, loop.topics, name, "running")
    await loop.weights_where(name, lambda shares: shares["b"] > 900_000)

    await set_status(loop.connection, loop.topics, name, "stopped")
    assert await loop.weights_where(name, lambda shares: shares["b"] == 1_000_000) == {"a": 0, "b": 1_000_000}
    for i in range(100):
        assignment = loop.router.assign(name, f"u-{i}")
        assert (assignment.arm, assignment.enrolled, assignment.reason) == ("b", False, "stopped")


async def test_an_added_arm_enters_at_the_floor_and_can_win(loop: Loop) -> None:
    wanted = spec(constraints={"warmup": 10, "floor": 0.02, "max_shift": 1, "dead_band": 0})
    name = await loop.apply(wanted)
    loop.expose(name)
    loop.reward(name, best="b")
    await loop.weights_where(name, lambda shares: shares["b"] > 900_000)
    fields = {"experiment": name, "arms": ["a", "b", "c"], "constraints": {"warmup": 10, "max_shift": 1, "dead_band": 0}}
    await apply(loop.connection, loop.topics, spec(**fields))
    await loop.weights_where(name, lambda shares: "c" in shares)
    loop.reward(name, best="c")
    loop.expose(name, arms="c")
    loop.reward(name, best="c", arms="c")
    shares = await loop.weights_where(name, lambda shares: shares.get("c", 0) > 900_000)
    assert sum(shares.values()) == 1_000_000


async def test_segments_that_like_different_arms_get_weights_of_their_own_until_the_policy_is_another(loop: Loop) -> None:
    likes = {"heavy": "a", "light": "b"}
    name = await loop.apply(spec(segments=list(likes), policy="per-segment"))
    for segment, best in likes.items():
        for i in range(400):
            unit, arm = f"{name}-{segment}-{i}", "ab"[i % 2]
            loop.events.exposure(name, unit, arm, 0.5, segment=segment)
            loop.events.reward(unit, "thumbs_up", int(arm == best), experiment=name)
    await loop.events.flush()

    def favoured() -> dict[str, str]:
        """{segment: the arm with most of the traffic}."""
        weights = [loop.router.weights(name, segment) for segment in likes]
        return {
            str(found.segment): max(found.arms, key=lambda arm: arm.ppm).id for found in weights if found.arms[0].ppm != 500_000
        }

    await loop.until(favoured, lambda found: found == likes)
    assert loop.router.weights(name, "unheard-of").segment == "other"

    await apply(loop.connection, loop.topics, spec(experiment=name, segments=list(likes)))
    await loop.until(
        lambda: {loop.router.weights(name, segment).segment for segment in (*likes, "other", None)}, lambda found: found == {None}
    )


# -- accounts --------------------------------------------------------------------------------------------------------------------


async def test_every_event_ends_in_one_counter(loop: Loop) -> None:
    name = await loop.apply(spec(metrics={"thumbs_up": {"type": "binary", "window": "1h"}}))
    now, events = time.time(), loop.events
    for unit in ("late", "crossed", "twice", "early", "corrected", "unmatched"):
        events.exposure(name, unit, "a", 0.5, ts=now, exposure_id="x")
    events.exposure(name, "twice", "a", 0.5, ts=now, exposure_id="x")
    events.exposure(name, "twice", "a", 0.5, ts=now + 1, exposure_id="again")
    events.exposure(name, "crossed", "b", 0.5, ts=now + 1)
    events.exposure(name, "nobody", "no such arm", 0.5)
    events.exposure("no such experiment", "nobody", "a", 0.5)
    for unit, value, after_s in (
        *(("twice", 1, 1), ("twice", 1, 1), ("crossed", 1, 1), ("late", 1, 3601), ("unmatched", 1, -60), ("alone", 1, 0)),
        *(("corrected", 1, 1), ("corrected", 0, 2), ("corrected", 0.5, 3)),
    ):
        events.reward(unit, "thumbs_up", value, ts=now + after_s, experiment=name, reward_id=f"r-{name}")
    events.reward("twice", "no such metric", 1)
    events.reward("twice", "no such metric", 1, experiment=name)
    await events.flush()
    wanted = {
        "exposures.applied": 5,
        "exposures.crossover": 2,
        "exposures.dead": 1,
        "exposures.duplicate": 1,
        "exposures.repeated": 1,
        "rewards.applied": 2,
        "rewards.dead": 2,
        "rewards.duplicate": 2,
        "rewards.excluded": 1,
        "rewards.late": 1,
        "rewards.unmatched": 1,
        "rewards.waiting": 1,
    }
    detail = await loop.detail(name, lambda found: found["events_read"] == sum(wanted.values()))
    assert detail["counters"] == wanted
    await loop.all_counted()  # also those that name no experiment there is


async def test_dead_letters_carry_reason_and_origin_and_the_worker_goes_on(loop: Loop) -> None:
    name = await loop.apply(spec())
    unit = f"{name}-u"
    good = {"experiment": name, "unit": unit, "arm": "a", "propensity": 0.5, "ts": time.time(), "exposure_id": "x"}
    bad: dict[bytes | None, str] = {
        b"{": "Input data was truncated",
        b"\xff\xfe": "JSON is malformed: invalid character (byte 0)",
        b"[" * 100_000: "Expected `object`, got `array`",
        None: "Input data was truncated",
        encoded(good, propensity=0): "Expected `float` >= 1e-06 - at `$.propensity`",
        encoded(good, propensity=1.5): "Expected `float` <= 1.0 - at `$.propensity`",
        encoded(good, arm="c"): f"arm: 'c': expected an arm of '{name}'",
        encoded(good, unit="other"): f"key: b'{unit}': expected the unit, 'other'",
        encoded(good, experiment=f"{name}-typo"): f"experiment: '{name}-typo': expected the name of an applied experiment",
    }
    topic = loop.topics.exposures
    async with AIOKafkaProducer(bootstrap_servers=loop.bootstrap) as raw:
        acks = [await raw.send_and_wait(topic, value, unit.encode()) for value in bad]
        await raw.send_and_wait(topic, encoded(good), unit.encode())
    await loop.detail(name, lambda found: found["counters"].get("exposures.applied") == 1)

    def ours() -> dict[tuple[int, int], Any]:
        letters = {}
        for letter in read_topic(loop.bootstrap, Topics.dead_letters(topic)):
            headers = dict(letter.headers())
            letters[int(headers["origin-partition"]), int(headers["origin-offset"])] = letter
        return letters

    letters = await loop.until(ours, lambda found: all((ack.partition, ack.offset) in found for ack in acks))
    for ack, (value, reason) in zip(acks, bad.items(), strict=True):
        letter = letters[ack.partition, ack.offset]
        headers = dict(letter.headers())
        assert (letter.key(), letter.value(), headers["reason"].decode()) == (unit.encode(), value, reason)
        assert headers["origin-topic"].decode() == topic
        assert letter.partition() == ack.partition
    await loop.all_counted()


async def test_a_bad_record_larger_than_a_batch_does_not_stop_the_worker(loop: Loop) -> None:
    """Kafka's limit is on the compressed size, so a record may be larger than what can be written uncompressed."""
    name = await loop.apply(spec())
    async with AIOKafkaProducer(bootstrap_servers=loop.bootstrap, compression_type="gzip", max_request_size=1 << 25) as raw:
        ack = await raw.send_and_wait(loop.topics.rewards, b"x" * 5_000_000, b"large")
        await raw.send_and_wait(loop.topics.rewards, b"y", b"k" * 2_000_000)
    loop.expose(name, units=10)
    await loop.detail(name, lambda found: found["counters"].get("exposures.applied") == 20)
    await loop.all_counted()
    letters = read_topic(loop.bootstrap, Topics.dead_letters(loop.topics.rewards))
    (letter,) = [letter for letter in letters if letter.key() == b"large"]
    headers = dict(letter.headers())
    assert headers["origin-offset"] == b"%d" % ack.offset
    assert headers["cut-from"] == b"5000005"
    assert letter.value() == b"x" * len(letter.value())
    assert len(letter.value()) == 250_000


async def test_markers_and_aborted_records_of_transactional_producers_hold_nothing_up(loop: Loop) -> None:
    name = await loop.apply(spec())
    topic, unit = loop.topics.exposures, f"{name}-u"
    fields = {"experiment": name, "unit": unit, "arm": "a", "propensity": 0.5, "ts": time.time()}
    async with AIOKafkaProducer(bootstrap_servers=loop.bootstrap, transactional_id=name) as raw:
        for i, commits in enumerate((False, True, True, False)):
            await raw.begin_transaction()
            await raw.send(topic, encoded(fields, exposure_id=f"x-{i}"), unit.encode())
            await (raw.commit_transaction() if commits else raw.abort_transaction())
    loop.events.reward(unit, "thumbs_up", 1, experiment=name)
    detail = await loop.detail(name, lambda found: found["counters"].get("rewards.applied") == 1)
    assert detail["counters"] == {"exposures.applied": 1, "exposures.repeated": 1, "rewards.applied": 1}
    await loop.all_counted()


def encoded(fields: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({**fields, **changes}).encode()


# -- several workers -------------------------------------------------------------------------------------------------------------


async def test_two_workers_share_the_partitions_and_each_answers_for_every_experiment(
    loop: Loop, kafka: Broker, tmp_path: Path
) -> None:
    names = [await loop.apply(spec()) for _ in range(6)]
    for name in names:
        loop.expose(name, units=20)
    for name in names:
        await loop.detail(name, lambda found: found["counters"].get("exposures.applied") == 40)
    other = WorkerProcess(kafka.bootstrap, PREFIX, tmp_path)
    with other.running():
        both = (loop.worker, other)
        await loop.until(lambda: [owned(w) for w in both], lambda found: sum(found) == 4 and all(found))
        for name in names:
            loop.reward(name, best="b", units=20)
        for worker in both:
            for name in names:
                detail = await loop.until(
                    lambda w=worker, n=name: w.get(f"/api/experiments/{n}"),
                    lambda found: found and found["counters"].get("rewards.applied") == 40,
                )
                assert detail["counters"] == {"exposures.applied": 40, "rewards.applied": 40}
                assert await asyncio.to_thread(worker.get, f"/api/experiments/{name}/decisions")
            listed = await asyncio.to_thread(worker.get, "/api/experiments")
            assert set(names) <= {summary["name"] for summary in listed}
        for name in names:
            await loop.weights_where(name, lambda shares: shares["b"] > 900_000)
        await loop.all_counted(*both)
        assert await asyncio.to_thread(other.stop) == 0
    await loop.until(lambda: owned(loop.worker), lambda found: found == 4)
    for name in names:
        detail = await loop.detail(name, lambda found: True)
        assert detail["counters"] == {"exposures.applied": 40, "rewards.applied": 40}
    await loop.all_counted()


def owned(worker: WorkerProcess) -> int:
    """Join partitions the worker has restored and runs."""
    try:
        text = httpx.get(f"{worker.url}/metrics", timeout=5).text
    except httpx.HTTPError:
        return 0
    found = re.search(r'^allocator_partitions_owned\{agent="join"\} (\S+)$', text, re.MULTILINE)
    return int(float(found[1])) if found else 0


async def test_the_worker_made_the_topics_as_they_must_be(loop: Loop) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=loop.bootstrap)
    await admin.start()
    try:
        found = {row["topic"]: len(row["partitions"]) for row in await admin.describe_topics() if row["topic"].startswith(PREFIX)}
    finally:
        await admin.close()
    assert found == {s.name: s.partitions or 4 for s in loop.topics.specs()}
