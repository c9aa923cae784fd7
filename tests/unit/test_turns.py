"""Who computes for long lets others go on in between, and whoever is quick goes on himself."""

from __future__ import annotations

import asyncio

from streams.turns import Turn


async def others_heard(turn: Turn, pieces: int) -> int:
    """How often somebody else had a turn during so many pieces of work."""
    heard, done = 0, False

    async def other() -> None:
        nonlocal heard
        while not done:
            heard += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    for _ in range(pieces):
        await turn.over()
    done = True
    await task
    return heard


async def test_after_each_piece_that_fills_its_turn_the_others_have_theirs() -> None:
    assert await others_heard(Turn(turn_s=0.0), pieces=5) == 5


async def test_a_turn_that_is_not_over_goes_on() -> None:
    assert await others_heard(Turn(turn_s=3600.0), pieces=1000) == 0
