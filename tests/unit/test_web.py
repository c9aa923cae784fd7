"""The HTTP surface over a made-up worker: what is answered, by whom, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from allocator.health import HealthCheck
from allocator.spec import load_experiment
from allocator.stages import next_standing
from allocator.standing import Breach, Standing
from allocator.weights import Gate, Holdback, WeightedArm, Weights
from streams.metrics import Metrics
from streams.records import Change
from streams.web import server
from streams.web.server import FORWARDED, WebServer, create_web
from streams.web.view import ArmShare, ExperimentSummary, StageRow, View, rows_of
from tests.fake_view import COUNTERS, FakeView, digits, waiting
from tests.ramps import ramped

NOW = 1_764_000_000.0

Client = TestClient[web.Request, web.Application]
Serve = Callable[[View], Awaitable[Client]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serves a view on a free port; called twice, two workers."""
    clients: list[Client] = []

    async def start(view: View) -> Client:
        client = TestClient(TestServer(create_web(view, Metrics())))
        await client.start_server()
        clients.append(client)
        return client

    yield start
    for client in clients:
        await client.close()


def base_url(client: Client) -> str:
    return str(client.make_url("/"))


async def problem(response: ClientResponse) -> tuple[int, str, str]:
    body = await response.json()
    return response.status, body["error"], body["expected"]


async def test_ping_and_ready(serve: Serve):
    view = FakeView()
    view.not_ready = "restoring partition 3: 1200 of 90000 records"
    client = await serve(view)
    assert await (await client.get("/ping")).text() == "pong"
    response = await client.get("/ready")
    assert (response.status, await response.json()) == (503, {"ready": False, "reason": view.not_ready})
    view.not_ready = ""
    response = await client.get("/ready")
    assert (response.status, await response.json()) == (200, {"ready": True, "reason": ""})


async def test_list_of_experiments(serve: Serve):
    client = await serve(FakeView(digits(NOW, decisions=3), waiting("chat")))
    first, second = await (await client.get("/api/experiments")).json()
    assert (first["name"], first["version"], first["ts"], first["valid_until"]) == ("digits", 3, NOW, NOW + 60)
    assert sum(arm["ppm"] for arm in first["arms"]) == 1_000_000
    assert second == {
        "name": "chat", "status": "running", "version": 0, "policy": "thompson", "objective": "thumbs_up", "control": "small",
        "ts": None, "valid_until": None, "arms": [{"id": "small", "ppm": 0}, {"id": "large", "ppm": 0}],
    }  # fmt: skip


async def test_detail_has_the_fields_of_the_public_surface(serve: Serve):
    client = await serve(FakeView(digits(NOW, decisions=3)))
    detail = await (await client.get("/api/experiments/digits")).json()
    assert detail["spec"]["objective"] == "correct"
    assert detail["counters"] == COUNTERS
    assert detail["events_read"] == sum(COUNTERS.values())
    assert [arm["id"] for arm in detail["arms"]] == ["naive_bayes", "tree", "logistic", "knn", "svm"]
    assert set(detail["arms"][0]) == {"id", "n", "mean", "interval", "p_best", "ppm", "pending"}
    assert set(detail["metrics"]) == {"correct", "latency_ms"}
    assert set(detail["metrics"]["latency_ms"][0]) == {"id", "n", "mean", "interval"}


async def test_detail_has_the_stage_in_force_or_none(serve: Serve):
    spec = ramped()
    standing = Standing(stage=1, stage_since=NOW - 60, stage_units=40, stage_ppm=100_000)
    row = StageRow.of_step(spec, next_standing(spec, standing, 0, 90, NOW, lambda: True))
    story = waiting("ramped")
    story.stage = row
    client = await serve(FakeView(story, waiting("chat")))
    assert (await (await client.get("/api/experiments/ramped")).json())["stage"] == {
        "number": 2, "of": 4, "name": "a tenth", "enrolment_ppm": 100_000, "since": NOW - 60, "state": "unspoken",
        "waits_for": "waits for a person: allocator advance chat",
    }  # fmt: skip
    assert (await (await client.get("/api/experiments/chat")).json())["stage"] is None
    unstaged = ramped(None)
    assert StageRow.of_step(unstaged, next_standing(unstaged, Standing(), None, 0, NOW, lambda: True)) is None


