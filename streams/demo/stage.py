"""Puts the demo on: starts what it takes, follows it, sums it up, and leaves nothing behind.

1. The matrix is read, so that a wrong file costs no time.
2. Broker (embedded, unless a real one is named), worker, and, once the worker is ready, the experiment: one arm a model.
3. The player, a process of its own, routes and rewards; this process shows what the worker says of the experiment meanwhile.
4. When all is played and counted, or counting has stopped, the summary. Whatever was started is stopped in reverse order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import orjson
from rich.console import Console
from rich.text import Text

from allocator.experiment import Experiment
from allocator.spec import load_experiment
from streams.clients import admin_client, started
from streams.connection import Connection
from streams.demo import ROWS_DEFAULT, Options
from streams.demo.children import Child
from streams.demo.live import Screen, View, number
from streams.demo.matrix import SHIPPED, OutcomeMatrix, load_matrix
from streams.demo.player import CORRECT, LATENCY_MS, Order, PlayerOptions, Report
from streams.demo.report import print_summary
from streams.demo.summary import Played, State, Summary, counted_of, events_of, summarise
from streams.demo.worker_api import WorkerApi
from streams.embedded import LIMITS, EmbeddedBroker
from streams.experiments import apply
from streams.ports import free_port
from streams.topics import Topics

__all__ = ["demo_experiment", "run"]

INTERRUPTED = 130
READY_WAIT_S = 120.0
POLL_S = 0.25
WINDOW_S = 10.0
"""Rewards take half a second at most, on a machine that keeps up."""
SETTLE_WAIT_S = 10.0
"""How long the counters may stand still before what is missing counts as lost."""
STALL_MAX_S = 45.0
PLAY_MAX_S = 40.0
"""How long a slow machine plays when no number of requests was asked for, so that it all ends within a minute."""


def run(options: Options) -> int:
    """See `streams.demo.run`."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it logs as errors what it then raises or retries
    out = Console(highlight=False)
    screen = Console(highlight=False, stderr=True, quiet=not sys.stderr.isatty()) if options.as_json else out
    stage = Stage(options, screen)
    try:
        asyncio.run(stage.play())
    except (KeyboardInterrupt, asyncio.CancelledError):
        if stage.exit_code is None:
            screen.print("Stopped.")
    return INTERRUPTED if stage.exit_code is None else stage.exit_code


def demo_experiment(name: str, matrix: OutcomeMatrix) -> Experiment:
    """The experiment of a matrix: one arm a model, right answers as the objective, latency watched where it was measured.

    Weights may move by a tenth at a time, five times a second: fast enough to watch, slow enough to follow.
    """
    metrics: dict[str, Any] = {CORRECT: {"type": "binary", "window": WINDOW_S}}
    if matrix.latency_ms is not None:
        metrics[LATENCY_MS] = {"type": "value", "direction": "down", "window": WINDOW_S}
    return load_experiment(
        {
            "experiment": name,
            "arms": list(matrix.models),
            "control": matrix.models[0],
            "metrics": metrics,
            "objective": CORRECT,
            "policy": "thompson",
            "unit": "request",
            "constraints": {"warmup": 100, "max_shift": 0.1},
            "period": WINDOW_S / 10,
            "publish_interval": "200ms",
            "hypothesis": "one of the models answers right more often than the others",
        }
    )


