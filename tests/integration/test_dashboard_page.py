"""The dashboard in a real browser, over a made-up worker: what a reader sees, on which screen, and when the worker is gone."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec
import pytest
from selenium.webdriver import Chrome

from allocator.health import HealthCheck
from allocator.standing import Breach
from streams.holdback import HoldbackMetric, HoldbackState
from streams.metrics import Metrics
from streams.web.server import WebServer
from streams.web.view import StageRow, View
from tests.fake_view import FakeView, Story, digits, waiting
from tests.screenshot import DASHBOARD_READY, capture, chromium, look_as, wait_until

pytestmark = pytest.mark.browser

ARMS = ["naive_bayes", "tree", "logistic", "knn", "svm"]
SCREENS = [(1280, False), (1280, True), (390, False), (390, True)]


class Worker:
    """A web server on a thread of its own, so that the test may wait for the browser."""

    def __init__(self, view: View) -> None:
        self._view, self._loop = view, asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.port = 0
        self.start()

    def start(self) -> None:
        """Listen; again after `stop`, on the same port."""
        self._server = WebServer(self._view, Metrics(), port=self.port)
        self._run(self._server.start())
        self.port = self._server.port

    def stop(self) -> None:
        self._run(self._server.stop())

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def url(self, fragment: str = "") -> str:
        return self._server.url + "/" + fragment

    def _run(self, coroutine: Any) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        future.result(timeout=30)


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def serve(browser: Chrome) -> Iterator[Callable[[View], Worker]]:
    """Serves a view; afterwards the browser leaves the page."""
    workers: list[Worker] = []

    def start(view: View) -> Worker:
        workers.append(Worker(view))
        return workers[-1]

    yield start
    browser.get("about:blank")
    for worker in workers:
        worker.close()


def opened(browser: Chrome, url: str, width: int = 1280, dark: bool = False) -> None:
    look_as(browser, width, 800, dark)
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get(url)
    wait_until(browser, DASHBOARD_READY)


def text(browser: Chrome, selector: str) -> str:
    return browser.execute_script("return document.querySelector(arguments[0]).innerText", selector)


def texts(browser: Chrome, selector: str) -> list[str]:
    return browser.execute_script("return [...document.querySelectorAll(arguments[0])].map((node) => node.innerText)", selector)


def complaints(browser: Chrome) -> list[str]:
    """What the browser's console holds: errors of scripts, and what the content security policy forbade."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def next_decision(story: Story, **changes: Any) -> None:
    last = story.decisions[-1]
    story.decisions.append(msgspec.structs.replace(last, version=last.version + 1, ts=last.ts + 1, **changes))


