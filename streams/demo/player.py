"""Plays requests, as a gateway in front of the models would: ``python -m streams.demo.player JSON``, with the router.

For each request: route it, look up in the matrix what the chosen model answers, log the exposure, some time later the rewards.
No outcome is read before the request is routed. Told by the parent on standard input how many events the worker has counted,
it stays little ahead (`AHEAD_MAX_S`, `AHEAD_MAX`): the embedded broker forgets what is not read in time, and weights should
act while they matter. Reports on standard output; ends when standard input does.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

from allocator.assignment import Assignment
from allocator.errors import AllocatorError
from streams.connection import Connection
from streams.demo.matrix import OutcomeMatrix, load_matrix
from streams.demo.summary import Played
from streams.demo.traffic import Pace, Request, traffic
from streams.producer import EventProducer
from streams.records import Exposure, Reward
from streams.router import Router

__all__ = ["CORRECT", "LATENCY_MS", "Order", "Player", "PlayerOptions", "Report", "obey"]

CORRECT = "correct"
LATENCY_MS = "latency_ms"

AHEAD_MAX_S = 1.5
"""How far to be ahead of the worker, in seconds of the wanted rate: a slow machine plays slowly, not on old weights."""
AHEAD_MAX = 30_000
"""The same in events, whatever the rate. Uncompressed they take some 2 MB of each of the 4 partitions, which keep 5."""
TICK_S = 0.05
"""Requests are served, and rewards sent, in bursts this far apart. The embedded broker hands out one batch a fetch, as it was
sent: small bursts would make many small fetches and transactions, and the worker four times slower."""
REPORT_EVERY_S = 0.1
WEIGHTS_WAIT_S = 30.0


class PlayerOptions(Struct, frozen=True, kw_only=True):
    """What to play; `run` makes the units of this run different from those of any other."""

    bootstrap: str
    prefix: str
    experiment: str
    run: str
    data: str
    requests: int
    rate: float
    seed: int


class Order(Struct, frozen=True, kw_only=True):
    """One line from the parent: events the worker has counted so far; `stop`: serve no more requests, but finish those served."""

    handled: int = 0
    stop: bool = False


class Report(Struct, frozen=True, kw_only=True):
    """One line to the parent; `done` on the last."""

    played: Played
    done: bool = False


class Player:
    """Serves requests, and keeps what is to be sent later."""

    def __init__(self, options: PlayerOptions, matrix: OutcomeMatrix, router: Router, events: EventProducer) -> None:
        self.played = Played.nothing(len(matrix.models))
        self.order = Order()
        self._options, self._matrix, self._router, self._events = options, matrix, router, events
        self._requests = traffic(len(matrix), options.requests, options.seed)
        self._next = next(self._requests, None)
        self._index = {model: i for i, model in enumerate(matrix.models)}
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._tickets = itertools.count()
        self._rewards = 1 if matrix.latency_ms is None else 2
        self._ahead_max = min(AHEAD_MAX, max(1000, int(options.rate * (1 + self._rewards) * AHEAD_MAX_S)))

    async def play(self, tell: Callable[[Played], None]) -> None:
        """Serve every request and send everything that follows from it, telling now and then how it goes."""
        started = told = time.monotonic()
        pace = Pace(self._options.rate, started)
        while self._next is not None or self._later:
            now = time.monotonic()
            self._send_due(now)
            due = min(pace.take(now), self._room())
            if self.order.stop:
                self._next = None
            elif self._serve(due, now):
                self.played.seconds = now - started
            if now - told >= REPORT_EVERY_S:
                told = now
                tell(self.played)
            await asyncio.sleep(TICK_S)

    def _room(self) -> int:
        """Requests that may be served before the worker has counted more."""
        underway = self.played.exposures + self.played.rewards + self._rewards * len(self._later) - self.order.handled
        return max(0, self._ahead_max - underway) // (1 + self._rewards)

    def _serve(self, due: int, now: float) -> int:
        """Serve at most `due` requests; how many. None while there are no valid weights: nobody would count them."""
        served = 0
        while served < due and self._next is not None:
            unit = f"{self._options.run}-{self.played.requests}"
            assignment = self._router.assign(self._options.experiment, unit=unit)
            if not assignment.enrolled:
                break
            self._play_out(self._next, assignment, now)
            self._next = next(self._requests, None)
            served += 1
        return served

    def _play_out(self, request: Request, assignment: Assignment, now: float) -> None:
        """The model is chosen: look at its answer, and send or schedule what follows."""
        played, right = self.played, self._matrix.correct[request.row]
        model = self._index[assignment.arm]
        played.requests += 1
        played.served[model] += 1
        played.earned[model] += right[model]
        played.right = [total + value for total, value in zip(played.right, right, strict=True)]
        played.early += request.early
        expose = partial(self._expose, assignment, time.time(), request.exposure_twice)
        if request.exposure_delay_s:
            self._at(now + request.exposure_delay_s, expose)
        else:
            expose()
        self._at(now + request.reward_delay_s, partial(self._reward, assignment.unit, model, request))

    def _expose(self, assignment: Assignment, served_at: float, twice: bool) -> None:
        record = self._router.expose(assignment, ts=served_at)
        assert record is not None, "an enrolled unit is exposed"
        self.played.exposures += 1
        if twice:
            self._send_again(record)
            self.played.exposures += 1

    def _reward(self, unit: str, model: int, request: Request) -> None:
        values = {CORRECT: float(self._matrix.correct[request.row][model])}
        if self._matrix.latency_ms is not None:
            values[LATENCY_MS] = self._matrix.latency_ms[request.row][model]
        for metric, value in values.items():
            record = self._events.reward(unit, metric, value, experiment=self._options.experiment)
            self.played.rewards += 1
            if request.reward_twice:
                self._send_again(record)
                self.played.rewards += 1

    def _send_again(self, record: Exposure | Reward) -> None:
        self._events.send(record)
        self.played.doubled += 1

    def _at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._later, (when, next(self._tickets), action))

    def _send_due(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            heapq.heappop(self._later)[2]()


class Ordered(Protocol):
    """Who takes orders."""

    order: Order


async def obey(player: Ordered) -> None:
    """Take the parent's orders; when there are no more, this process ends with its parent."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    decode = msgspec.json.Decoder(Order).decode
    while line := await lines.readline():
        order = decode(line)
        player.order = Order(handled=order.handled, stop=order.stop or player.order.stop)
    os.kill(os.getpid(), signal.SIGTERM)


