"""Units by weights version in one partition: a small table for each experiment, see `allocator.versions`.

Not for experiments whose segments have weights of their own: their versions are numbered apart. The counts are a function of the
log of exposures, so a replay gives the same; an audit does not compare them, as nothing is allocated by them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from allocator.versions import VersionTable, VersionUnits
from streams.join.plan import Plan
from streams.records import Exposure

__all__ = ["VERSIONS_PREFIX", "Tally", "Versions"]

VERSIONS_PREFIX = b"\x00versions"
TALLIES_MAX = 10_000

_Stored = tuple[list[VersionUnits], VersionUnits | None]


@dataclass(slots=True, eq=False)
class Tally:
    """Units of one arm and version that are not in the table yet; the slots they come from share it."""

    experiment: str
    version: int
    arm: str
    units: int = 0
    weight: int = 0
    newest_ts: float = 0.0


class Versions:
    """The tables of one partition."""

    def __init__(self) -> None:
        self.of: dict[str, VersionTable] = {}
        """By experiment."""
        self._tallies: dict[tuple[str, int, str], Tally] = {}
        self._filled: list[Tally] = []

    def tally(self, plan: Plan, x: Exposure) -> Tally | None:
        """Where to count units with exposures like this one; None if they are not counted."""
        if x.holdback or not plan.counts_versions:
            return None
        if len(self._tallies) > TALLIES_MAX:  # the versions that are gone; who has one of these may go on using it
            self._tallies.clear()
        at = plan.name, x.weights_version, x.arm
        return self._tallies.setdefault(at, Tally(*at))

    def count(self, tally: Tally, units: int, weight: int, newest_ts: float) -> None:
        """So many more units, each of that W."""
        if not tally.units:
            self._filled.append(tally)
        tally.units += units
        tally.weight += units * weight
        if newest_ts > tally.newest_ts:  # noqa: PLR1730  max() takes three times as long
            tally.newest_ts = newest_ts

    def drain(self, keys: list[bytes], values: list[bytes | None]) -> None:
        """Bring the tables to what was counted, and append those that changed as changelog records."""
        changed = {}
        for tally in self._filled:
            table = changed[tally.experiment] = self.of.setdefault(tally.experiment, VersionTable())
            table.count(tally.version, tally.arm, tally.units, tally.weight, tally.newest_ts)
            tally.units = tally.weight = 0
        self._filled.clear()
        for experiment, table in changed.items():
            keys.append(VERSIONS_PREFIX + experiment.encode())
            values.append(msgspec.json.encode((table.rows, table.older)))

    def restore(self, records: Iterator[tuple[bytes, bytes]]) -> None:
        """Take over what `drain` wrote."""
        for key, value in records:
            rows, older = msgspec.json.decode(value, type=_Stored)
            self.of[key[len(VERSIONS_PREFIX) :].decode()] = VersionTable(rows, older)
