"""Turns on the event loop: who computes for long lets others go on in between.

A worker's agents share one loop. A transaction of one of them is a dozen of the loop's rounds long, and each round is as long as
whatever the others compute in it without a pause.
"""

from __future__ import annotations

import asyncio
import time

__all__ = ["Turn"]

TURN_S = 0.005


class Turn:
    """One agent's turn, which begins when this is made.

    Parameters
    ----------
    turn_s : how long it may compute before the others have theirs.
    """

    def __init__(self, turn_s: float = TURN_S) -> None:
        self._turn_s, self._began = turn_s, time.perf_counter()

    async def over(self) -> None:
        """To be awaited between two pieces of work: returns at once, or when everybody else has had a turn."""
        if time.perf_counter() - self._began >= self._turn_s:
            await asyncio.sleep(0)
            self._began = time.perf_counter()
