"""How much of one unit the fold keeps: every record has a bound, whatever is sent."""

from __future__ import annotations

__all__ = ["LARGE_BYTES", "LIVES_MAX", "REWARDS_MAX", "WAITING_MAX"]

REWARDS_MAX = 1024
"""Rewards one unit may have: its record must fit a Kafka record however long its ids are. More are counted as overflow. Dead
letters of them could never be used, and a unit that does not stop would write as many as it has events."""
LARGE_BYTES = 4096
"""A stored record larger than this is unpacked once a chunk, however many events leave it as it is."""
LIVES_MAX = 16
"""Lives of a unit in one experiment that are kept for rewards which are behind. Of more, the first go before their time."""
WAITING_MAX = 64
"""Rewards that may wait for a unit's first exposure."""
