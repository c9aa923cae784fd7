"""The specs in force as the agents see them: a plain mapping, a count of changes, and a way to wait for the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from allocator.experiment import Experiment

__all__ = ["Specs"]


class Specs:
    """Fed by the experiments reader, read by every agent of the worker."""

    def __init__(self) -> None:
        self.current: dict[str, Experiment] = {}
        self.changes = 0
        self.on_change: list[Callable[[], None]] = []
        self._changed = asyncio.Event()

    def take(self, name: str, experiment: Experiment | None) -> None:
        """An experiment was applied, changed or (None) removed."""
        if experiment is None:
            self.current.pop(name, None)
        else:
            self.current[name] = experiment
        self.changes += 1
        self._changed.set()
        self._changed = asyncio.Event()
        for subscriber in self.on_change:
            subscriber()

    async def wait(self, timeout_s: float) -> None:
        """Until the next change, at most that long."""
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return