@pytest.mark.parametrize("width, dark", SCREENS)
def test_an_experiment_on_every_screen(browser: Chrome, serve: Callable[[View], Worker], width: int, dark: bool, tmp_path: Path):
    story = digits(time.time())
    opened(browser, serve(FakeView(story, waiting())).url("#/digits"), width, dark)
    last = story.decisions[-1]
    assert text(browser, "#name") == "digits"
    assert text(browser, "#status") == "running"
    assert text(browser, "#reason").replace("\xa0", " ") == last.reason
    assert text(browser, "#kpi-units") == f"{sum(arm.n for arm in last.arms):,}"
    assert text(browser, "#kpi-age-sub") == "version 60"
    assert texts(browser, "#arms .name") == ARMS
    assert texts(browser, "#arms td:last-child") == [f"{arm.ppm / 1e4:.1f} %" for arm in last.arms]
    assert texts(browser, "#decisions .version") == [f"v{version}" for version in range(60, 48, -1)]
    assert text(browser, "#counters-hint") == f"{sum(story.counters.values()):,} events, each in one outcome."
    for chart in ("#chart-weights", "#chart-posterior", "#chart-pbest"):
        shown = browser.execute_script(
            "return document.querySelector(arguments[0] + ' .main-svg').getBoundingClientRect().width", chart
        )
        assert 250 < shown <= width
        assert browser.execute_script("return document.querySelector(arguments[0]).getAttribute('aria-label')", chart)
    assert browser.execute_script("return document.querySelectorAll('#chart-weights .scatterlayer .trace').length") == 5
    assert browser.execute_script("return document.documentElement.scrollWidth") == width, "the page scrolls sideways"
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 200) == dark
    assert complaints(browser) == []
    capture(browser, tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 20_000


def test_the_page_updates_itself(browser: Chrome, serve: Callable[[View], Worker]):
    story = digits(time.time())
    opened(browser, serve(FakeView(story)).url())
    assert text(browser, "#decisions .version") == "v60"
    ppm = [100_000, 100_000, 100_000, 100_000, 600_000]
    arms = [msgspec.structs.replace(arm, ppm=share) for arm, share in zip(story.decisions[-1].arms, ppm, strict=True)]
    next_decision(story, arms=arms, reason="the traffic was shifted by hand")
    wait_until(browser, "document.querySelector('#decisions .version').innerText === 'v61'")
    assert text(browser, "#reason") == "the traffic was shifted by hand"
    assert texts(browser, "#arms td:last-child") == ["10.0 %"] * 4 + ["60.0 %"]
    # 60 publications, the new one, and the present: the newest shares reach to now.
    assert browser.execute_script("return document.querySelector('#chart-weights').data[4].y.slice(-1)[0]") == 60


def test_the_stage_has_a_line(browser: Chrome, serve: Callable[[View], Worker]):
    story, now = digits(time.time()), time.time()
    page = serve(FakeView(story)).url("#/digits")
    opened(browser, page)
    assert not browser.execute_script("return document.querySelector('#stage').checkVisibility()")
    story.stage = StageRow(
        number=2, of=4, name="a tenth", enrolment_ppm=100_000, since=now - 7300, state="short", waits_for="30 of 40 units"
    )
    opened(browser, page)
    line = text(browser, "#stage").replace("\xa0", " ")
    assert line == "stage 2 of 4, a tenth · 10.0 % enrolled · for 2 h 01 min · 30 of 40 units"


def test_a_worker_that_does_not_answer_and_comes_back(browser: Chrome, serve: Callable[[View], Worker]):
    worker = serve(FakeView(digits(time.time())))
    opened(browser, worker.url("#/digits"))
    worker.stop()
    wait_until(browser, "document.documentElement.dataset.state === 'stale'")
    assert text(browser, "#live-text").startswith("stale since ")
    assert text(browser, "#name") == "digits"  # what was known stays
    worker.start()
    wait_until(browser, DASHBOARD_READY)


def test_an_experiment_whose_owner_is_gone_keeps_its_numbers(browser: Chrome, serve: Callable[[View], Worker]):
    view = FakeView(digits(time.time()))
    opened(browser, serve(view).url("#/digits"))
    view.elsewhere["digits"] = None
    wait_until(browser, "!document.querySelector('#notice').hidden")
    assert "no worker owns 'digits'" in text(browser, "#notice")
    assert texts(browser, "#arms .name") == ARMS
    del view.elsewhere["digits"]
    wait_until(browser, "document.querySelector('#notice').hidden")


def test_the_address_names_the_experiment(browser: Chrome, serve: Callable[[View], Worker]):
    opened(browser, serve(FakeView(digits(time.time()), waiting("chat"))).url("#/chat"))
    assert text(browser, "#name") == "chat"
    assert text(browser, "#chart-posterior-empty").startswith("No unit has been counted yet")
    assert text(browser, ".list [aria-current] .name") == "chat"
    browser.execute_script("document.querySelector('.list a').click()")
    wait_until(browser, "document.querySelector('#name').innerText === 'digits'")
    assert browser.current_url.endswith("#/digits")
    assert browser.title == "digits · Allocator"


def test_an_unknown_experiment(browser: Chrome, serve: Callable[[View], Worker]):
    opened(browser, serve(FakeView(waiting("chat"))).url("#/chta"))
    wait_until(browser, "!document.querySelector('#message').hidden")
    assert text(browser, "#message-title") == "Not found"
    assert "did you mean 'chat'?" in text(browser, "#message-text")


def test_no_experiments_says_what_to_do(browser: Chrome, serve: Callable[[View], Worker]):
    view = FakeView()
    opened(browser, serve(view).url())
    assert text(browser, "#message-title") == "No experiments yet"
    assert text(browser, "#message-code") == "allocator apply spec.yaml"
    view.stories["chat"] = waiting("chat")
    wait_until(browser, "document.querySelector('#name').innerText === 'chat'")


def test_a_worker_that_restores_says_so(browser: Chrome, serve: Callable[[View], Worker]):
    view = FakeView()
    view.not_ready = "restoring partition 3"
    opened(browser, serve(view).url())
    assert text(browser, "#message-text") == "restoring partition 3"


def test_counters_that_do_not_add_up_are_shown_as_such(browser: Chrome, serve: Callable[[View], Worker]):
    class Leaking(FakeView):
        def detail(self, name: str) -> Any:
            return msgspec.structs.replace(super().detail(name), events_read=70_000)

    opened(browser, serve(Leaking(digits(time.time()))).url())
    assert text(browser, "#counters-hint") == "60,804 in outcomes, 70,000 read: these should agree."


def test_health_in_a_line_and_unfolded(browser: Chrome, serve: Callable[[View], Worker]):
    story = digits(time.time())
    story.checks = [HealthCheck("weights", "ok", 1.0, "in force"), HealthCheck("clocks", "unknown", None, "none yet")]
    opened(browser, serve(FakeView(story)).url())
    assert text(browser, "#health-state") == "ok"
    assert text(browser, "#health-text") == "1 of 2 health checks know enough, and find nothing wrong"
    story.checks += [
        HealthCheck("dead letters", "warn", 0.001, "3 of 3000 events could not be used"),
        HealthCheck("sample ratio", "broken", 0.95, "b has 5.00% fewer units"),
    ]
    wait_until(browser, "document.querySelector('#health-state').dataset.state === 'broken'")
    assert text(browser, "#health-text") == "sample ratio: b has 5.00% fewer units (and 1 more)"
    browser.execute_script("document.querySelector('#health').open = true")
    assert texts(browser, "#health-checks strong") == ["sample ratio", "dead letters", "clocks", "weights"]
    assert complaints(browser) == []


def test_an_owner_of_an_older_release_has_no_health_to_show(browser: Chrome, serve: Callable[[View], Worker]):
    class Older(FakeView):
        def health(self, name: str) -> Any:
            return None

    opened(browser, serve(Older(digits(time.time()))).url())
    assert text(browser, "#name") == "digits"
    assert browser.execute_script("return document.querySelector('#health').hidden")


def test_the_holdback_is_a_line_below_the_reason(browser: Chrome, serve: Callable[[View], Worker]):
    class HoldingBack(FakeView):
        def detail(self, name: str) -> Any:
            return msgspec.structs.replace(super().detail(name), holdback=state)

    known = HoldbackMetric(
        effect=0.0213, interval=(0.0131, 0.0296), gain=412.0, gain_interval=(253.0, 571.0), allocated=19_342, held_back=2_110,
        periods=[], method="", assumptions=(),
    )  # fmt: skip
    state = HoldbackState(allocated=19_800, held_back=2_200, metrics={"correct": known})
    view = HoldingBack(digits(time.time()))
    opened(browser, serve(view).url())
    assert text(browser, "#holdback") == (
        "As allocated against 2,200 units held back on naive_bayes: correct 2.1 % (1.3 – 3.0 %) a unit; "
        "gain so far 412 (253 – 571) over 19,342 units."
    )
    unknown = msgspec.structs.replace(known, effect=None, interval=None, refusal="no period has all its rewards in")
    state = HoldbackState(allocated=1, held_back=0, metrics={"correct": unknown})
    wait_until(browser, "document.querySelector('#holdback').innerText.includes('no effect to tell yet: no period has')")
    state = None
    wait_until(browser, "document.querySelector('#holdback').hidden")
    assert complaints(browser) == []


def test_text_of_others_is_never_markup(browser: Chrome, serve: Callable[[View], Worker]):
    story = digits(time.time())
    mark = "<img src=x onerror=\"document.title='owned'\"><b>bold</b>"
    arms = [msgspec.structs.replace(arm, id=f"{mark}{arm.id}") for arm in story.decisions[-1].arms]
    next_decision(story, arms=arms, reason=mark)
    opened(browser, serve(FakeView(story)).url())
    assert text(browser, "#reason") == mark
    assert texts(browser, "#arms .name")[0] == f"{mark}naive_bayes"
    assert browser.execute_script("return document.querySelectorAll('main img, main b:not(.legend b)').length") == 0
    assert browser.title == "digits · Allocator"
    assert complaints(browser) == []


def test_guardrails_that_were_broken_are_told(browser: Chrome, serve: Callable[[View], Worker]):
    story = digits(time.time())
    breach = Breach(metric="correct", arm="tree", action="evict", version=12, ts=0.0, units=3120, estimate=-0.09, bound=-0.02)
    story.breaches = [breach, msgspec.structs.replace(breach, metric="latency_ms", action="alert", estimate=4.0, bound=1.5)]
    opened(browser, serve(FakeView(story)).url("#/digits"))
    assert texts(browser, "#breaches .pill") == ["evict", "alert"]
    first, second = texts(browser, "#breaches li > span:last-child")
    assert first == "guardrail correct broken by tree: −9.00 % from control, bound −2.00 %, since v12, 3,120 units"
    assert second == "guardrail latency_ms broken by tree: +4.00 from control, bound +1.50, since v12, 3,120 units"
    story.breaches = []
    next_decision(story)
    wait_until(browser, "document.querySelector('#breaches').hidden")
    assert complaints(browser) == []


def test_it_works_offline(browser: Chrome, serve: Callable[[View], Worker]):
    worker = serve(FakeView(digits(time.time())))
    opened(browser, worker.url())
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert any(name.endswith("/static/plotly.min.js") for name in loaded)
    assert all(name.startswith(worker.url()) for name in loaded)
