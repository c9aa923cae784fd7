"""The router without Kafka: which records of the weights topic it takes, what it answers, what it logs."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

import streams
from allocator.assignment import assign
from allocator.errors import UnknownExperiment
from allocator.segments import SegmentRule
from allocator.weights import PPM, Gate, Holdback, WeightedArm, Weights
from streams.producer import EventProducer, Stopped
from streams.records import encode
from streams.router import Router


def published(version: int = 1, **changes: Any) -> Weights:
    weights = Weights(
        experiment="chat",
        version=version,
        arms=(WeightedArm("a", 400_000, 11), WeightedArm("b", 600_000, 12)),
        enrolment=Gate(PPM, 7),
        holdback=Holdback(0, 8, "a"),
        valid_until=100.0,
        fallback="a",
        policy="thompson",
        reason="test",
        spec_hash="0",
        ts=40.0,
    )
    return msgspec.structs.replace(weights, **changes)


ALL_ON_B = (WeightedArm("a", 0, 11), WeightedArm("b", PPM, 12))


class Clock:
    """A clock that stands until it is set."""

    now = 50.0

    def __call__(self) -> float:
        return self.now


def read(router: Router, *values: Weights | bytes | None, key: bytes = b"chat") -> Router:
    """Feed the router records as the weights topic would."""
    for offset, value in enumerate(values):
        payload = encode(value) if isinstance(value, Weights) else value
        router._take(SimpleNamespace(key=key, value=payload, offset=offset))
    return router


def test_assigns_by_the_published_rule() -> None:
    router = read(Router(clock=Clock()), published())
    for i in range(200):
        assert router.assign("chat", f"u-{i}") == assign(published(), f"u-{i}", 50.0)


def test_an_unknown_experiment_is_named() -> None:
    router = read(Router(), published())
    for ask in (lambda: router.assign("chatt", "u-1"), lambda: router.weights("chatt"), lambda: router.staleness_s("chatt")):
        with pytest.raises(UnknownExperiment, match="no experiment 'chatt' is known here"):
            ask()


def test_falls_back_when_the_lease_has_expired_and_returns_when_it_is_renewed() -> None:
    clock = Clock()
    router = read(Router(clock=clock), published(arms=ALL_ON_B))
    assert router.assign("chat", "u-1").arm == "b"
    clock.now = 100.1
    assert router.assign("chat", "u-1").reason == "lease expired"
    read(router, published(arms=ALL_ON_B, valid_until=160.0))
    assert router.assign("chat", "u-1").arm == "b"


def test_a_segment_gets_its_own_weights_and_everybody_else_the_common_ones() -> None:
    router = read(Router(clock=Clock()), published(arms=ALL_ON_B), published(4, segment="pro", arms=ALL_ON_B[::-1]))
    assert router.assign("chat", "u-1", segment="pro").weights_version == 4
    found = router.assign("chat", "u-1", segment="free")
    assert (found.weights_version, found.segment) == (1, "free")
    assert router.assign("chat", "u-1").segment is None
    assert (router.weights("chat", "pro").version, router.weights("chat").version) == (4, 1)


def test_segments_without_weights_of_their_own_share_those_of_the_others() -> None:
    router = read(Router(clock=Clock()), published(), published(4, segment="pro"), published(7, segment="other"))
    versions = [router.assign("chat", "u-1", segment=segment).weights_version for segment in ("pro", "other", "free", None)]
    assert versions == [4, 7, 7, 7]


def test_the_segment_follows_from_the_attributes_if_the_caller_does_not_say_it() -> None:
    rule = SegmentRule(attribute="plan", names=("free", "pro"))
    router = read(
        Router(clock=Clock()),
        published(4, segment="pro", segment_rule=rule),
        published(7, segment="other", segment_rule=rule),
        published(segment_rule=rule),
    )

    def assigned(**given: Any) -> tuple[str | None, int]:
        found = router.assign("chat", "u-1", **given)
        return found.segment, found.weights_version

    assert assigned(attributes={"plan": "pro"}) == ("pro", 4)
    assert assigned(attributes={"plan": "team"}) == ("other", 7)
    assert assigned() == assigned(attributes={}) == ("other", 7)
    assert assigned(segment="free", attributes={"plan": "pro"}) == ("free", 7)


def test_the_rule_of_segments_is_that_of_the_newest_weights() -> None:
    router = read(Router(clock=Clock()), published(segment_rule=SegmentRule(attribute="plan", names=("pro",))))
    read(router, published(2, segment_rule=SegmentRule(attribute="n", names=("light", "heavy"), cuts=(5.0,))))
    assert router.assign("chat", "u-1", attributes={"plan": "pro", "n": 5}).segment == "heavy"
    read(router, published(3))
    assert router.assign("chat", "u-1", attributes={"plan": "pro", "n": 5}).segment is None


async def test_who_is_not_eligible_is_not_exposed_and_a_rule_that_fails_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    router = read(Router(clock=Clock()), published(eligibility={">=": [{"var": "app_version"}, 7]}))
    given: list[dict[str, Any] | None] = [
        {"app_version": 7},
        {"app_version": 6},
        None,
        {"app_version": [1]},
        {"app_version": "x"},
    ]
    exposed = [router.expose(router.assign("chat", "u-1", attributes=attributes)) is not None for attributes in given]
    assert exposed == [True, False, False, False, False]
    assert router.counters.unexposed == {"not eligible": 4}
    assert router.counters.rule_failures == {"chat": 2}
    [record] = caplog.records
    assert "chat: a unit is not eligible" in record.message
    assert "['app_version']" in record.message  # names of attributes, never what they say


def test_weights_with_a_rule_unknown_here_are_ignored_as_a_whole() -> None:
    router = read(Router(clock=Clock()), published(), published(2, eligibility={"geo_within": [1]}))
    assert (router.weights("chat").version, router.counters.malformed) == (1, 1)


def test_params_reach_the_caller_and_are_not_on_the_wire_where_there_are_none() -> None:
    arms = (WeightedArm("a", 0, 11), WeightedArm("b", PPM, 12, {"model": "r2", "top_k": 20}))
    router = read(Router(clock=Clock()), published(arms=arms))
    assert router.assign("chat", "u-1").params == {"model": "r2", "top_k": 20}
    assert b'{"id":"a","ppm":0,"seed":11}' in encode(published(arms=arms))


def test_weights_of_a_segment_alone_serve_nobody_else() -> None:
    router = read(Router(clock=Clock()), published(segment="pro"))
    assert router.assign("chat", "u-1", segment="pro").weights_version == 1
    with pytest.raises(UnknownExperiment):
        router.assign("chat", "u-1")


def test_versions_never_go_back() -> None:
    router = read(Router(clock=Clock()), published(5), published(4, arms=ALL_ON_B), published(5, valid_until=90.0))
    assert router.weights("chat") == published(5)
    assert (router.counters.applied, router.counters.outdated) == (1, 2)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"not json",
        b"\xff",
        b"null",
        b"[]",
        b"{}",
        b'{"experiment": "\xff"}',
        b'{"x": ' + b"[" * 100_000,
        encode(published(2)).replace(b'"rendezvous-xxh64"', b'"cumulative"'),
        encode(published(2)).replace(b"600000", b"600001"),
        encode(published(2, fallback="gone")),
        encode(published(2, arms=())),
    ],
    ids=lambda value: value[:24].decode(errors="replace"),
)
def test_a_malformed_record_is_counted_and_logged_and_changes_nothing(value: bytes, caplog: pytest.LogCaptureFixture) -> None:
    router = read(Router(clock=Clock()), published(), value, b"{", published(3))
    assert (router.counters.applied, router.counters.malformed) == (2, 2)
    assert "offset 1: ignored, these are no weights" in caplog.text
    assert router.weights("chat").version == 3


def test_a_tombstone_removes_the_experiment_and_it_may_begin_anew() -> None:
    router = read(Router(clock=Clock()), published(9), None, None)
    with pytest.raises(UnknownExperiment):
        router.assign("chat", "u-1")
    assert router.counters.removed == 1
    assert read(router, published(1)).weights("chat").version == 1


def test_a_tombstone_removes_only_what_was_published_under_its_key() -> None:
    router = read(Router(clock=Clock()), published())
    read(router, published(segment="pro"), None, key=b"chat/pro")
    assert router.assign("chat", "u-1", segment="pro").weights_version == 1
    assert router.counters.removed == 1


def test_staleness_is_the_age_of_the_weights_in_force() -> None:
    clock = Clock()
    router = read(Router(clock=clock), published(ts=40.0))
    assert router.staleness_s("chat") == 10.0
    clock.now = 39.0  # the publisher's clock is ahead
    assert router.staleness_s("chat") == 0.0


async def test_changed_returns_at_once_or_waits_for_a_newer_version() -> None:
    router = read(Router(), published(1))
    assert (await router.changed("chat")).version == 1
    waiting = asyncio.create_task(router.changed("chat", after_version=1))
    other = asyncio.create_task(router.changed("search"))
    await asyncio.sleep(0)
    read(router, published(1))
    await asyncio.sleep(0)
    assert not waiting.done()
    read(router, published(2))
    assert (await waiting).version == 2
    assert not other.done()
    read(router, published(1, experiment="search"), key=b"search")
    assert (await other).experiment == "search"


async def test_changed_says_when_the_experiment_is_removed() -> None:
    router = read(Router(), published(1))
    waiting = asyncio.create_task(router.changed("chat", after_version=1))
    await asyncio.sleep(0)
    read(router, None)
    with pytest.raises(UnknownExperiment):
        await waiting


async def test_changed_says_when_the_router_is_stopped() -> None:
    router = Router()
    waiting = asyncio.create_task(router.changed("chat"))
    await asyncio.sleep(0)
    await router.stop()
    with pytest.raises(Stopped):
        await waiting


async def test_expose_logs_what_was_assigned() -> None:
    router = read(Router(clock=Clock()), published(311, arms=ALL_ON_B, holdback=Holdback(PPM, 8, "a")))
    record = router.expose(router.assign("chat", "u-17", segment="pro"), covariates={"requests_28d": 41})
    assert record is not None
    assert len(record.exposure_id) == 32
    assert msgspec.to_builtins(record) == {
        "experiment": "chat",
        "unit": "u-17",
        "arm": "a",
        "propensity": 1.0,
        "weights_version": 311,
        "ts": 50.0,
        "exposure_id": record.exposure_id,
        "segment": "pro",
        "holdback": True,
        "covariates": {"requests_28d": 41},
    }


async def test_who_takes_no_part_is_not_exposed_but_counted() -> None:
    clock = Clock()
    router = read(Router(clock=clock), published(enrolment=Gate(0, 7)))
    assert router.expose(router.assign("chat", "u-1")) is None
    clock.now = 101.0
    assert router.expose(router.assign("chat", "u-1")) is None
    assert router.counters.unexposed == {"not enrolled": 1, "lease expired": 1}


async def test_expose_may_use_a_producer_of_the_caller() -> None:
    events = EventProducer()
    router = read(Router(events=events, clock=Clock()), published())
    router.expose(router.assign("chat", "u-1"), ts=49.5, exposure_id="e-1")
    assert events.pending == 1
    await router.stop()
    assert events.pending == 1  # its owner stops it
    await events.stop()


def test_the_package_exports_its_public_names_when_asked() -> None:
    assert streams.Router is Router
    assert streams.EventProducer is EventProducer
    with pytest.raises(AttributeError, match="no attribute 'Roter'"):
        _ = streams.Roter


def test_subscribers_see_every_version_that_comes_into_force_in_order(caplog: pytest.LogCaptureFixture) -> None:
    router, seen = Router(clock=Clock()), list[int]()

    def fails(weights: Weights) -> None:
        raise OSError(f"cannot forward {weights.version}")

    router.on_update += [fails, lambda weights: seen.append(weights.version)]
    read(router, *(published(version) for version in (1, 2, 1, 4)), b"no weights", published(5))
    assert seen == [1, 2, 4, 5]
    assert "a subscriber failed on version 4" in caplog.text