async def test_guardrails_that_were_broken_are_in_the_detail(serve: Serve):
    story = digits(NOW, decisions=3)
    client = await serve(FakeView(story))
    assert (await (await client.get("/api/experiments/digits")).json())["breaches"] == []
    story.breaches = [Breach(metric="correct", arm="tree", action="cap", version=2, ts=NOW, units=31, estimate=-0.2, bound=-0.1)]
    (breach,) = (await (await client.get("/api/experiments/digits")).json())["breaches"]
    assert breach == msgspec.to_builtins(story.breaches[0])
    assert (breach["metric"], breach["arm"], breach["action"], breach["bound"]) == ("correct", "tree", "cap", -0.1)


async def test_a_mean_that_is_not_known_is_null(serve: Serve):
    client = await serve(FakeView(waiting("chat")))
    detail = await (await client.get("/api/experiments/chat")).json()
    assert [(arm["mean"], arm["interval"]) for arm in detail["arms"]] == [(None, None)] * 2


@pytest.mark.parametrize(
    "query, versions", [("", list(range(60, 10, -1))), ("?limit=2", [60, 59]), ("?limit=1000", list(range(60, 0, -1)))]
)
async def test_decisions_come_newest_first(serve: Serve, query: str, versions: list[int]):
    client = await serve(FakeView(digits(NOW)))
    decisions = await (await client.get(f"/api/experiments/digits/decisions{query}")).json()
    assert [decision["version"] for decision in decisions] == versions


async def test_changes_are_told_by_any_worker_and_of_what_is_archived(serve: Serve):
    view = FakeView(digits(NOW, decisions=2), elsewhere={"chat": None})
    change = Change(experiment="old", revision=2, status="archived", kind="changed", ts=NOW, by="ann", why="over")
    view.told = {"old": [change]}
    client = await serve(view)
    told = await (await client.get("/api/experiments/old/changes")).json()
    assert [(each["by"], each["why"], each["status"]) for each in told] == [("ann", "over", "archived")]
    assert await (await client.get("/api/experiments/digits/changes")).json() == []
    assert (await problem(await client.get("/api/experiments/dgits/changes")))[0] == 404


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "ten", "1.5", "", "٣", "9" * 5000])
async def test_an_ill_typed_limit_is_named(serve: Serve, limit: str):
    client = await serve(FakeView(digits(NOW, decisions=2)))
    status, error, expected = await problem(await client.get("/api/experiments/digits/decisions", params={"limit": limit}))
    assert status == 400
    assert error == f"limit: {limit!r}"
    assert expected == "limit: a whole number from 1 to 1000"


async def test_history_comes_oldest_first_and_from_where_the_reader_is(serve: Serve):
    client = await serve(FakeView(digits(NOW, decisions=5)))
    history = await (await client.get("/api/experiments/digits/history")).json()
    assert [(point["version"], point["ts"]) for point in history] == [(i, NOW - 5 + i) for i in range(1, 6)]
    assert all(len(point[key]) == 5 for point in history for key in ("arms", "ppm", "p_best", "n"))
    newer = await (await client.get("/api/experiments/digits/history?after=4")).json()
    assert newer == history[4:]
    assert (await problem(await client.get("/api/experiments/digits/history?after=x")))[0] == 400


# -- names and owners ------------------------------------------------------------------------------------------------------------


