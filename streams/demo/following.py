"""Follows a player and the worker until the player is done: what it reports is read, and it is told how far the worker is."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Protocol

import msgspec

from streams.demo.children import Child
from streams.demo.player import Order

__all__ = ["POLL_S", "Watched", "follow"]

POLL_S = 0.25
STALL_MAX_S = 45.0


class Watched(Protocol):
    """What is made of it."""

    async def look(self) -> int:
        """Ask the worker, show what there is to see; how many events the worker has counted."""

    def take(self, line: bytes) -> bool:
        """One line that the player has written; whether it is the last, with which all is done."""

    def progress(self) -> object:
        """Something that is another when anything has moved."""


async def follow(worker: Child, player: Child, watched: Watched, limit_s: float | None = None) -> None:
    """Until the player is done; after `limit_s` it is told to finish.

    Raises
    ------
    ChildError : one of the processes ended before its time, or nothing moves any more.
    """
    reports = asyncio.create_task(_read(player, watched))
    started = moved = time.monotonic()
    progress = watched.progress()
    try:
        while not reports.done():
            worker.check()
            now = time.monotonic()
            handled = await watched.look()
            if progress != (progress := watched.progress()):
                moved = now
            elif now - moved > STALL_MAX_S:
                raise worker.failure(f"counted nothing for {STALL_MAX_S:.0f} s")
            await _order(player, Order(handled=handled, stop=limit_s is not None and now - started > limit_s))
            await asyncio.wait([reports], timeout=POLL_S)
        if not await reports:
            await player.process.wait()
            raise player.failure(f"ended before it was done, exit code {player.process.returncode}")
    finally:
        reports.cancel()


async def _read(player: Child, watched: Watched) -> bool:
    """Every line; whether the player said that it is done."""
    lines = player.process.stdout
    assert lines is not None, "the player talks"
    done = False
    while line := await lines.readline():
        done = watched.take(line)
    return done


async def _order(player: Child, order: Order) -> None:
    """Tell the player. One that has ended is noticed by who reads its reports."""
    pipe = player.process.stdin
    if pipe is not None and not pipe.is_closing():
        with contextlib.suppress(ConnectionError):
            pipe.write(msgspec.json.encode(order) + b"\n")
            await pipe.drain()
