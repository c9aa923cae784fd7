"""Puts the demo on: starts what it takes, follows it, sums it up, and leaves nothing behind.

1. The matrix is read, so that a wrong file costs no time.
2. Broker (embedded, unless a real one is named), worker, and, once the worker is ready, the experiment: one arm a model.
3. The player, a process of its own, routes and rewards; this process shows what the worker says of the experiment meanwhile.
4. When all is played and counted, or counting has stopped, the summary. Whatever was started is stopped in reverse order.
"""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import orjson
from rich.console import Console

from allocator.experiment import Experiment
from allocator.spec import load_experiment
from streams.demo import ROWS_DEFAULT, Options
from streams.demo.children import Child
from streams.demo.following import POLL_S, follow
from streams.demo.live import Screen, View, number, plain_line, render
from streams.demo.matrix import SHIPPED, OutcomeMatrix, load_matrix
from streams.demo.player import CORRECT, LATENCY_MS, PlayerOptions, Report
from streams.demo.report import print_summary
from streams.demo.setting import Setting, cancel_on_sigterm, play_out
from streams.demo.summary import Played, State, Summary, counted_of, events_of, summarise
from streams.demo.worker_api import WorkerApi
from streams.experiments import apply

__all__ = ["demo_experiment", "run"]

_decode = msgspec.json.Decoder(Report).decode

WINDOW_S = 10.0
"""Rewards take half a second at most, on a machine that keeps up."""
SETTLE_WAIT_S = 10.0
"""How long the counters may stand still before what is missing counts as lost."""
PLAY_MAX_S = 40.0
"""How long a slow machine plays when no number of requests was asked for, so that it all ends within a minute."""


def run(options: Options) -> int:
    """See `streams.demo.run`."""
    return play_out(Stage, options)


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
        self._setting = Setting(options.bootstrap, options.prefix, options.web_port, console)

    async def play(self) -> None:
        """All of it."""
        options = self._options
        cancel_on_sigterm()
        setting = self._setting
        matrix = load_matrix(options.data or SHIPPED)
        wanted = options.rows or ROWS_DEFAULT
        setting.say("data", f"{matrix.name}: {number(len(matrix))} requests with the outcomes of {len(matrix.models)} models")
        async with AsyncExitStack() as stack:
            home = Path(stack.enter_context(TemporaryDirectory(prefix="allocator-demo-")))
            connection = await setting.broker(stack)
            worker, api = await setting.worker(stack, connection, home)
            run = f"{time.time_ns() // 1_000_000:x}"
            # On a real Kafka an earlier run may have left its experiment: this one must count from nothing.
            name = matrix.name if options.bootstrap is None else f"{matrix.name}-{run}"
            await apply(connection, setting.topics, demo_experiment(name, matrix))
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
                Child("router", "streams.demo.player", arguments, setting.environment(), home / "player.log", talks=True)
            )
            setting.say(
                "router", f"in a process of its own, plays {number(wanted)} requests, {number(options.rate)} a second wanted"
            )
            follower = Follower(matrix, wanted, name, api, worker, player)
            with Screen(self._console, render, plain_line) as screen:
                await follower.follow(screen, None if options.rows else PLAY_MAX_S)
                state = await follower.settle(screen)
            summary = summarise(matrix.name, matrix.models, follower.played, state)
            self._conclude(summary, api.url)
            if options.serve:
                await setting.serve(worker, api)

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


class Follower:
    """Follows the player and the worker until both are done."""

    def __init__(self, matrix: OutcomeMatrix, wanted: int, experiment: str, api: WorkerApi, worker: Child, player: Child) -> None:
        self.played = Played.nothing(len(matrix.models))
        self._models, self._wanted, self._experiment = matrix.models, wanted, experiment
        self._api, self._worker, self._player = api, worker, player
        self._state = State()
        self._rate = 0.0
        self._screen: Screen[View]

    async def follow(self, screen: Screen[View], limit_s: float | None) -> None:
        """Until the player is done; after `limit_s` it is told to finish. Raises what `following.follow` does."""
        self._screen = screen
        await follow(self._worker, self._player, self, limit_s)

    async def settle(self, screen: Screen[View]) -> State:
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

    async def look(self) -> int:
        """See `following.Watched`."""
        await self._look(self._screen)
        return sum(self._state.counters.values())

    def take(self, line: bytes) -> bool:
        """See `following.Watched`."""
        found = _decode(line)
        requests, seconds = found.played.requests - self.played.requests, found.played.seconds - self.played.seconds
        if seconds > 0:
            self._rate += 0.2 * (requests / seconds - self._rate) if self._rate else requests / seconds
        self.played = found.played
        return found.done

    def progress(self) -> tuple[int, int]:
        """See `following.Watched`."""
        return self.played.requests, sum(self._state.counters.values())

    async def _look(self, screen: Screen[View]) -> None:
        self._state = await self._api.state(self._experiment) or self._state
        screen.show(View(self._models, self._wanted, self.played, self._rate, self._state), time.monotonic())
