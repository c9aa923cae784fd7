"""What every test may ask for: a Kafka broker, a topic prefix of its own. And what is said when a tool is missing.

Tests marked `kafka` or `browser` need programs that pip cannot install. Without them these tests are skipped and the last lines
of the run say so; with CI=true the run refuses to start, so that nothing is skipped unseen.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from itertools import count

import pytest
from hypothesis import settings

from deploy.kafka.broker import Broker, missing_tools

# The same examples in every run, and no verdict that depends on how busy the machine is.
settings.register_profile("suite", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("suite")

# A shell starts background jobs with SIGINT ignored, and programs inherit that. Tests end some with it, as ctrl-C does.
signal.signal(signal.SIGINT, signal.default_int_handler)


def missing_browser() -> list[str]:
    """Names of the absent programs that a test of the web page needs."""
    return [program for program in ("chromium", "chromedriver") if shutil.which(program) is None]


# Mark: what is missing for it, how to install it.
REQUIREMENTS: dict[str, tuple[Callable[[], list[str]], str]] = {
    "kafka": (missing_tools, "apt-get install openjdk-17-jdk-headless maven"),
    "browser": (missing_browser, "apt-get install chromium chromium-driver"),
}
SKIPPED = pytest.StashKey[list[str]]()


@pytest.hookimpl(trylast=True)  # after -m and -k have chosen: what is not asked for is not missed
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    notes: list[str] = []
    for mark, (look_for_missing, install) in REQUIREMENTS.items():
        marked = [item for item in items if item.get_closest_marker(mark) is not None]
        missing = look_for_missing() if marked else []
        if not missing:
            continue
        reason = f"no {' and no '.join(missing)} found"
        notes.append(f"tests marked {mark} ({len(marked)}): {reason}. To run them, on Debian: {install}")
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))
    if notes and os.environ.get("CI") == "true":
        raise pytest.UsageError("with CI=true nothing may be skipped: " + "; ".join(notes))
    config.stash[SKIPPED] = notes


@pytest.hookimpl(wrapper=True, tryfirst=True)  # outermost: these are the last lines before the count
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> Iterator[None]:
    yield
    if notes := config.stash.get(SKIPPED, []):
        terminalreporter.section("NOT RUN", yellow=True)
        for note in notes:
            terminalreporter.line(note, yellow=True)


def pytest_sessionfinish() -> None:
    """aiokafka leaves futures of refused transactions behind: let them complain now, not below the summary."""
    gc.collect()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The suite's broker. It is shared: to stop, kill or configure one, take `own_kafka`."""
    with Broker(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker
    shutil.rmtree(broker.directory)


@pytest.fixture
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Broker]]:
    """Starts a broker for this test alone, with the properties given: ``own_kafka({"message.max.bytes": "2000"})``."""
    brokers: list[Broker] = []

    def start(config: Mapping[str, str] | None = None) -> Broker:
        broker = Broker(tmp_path_factory.mktemp("own-kafka"), config=config)
        brokers.append(broker)
        broker.start()
        return broker

    yield start
    for broker in brokers:
        broker.kill()
        shutil.rmtree(broker.directory)


_PREFIXES = count(1)


@pytest.fixture
def prefix() -> str:
    """A topic prefix no other test has."""
    return f"test{next(_PREFIXES)}"