async def test_health(serve: Serve):
    story = digits(NOW)
    story.checks = [HealthCheck("sample ratio", "ok", 1.01, "fine"), HealthCheck("weights", "warn", None, "look")]
    client = await serve(FakeView(story))
    found = await (await client.get("/api/experiments/digits/health")).json()
    assert (found["name"], found["state"]) == ("digits", "warn")
    assert found["checks"][0] == {"name": "sample ratio", "state": "ok", "figure": 1.01, "sentence": "fine"}


@pytest.mark.parametrize("path", ["", "/decisions", "/history", "/health"])
async def test_an_unknown_name_is_answered_with_the_nearest_known(serve: Serve, path: str):
    client = await serve(FakeView(digits(NOW, decisions=1), waiting("chat")))
    status, error, expected = await problem(await client.get(f"/api/experiments/digist{path}"))
    assert (status, error, expected) == (404, "no experiment 'digist'", "a known name; did you mean 'digits'?")


async def test_an_unknown_name_like_no_other_is_answered_with_all(serve: Serve):
    client = await serve(FakeView(digits(NOW, decisions=1), waiting("chat")))
    assert (await problem(await client.get("/api/experiments/zz")))[2] == "one of digits, chat"


async def test_an_unknown_name_among_none(serve: Serve):
    client = await serve(FakeView())
    assert "allocator apply" in (await problem(await client.get("/api/experiments/chat")))[2]


@pytest.mark.parametrize("path", ["", "/decisions?limit=2", "/history?after=58", "/health"])
async def test_any_worker_answers_for_any_experiment(serve: Serve, path: str):
    owner = await serve(FakeView(digits(NOW)))
    other = await serve(FakeView(elsewhere={"digits": base_url(owner)}))
    there = await (await owner.get(f"/api/experiments/digits{path}")).json()
    response = await other.get(f"/api/experiments/digits{path}")
    assert (response.status, response.content_type) == (200, "application/json")
    assert await response.json() == there


async def test_the_owners_errors_are_passed_on(serve: Serve):
    owner = await serve(FakeView(digits(NOW, decisions=1)))
    other = await serve(FakeView(elsewhere={"digits": base_url(owner)}))
    # The limit is checked by whoever is asked first, the name by the owner.
    assert (await problem(await other.get("/api/experiments/digits/decisions?limit=x")))[0] == 400
    stale = await serve(FakeView(elsewhere={"gone": base_url(owner)}))
    assert (await problem(await stale.get("/api/experiments/gone")))[:2] == (404, "no experiment 'gone'")


async def test_two_workers_that_name_each_other_do_not_bounce_a_request(serve: Serve):
    view_a, view_b = FakeView(), FakeView()
    a, b = await serve(view_a), await serve(view_b)
    view_a.elsewhere["chat"], view_b.elsewhere["chat"] = base_url(b), base_url(a)
    status, error, _ = await problem(await a.get("/api/experiments/chat"))
    assert (status, error) == (503, "'chat' is changing its owner")
    assert (await a.get("/api/experiments/chat", headers={FORWARDED: "1"})).status == 503


async def test_no_owner(serve: Serve):
    client = await serve(FakeView(elsewhere={"chat": None}))
    status, error, _ = await problem(await client.get("/api/experiments/chat"))
    assert (status, error) == (503, "no worker owns 'chat' at the moment")


async def test_an_owner_that_is_gone(serve: Serve, unused_tcp_port: int):
    gone = f"http://127.0.0.1:{unused_tcp_port}"
    client = await serve(FakeView(elsewhere={"chat": gone}))
    status, error, _ = await problem(await client.get("/api/experiments/chat"))
    assert status == 502
    assert error.startswith(f"{gone} owns 'chat' and does not answer")