class Stage:
    """One run of the demo. `exit_code` is None until the summary is out."""

    def __init__(self, options: Options, console: Console) -> None:
        self.exit_code: int | None = None
        self._options, self._console = options, console
        self._topics = Topics(options.prefix)

    async def play(self) -> None:
        """All of it."""
        options = self._options
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _cancel_all, asyncio.current_task())
        matrix = load_matrix(options.data or SHIPPED)
        wanted = options.rows or ROWS_DEFAULT
        self._say("data", f"{matrix.name}: {number(len(matrix))} requests with the outcomes of {len(matrix.models)} models")
        async with AsyncExitStack() as stack:
            home = Path(stack.enter_context(TemporaryDirectory(prefix="allocator-demo-")))
            connection = await self._broker(stack)
            worker, api = await self._worker(stack, connection, home)
            run = f"{time.time_ns() // 1_000_000:x}"
            # On a real Kafka an earlier run may have left its experiment: this one must count from nothing.
            name = matrix.name if options.bootstrap is None else f"{matrix.name}-{run}"
            await apply(connection, self._topics, demo_experiment(name, matrix))
            chosen = PlayerOptions(
                bootstrap=connection.bootstrap,
                prefix=options.prefix,
                experiment=name,
                run=run,
                data=str((options.data or SHIPPED).absolute()),
                requests=wanted,
                rate=options.rate,
                seed=options.seed,
            )
            arguments = [msgspec.json.encode(chosen).decode()]
            player = await stack.enter_async_context(
                Child("router", "streams.demo.player", arguments, self._environment(), home / "player.log", talks=True)
            )
            self._say(
                "router", f"in a process of its own, plays {number(wanted)} requests, {number(options.rate)} a second wanted"
            )
            follower = Follower(matrix, wanted, name, api, worker, player)
            with Screen(self._console) as screen:
                await follower.follow(screen, None if options.rows else PLAY_MAX_S)
                state = await follower.settle(screen)
            summary = summarise(matrix.name, matrix.models, follower.played, state)
            self._conclude(summary, api.url)
            if options.serve:
                await self._serve(worker, api)

    async def _broker(self, stack: AsyncExitStack) -> Connection:
        bootstrap = self._options.bootstrap
        if bootstrap is not None:
            connection = Connection.from_environment(bootstrap)
            async with started(admin_client(connection), connection):
                self._say("broker", bootstrap)
            return connection
        broker = stack.enter_context(EmbeddedBroker())
        broker.create(spec.name for spec in self._topics.specs())
        self._say("broker", f"embedded, at {broker.bootstrap}, for trying out only:")
        for limit in LIMITS:
            self._say("", f"- {limit}")
        return Connection(bootstrap=broker.bootstrap)

    async def _worker(self, stack: AsyncExitStack, connection: Connection, home: Path) -> tuple[Child, WorkerApi]:
        port = self._options.web_port or free_port()
        arguments = ["streams.cli", "worker", "--bootstrap", connection.bootstrap, "--prefix", self._options.prefix]
        arguments += ["--data-dir", str(home / "state"), "--web-port", str(port)]
        if self._options.bootstrap is None:
            arguments.append("--embedded")
        worker = await stack.enter_async_context(
            Child("worker", "streams.demo.tied", arguments, self._environment(), home / "worker.log")
        )
        api = await stack.enter_async_context(WorkerApi(port))
        await _until(api.ready, worker, READY_WAIT_S, "was not ready")
        self._say("worker", f"ready; dashboard at {api.url}/")
        return worker, api

    def _environment(self) -> dict[str, str]:
        """Of the children. How to log in to a real Kafka is nothing to the embedded broker."""
        embedded = self._options.bootstrap is None
        return {name: value for name, value in os.environ.items() if not (embedded and name.startswith("ALLOCATOR_"))}

    def _conclude(self, summary: Summary, url: str) -> None:
        """Say the summary; from here on the exit code is known."""
        add_up = summary.events.add_up
        if self._options.as_json:
            document = {**summary.builtins(), "broker": self._options.bootstrap or "embedded", "dashboard": f"{url}/"}
            sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
            sys.stdout.flush()
        else:
            print_summary(self._console, summary)
            if not self._options.serve:
                self._console.print(f"The dashboard was at {url}/; with --serve it stays.")
        self.exit_code = 0 if add_up else 1

    async def _serve(self, worker: Child, api: WorkerApi) -> None:
        self._console.print(f"The dashboard stays at {api.url}/ until Ctrl-C.")
        await worker.process.wait()
        worker.check()

    def _say(self, what: str, text: str) -> None:
        self._console.print(Text.assemble((f"{what:7} ", "bold"), text), soft_wrap=True)


