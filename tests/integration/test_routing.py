"""What routers do besides weights, on the real loop: from the spec over the weights topic to who is served and counted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import pytest

from allocator.instants import format_instant
from allocator.namespaces import place
from deploy.kafka.broker import Broker
from tests.loops import Loop, joined, spec, within
from tests.workers import WorkerProcess

pytestmark = pytest.mark.kafka
PREFIX = "routing"


@pytest.fixture(scope="module")
def worker(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    with WorkerProcess(kafka.bootstrap, PREFIX, tmp_path_factory.mktemp("routing")).running() as running:
        yield running
        assert running.stop() == 0


@pytest.fixture
async def loop(kafka: Broker, worker: WorkerProcess) -> AsyncIterator[Loop]:
    async with joined(kafka.bootstrap, worker, PREFIX) as loop:
        yield loop


async def test_two_experiments_of_a_namespace_count_their_own_units(loop: Loop) -> None:
    arms = [{"id": "a", "params": {"model": "r1"}}, {"id": "b", "params": {"model": "r2"}}]
    rule = {">=": [{"var": "app_version"}, 7]}
    segments = {"covariate": "requests", "cuts": [10], "names": ["light", "heavy"]}
    names = [
        await loop.apply(spec(arms=arms, eligibility=rule, segments=segments, namespace={"name": "home-page", "ranges": [ends]}))
        for ends in (["0%", "30%"], ["30%", "100%"])
    ]
    served: dict[str, Counter[str]] = {name: Counter() for name in names}
    for i in range(2000):
        unit, attributes = f"u-{i}", {"app_version": 6 + i % 2, "requests": i % 20}
        found = [loop.router.assign(name, unit, attributes=attributes) for name in names]
        assert [one.enrolled for one in found] == [
            i % 2 == 1 and (place("home-page", unit) < 300_000) is low for low in (True, False)
        ]
        for name, one in zip(names, found, strict=True):
            assert one.params["model"] == {"a": "r1", "b": "r2"}[one.arm]
            if exposure := loop.router.expose(one):
                assert exposure.segment == ("heavy" if i % 20 >= 10 else "light")
                served[name][one.arm] += 1
    for name in names:
        total = sum(served[name].values())
        detail = await loop.detail(name, lambda found, total=total: sum(arm["n"] for arm in found["arms"]) == total)
        assert {arm["id"]: arm["n"] for arm in detail["arms"]} == served[name]


async def test_units_are_enrolled_from_the_start_to_the_end_without_any_event(loop: Loop) -> None:
    start = time.time() + 4.0
    name = await loop.apply(spec(lease="5m", schedule={"start": format_instant(start), "end": format_instant(start + 3)}))
    before = loop.router.weights(name)
    assert (before.enrolment.ppm, before.ts < start) == (0, True)
    during = await within(loop.router.changed(name, before.version))
    after = await within(loop.router.changed(name, during.version))
    assert (during.enrolment.ppm, after.enrolment.ppm) == (1_000_000, 0)
    assert during.ts >= start
    assert after.ts >= start + 3
    assert after.reason.startswith("nobody is enrolled since the end, ")