async def test_an_owner_that_is_silent(serve: Serve, monkeypatch: pytest.MonkeyPatch):
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    monkeypatch.setattr(server, "OWNER_TIMEOUT_S", 0.05)
    silent = await asyncio.start_server(swallow, "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        client = await serve(FakeView(elsewhere={"chat": f"http://127.0.0.1:{port}"}))
        status, error, _ = await problem(await client.get("/api/experiments/chat"))
    assert status == 502
    assert "not within 0.05 s" in error


@pytest.mark.parametrize("method, path, status", [("GET", "/api/nothing", 404), ("POST", "/api/experiments", 405)])
async def test_what_is_no_part_of_the_api_is_told_so_in_json(serve: Serve, method: str, path: str, status: int):
    client = await serve(FakeView())
    found, _, expected = await problem(await client.request(method, path))
    assert found == status
    assert "GET /api/experiments" in expected


# -- the page's files ------------------------------------------------------------------------------------------------------------


async def test_the_page_allows_no_script_but_the_workers(serve: Serve):
    client = await serve(FakeView())
    response = await client.get("/")
    assert response.content_type == "text/html"
    policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert "script-src" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "//" not in (await response.text()).replace("</", "").replace("<!--", "")  # no other host: it works offline


@pytest.mark.parametrize("path", ["/", "/static/style.css", "/static/dashboard.js", "/static/plotly.min.js"])
async def test_a_file_the_browser_has_is_not_sent_again(serve: Serve, path: str):
    client = await serve(FakeView())
    first = await client.get(path)
    assert first.status == 200
    assert await first.read()
    again = await client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, await again.read()) == (304, b"")
    assert (await client.get(path, headers={"If-None-Match": '"another"'})).status == 200


