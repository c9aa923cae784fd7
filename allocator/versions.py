"""Units by the weights version that they were served with: what routers really do, against what was published.

A unit counts once a life, at its first exposure that was read, under the version which that names; held-back units, which no
weights serve, do not. A crossover stays where it was counted. Only the newest versions are kept apart, by their number, so the
table is small for ever; what was before them is one row. It is a function of the log of exposures: of every version that is
kept, no unit was ever left out, because it was among the newest since it was first seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

__all__ = ["VERSIONS_KEPT", "VersionTable", "VersionUnits"]

VERSIONS_KEPT = 8
"""Versions of an experiment that are told apart. They travel with the counters, a hundred bytes each."""


class VersionUnits(Struct, array_like=True, frozen=True, gc=False):
    """The units of one weights version.

    Parameters
    ----------
    version : its number; 0 if exposures name none.
    newest_ts : latest `ts` of their exposures, in seconds since the epoch.
    units : arm → [units, Σ W], with W = 1 / logged propensity in millionths.
    """

    version: int
    newest_ts: float
    units: dict[str, tuple[int, int]]

    @property
    def total(self) -> int:
        """Units of all arms."""
        return sum(units for units, _ in self.units.values())


class VersionTable:
    """The newest versions of one experiment, and all before them."""

    __slots__ = ("_older", "_rows")

    def __init__(self, rows: Iterable[VersionUnits] = (), older: VersionUnits | None = None) -> None:
        self._rows: dict[int, _Row] = {}
        self._older: tuple[int, _Row] | None = None
        self.add(rows, older)

    @property
    def rows(self) -> list[VersionUnits]:
        """At most `VERSIONS_KEPT`, in order of version."""
        return [self._rows[version].wire(version) for version in sorted(self._rows)]

    @property
    def older(self) -> VersionUnits | None:
        """All versions before the kept ones together, under that of the latest exposure; None without any."""
        return None if self._older is None else self._older[1].wire(self._older[0])

    def count(self, version: int, arm: str, units: int, weight: int, newest_ts: float) -> None:
        """So many more units of a version; `weight` is the sum of their W."""
        row = self._row(version, newest_ts)
        of_arm = row.units.setdefault(arm, [0, 0])
        of_arm[0] += units
        of_arm[1] += weight

    def add(self, rows: Iterable[VersionUnits], older: VersionUnits | None) -> None:
        """Those of another table, such as another partition's."""
        for row in rows:
            for arm, (units, weight) in row.units.items():
                self.count(row.version, arm, units, weight, row.newest_ts)
        if older is not None:
            self._forget(older.version, _Row.of(older))

    def _row(self, version: int, newest_ts: float) -> _Row:
        """Where units of the version are counted."""
        rows = self._rows
        row = rows.get(version)
        if row is None and len(rows) >= VERSIONS_KEPT and version < min(rows):
            self._forget(version, _Row(newest_ts))
            assert self._older is not None
            return self._older[1]
        if row is None:
            row = rows[version] = _Row(newest_ts)
            if len(rows) > VERSIONS_KEPT:
                oldest = min(rows)
                self._forget(oldest, rows.pop(oldest))
        row.newest_ts = max(row.newest_ts, newest_ts)
        return row

    def _forget(self, version: int, row: _Row) -> None:
        """Into the one row of all that is older. Whichever comes first, the latest exposure and then the version decide."""
        if self._older is None:
            self._older = version, row
            return
        named, older = self._older
        for arm, (units, weight) in row.units.items():
            of_arm = older.units.setdefault(arm, [0, 0])
            of_arm[0] += units
            of_arm[1] += weight
        older.newest_ts, named = max((older.newest_ts, named), (row.newest_ts, version))
        self._older = named, older


class _Row:
    __slots__ = ("newest_ts", "units")

    def __init__(self, newest_ts: float) -> None:
        self.newest_ts = newest_ts
        self.units: dict[str, list[int]] = {}

    @classmethod
    def of(cls, found: VersionUnits) -> _Row:
        row = cls(found.newest_ts)
        row.units = {arm: list(counted) for arm, counted in found.units.items()}
        return row

    def wire(self, version: int) -> VersionUnits:
        units: Sequence[tuple[str, list[int]]] = sorted(self.units.items())
        return VersionUnits(version, self.newest_ts, {arm: (n, weight) for arm, (n, weight) in units})