def report(played: Played, *, done: bool = False) -> None:
    """One line to the parent."""
    sys.stdout.write(msgspec.json.encode(Report(played=played, done=done)).decode() + "\n")
    sys.stdout.flush()


async def main(options: PlayerOptions) -> None:
    """Play it all.

    Raises
    ------
    AllocatorError : the broker, its topics or the matrix are not as they must be.
    TimeoutError : no weights were published in `WEIGHTS_WAIT_S`.
    """
    matrix = load_matrix(Path(options.data))
    connection = Connection.from_environment(options.bootstrap)
    async with (
        EventProducer(prefix=options.prefix, connection=connection) as events,
        Router(prefix=options.prefix, connection=connection, events=events) as router,
    ):
        player = Player(options, matrix, router, events)
        parent = asyncio.create_task(obey(player))
        async with asyncio.timeout(WEIGHTS_WAIT_S):
            await router.changed(options.experiment)
        await player.play(report)
        await events.flush()
        player.played.undelivered = events.counters.failed + events.counters.dropped
    parent.cancel()
    report(player.played, done=True)


if __name__ == "__main__":
    try:
        asyncio.run(main(msgspec.json.decode(sys.argv[1], type=PlayerOptions)))
    except AllocatorError as problem:
        sys.exit(str(problem))
    except TimeoutError:
        sys.exit(f"no weights were published within {WEIGHTS_WAIT_S:.0f} s")