async def test_plotly_comes_from_the_installed_package(serve: Serve):
    client = await serve(FakeView())
    compressed = await client.get("/static/plotly.min.js")
    assert compressed.headers["Content-Encoding"] == "gzip"
    assert "max-age=86400" in compressed.headers["Cache-Control"]
    plain = await client.get("/static/plotly.min.js", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert "plotly.js v" in (await plain.text())[:200]


@pytest.mark.parametrize("path", ["/static/nothing.js", "/static/..%2fserver.py", "/static/%2e%2e/server.py"])
async def test_nothing_else_is_served(serve: Serve, path: str):
    client = await serve(FakeView())
    assert (await client.get(path)).status == 404


# -- the server ------------------------------------------------------------------------------------------------------------------


async def test_a_server_takes_a_free_port_and_says_which():
    async with WebServer(FakeView(), Metrics()) as running, TestClient(TestServer(web.Application())) as client:
        assert running.port > 0
        assert running.url == f"http://127.0.0.1:{running.port}"
        async with client.session.get(f"{running.url}/ping") as response:
            assert await response.text() == "pong"
        with pytest.raises(OSError, match="address already in use"):
            await WebServer(FakeView(), Metrics(), port=running.port).start()


@pytest.mark.parametrize(
    "host, url", [("0.0.0.0", "http://127.0.0.1:80"), ("::", "http://[::1]:80"), ("worker-1", "http://worker-1:80")]
)
def test_the_url_is_one_that_can_be_opened(host: str, url: str):
    assert WebServer(FakeView(), Metrics(), host, 80).url == url


# -- metrics ---------------------------------------------------------------------------------------------------------------------


async def scrape(client: Client, accept: str = "") -> dict[str, Any]:
    response = await client.get("/metrics", headers={"Accept": accept} if accept else {})
    assert response.status == 200
    return {family.name: family for family in text_string_to_metric_families(await response.text())}


async def test_metrics_are_what_prometheus_reads():
    metrics = Metrics()
    metrics.events_read.labels("allocator.exposures.v1").inc(5)
    metrics.chunk_events.observe(700)
    metrics.published("chat", 312, lambda: 1.5)
    async with TestClient(TestServer(create_web(FakeView(), metrics))) as client:
        families = await scrape(client)
        assert families["allocator_publish_age_seconds"].samples[0].value == 1.5
        assert families["allocator_weights_version"].samples[0].labels == {"experiment": "chat"}
        assert families["allocator_events_read"].samples[0].value == 5
        assert families["allocator_chunk_events"].type == "histogram"
        response = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        assert response.content_type == "application/openmetrics-text"
        assert (await response.text()).endswith("# EOF\n")


async def test_what_a_worker_no_longer_owns_is_no_longer_reported():
    metrics = Metrics()
    metrics.published("chat", 1, lambda: 0.0)
    metrics.lag_records.labels("t", "0").set(7)
    metrics.lag_seconds.labels("t", "0").set(7)
    metrics.lag_records.labels("t", "1").set(8)
    metrics.forget_experiment("chat")
    metrics.forget_partition("t", 0)
    metrics.forget_partition("t", 99)  # never reported
    async with TestClient(TestServer(create_web(FakeView(), metrics))) as client:
        families = await scrape(client)
    assert families["allocator_publish_age_seconds"].samples == []
    assert families["allocator_weights_version"].samples == []
    assert families["allocator_lag_seconds"].samples == []
    assert [sample.labels["partition"] for sample in families["allocator_lag_records"].samples] == ["1"]


def test_labels_are_bounded_by_the_deployment():
    metrics = Metrics()
    labels = {name for instrument in vars(metrics).values() for name in getattr(instrument, "_labelnames", ())}
    assert labels == {"topic", "outcome", "reason", "experiment", "partition", "agent", "check"}


def test_two_workers_in_one_process_have_metrics_of_their_own():
    first, second = Metrics(), Metrics()
    first.chunk_seconds.observe(1)
    assert first.registry.get_sample_value("allocator_chunk_seconds_count") == 1
    assert second.registry.get_sample_value("allocator_chunk_seconds_count") == 0


# -- structs ---------------------------------------------------------------------------------------------------------------------


def test_a_summary_of_a_spec_and_its_weights():
    spec = load_experiment({"experiment": "chat", "arms": ["a", "b"], "metrics": {"clicks": "binary"}, "status": "paused"})
    before = ExperimentSummary.of(spec, None)
    assert (before.version, before.ts, before.arms) == (0, None, [ArmShare("a", 0), ArmShare("b", 0)])
    weights = Weights(
        experiment="chat", version=3, arms=(WeightedArm("a", 400_000, 1), WeightedArm("b", 600_000, 2)),
        enrolment=Gate(1_000_000, 3), holdback=Holdback(0, 4, "a"), valid_until=NOW + 60,
        fallback="a", policy="thompson", reason="", spec_hash="", ts=NOW,
    )  # fmt: skip
    after = ExperimentSummary.of(spec, weights)
    assert (after.status, after.version, after.ts, after.valid_until) == ("paused", 3, NOW, NOW + 60)
    assert after.arms == [ArmShare("a", 400_000), ArmShare("b", 600_000)]


def test_rows_of_a_decision():
    states = digits(NOW, decisions=2).decisions[-1].arms
    arms, metrics = rows_of(states)
    assert [msgspec.structs.asdict(row) for row in arms] == [
        {key: getattr(state, key) for key in ("id", "n", "mean", "interval", "p_best", "ppm", "pending")} for state in states
    ]
    assert [row.id for row in metrics["latency_ms"]] == [state.id for state in states]
    assert json.loads(msgspec.json.encode(metrics["correct"][0]))["interval"] == list(states[0].metrics["correct"].interval or ())


def test_health_states_are_a_gauge_that_goes_with_its_experiment():
    metrics = Metrics()
    metrics.checked("chat", {"sample ratio": "broken", "weights": "ok", "clocks": "unknown"})
    metrics.checked("mail", {"weights": "warn"})

    def states() -> dict[tuple[str, str], float]:
        families = {family.name: family for family in metrics.registry.collect()}
        return {(s.labels["experiment"], s.labels["check"]): s.value for s in families["allocator_health"].samples}

    assert states() == {
        ("chat", "sample ratio"): 2, ("chat", "weights"): 0, ("chat", "clocks"): -1, ("mail", "weights"): 1,
    }  # fmt: skip
    metrics.forget_experiment("chat")
    assert states() == {("mail", "weights"): 1}