class Follower:
    """Follows the player and the worker until both are done."""

    def __init__(self, matrix: OutcomeMatrix, wanted: int, experiment: str, api: WorkerApi, worker: Child, player: Child) -> None:
        self.played = Played.nothing(len(matrix.models))
        self._models, self._wanted, self._experiment = matrix.models, wanted, experiment
        self._api, self._worker, self._player = api, worker, player
        self._state = State()
        self._rate = 0.0

    async def follow(self, screen: Screen, limit_s: float | None) -> None:
        """Until the player is done; after `limit_s` it is told to finish.

        Raises
        ------
        ChildError : one of the processes ended before its time, or nothing moves any more.
        """
        reports = asyncio.create_task(self._read_reports())
        started = moved = time.monotonic()
        progress = (0, 0)
        try:
            while not reports.done():
                self._worker.check()
                now = time.monotonic()
                stop = limit_s is not None and now - started > limit_s
                await self._look(screen)
                if progress != (progress := (self.played.requests, sum(self._state.counters.values()))):
                    moved = now
                elif now - moved > STALL_MAX_S:
                    raise self._worker.failure(f"counted nothing for {STALL_MAX_S:.0f} s")
                await self._order(stop)
                await asyncio.wait([reports], timeout=POLL_S)
            if not await reports:
                await self._player.process.wait()
                raise self._player.failure(
                    f"ended after {self.played.requests} requests, exit code {self._player.process.returncode}"
                )
        finally:
            reports.cancel()

    async def settle(self, screen: Screen) -> State:
        """The worker's state once everything sent is counted, or once nothing more has been for `SETTLE_WAIT_S`."""
        counted, deadline = -1, 0.0
        while True:
            self._worker.check()
            await self._look(screen)
            counters = self._state.counters
            now_counted = counted_of(counters, "exposures") + counted_of(counters, "rewards")
            if now_counted != counted:
                counted, deadline = now_counted, time.monotonic() + SETTLE_WAIT_S
            if events_of(self._models, self.played, self._state).add_up or time.monotonic() > deadline:
                return self._state
            await asyncio.sleep(POLL_S)

    async def _look(self, screen: Screen) -> None:
        self._state = await self._api.state(self._experiment) or self._state
        screen.show(View(self._models, self._wanted, self.played, self._rate, self._state), time.monotonic())

    async def _order(self, stop: bool) -> None:
        """Tell the player how far the worker is. A player that has ended is noticed by who reads its reports."""
        pipe = self._player.process.stdin
        handled = sum(self._state.counters.values())
        if pipe is not None and not pipe.is_closing():
            with contextlib.suppress(ConnectionError):
                pipe.write(msgspec.json.encode(Order(handled=handled, stop=stop)) + b"\n")
                await pipe.drain()

    async def _read_reports(self) -> bool:
        """Keep `played` up to date; whether the player said that it is done."""
        lines = self._player.process.stdout
        assert lines is not None, "the player talks"
        decode = msgspec.json.Decoder(Report).decode
        done = False
        while line := await lines.readline():
            found = decode(line)
            requests, seconds = found.played.requests - self.played.requests, found.played.seconds - self.played.seconds
            if seconds > 0:
                self._rate += 0.2 * (requests / seconds - self._rate) if self._rate else requests / seconds
            self.played, done = found.played, found.done
        return done


async def _until(holds: Callable[[], Awaitable[bool]], child: Child, wait_s: float, otherwise: str) -> None:
    """Return when `holds`; raise ChildError when the child ends, or after `wait_s`."""
    deadline = time.monotonic() + wait_s
    while not await holds():
        child.check()
        if time.monotonic() > deadline:
            raise child.failure(f"{otherwise} within {wait_s:.0f} s")
        await asyncio.sleep(0.05)


def _cancel_all(task: asyncio.Task[Any] | None) -> None:
    if task is not None:
        task.cancel()
