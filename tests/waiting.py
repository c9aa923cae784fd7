"""Await a condition instead of a duration."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["until"]

T = TypeVar("T")

POLL_S = 0.05


def until(condition: Callable[[], T], timeout_s: float, what: Callable[[], object] | str = "the condition") -> T:
    """Call `condition` until it returns something true, and return that. AssertionError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what() if callable(what) else what}")
        time.sleep(POLL_S)
    return result
