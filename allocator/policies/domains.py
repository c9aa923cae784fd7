"""Domains of parameters: an error names the parameter, whatever a spec put there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from allocator.errors import ArgumentError

__all__ = ["is_number", "require_number"]


def is_number(value: Any) -> bool:
    """Whether it is a finite number; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300  # a longer int is no float


def require_number(name: str, value: Any, expected: str, inside: Callable[[float], bool]) -> None:
    """ArgumentError unless `value` is a finite number and `inside` its domain, which `expected` says in words."""
    if not is_number(value) or not inside(value):
        raise ArgumentError(name, value, expected)
