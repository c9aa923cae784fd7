"""Durations as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocator.durations import format_duration, parse_duration
from allocator.errors import ArgumentError


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("100ms", 0.1), ("700ms", 0.7), ("30s", 30.0), ("10m", 600.0), ("2h", 7200.0), ("1.5h", 5400.0), ("7d", 604800.0),
        (" 1 w ", 604800.0), (12, 12.0), (0.25, 0.25),
    ],
)  # fmt: skip
def test_reads(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "wrong",
    ["", "10", "10 minutes", "m", "-1s", "0s", 0, -1, True, None, float("nan"), float("inf"), 10**400, "1e3s", "١s", [1]],
)
def test_refuses(wrong: object) -> None:
    with pytest.raises(ArgumentError, match="a duration such as 100ms"):
        parse_duration(wrong)


@pytest.mark.parametrize("seconds, text", [(0.1, "100ms"), (600, "10m"), (90, "90s"), (1.5, "1500ms"), (86400, "1d")])
def test_writes_the_short_form(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(1e-9, 1e9))
def test_text_and_back_is_exact(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds
