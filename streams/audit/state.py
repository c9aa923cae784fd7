"""One partition's state in words that do not depend on how it came about: numbers of cells and kinds become names.

What cannot be read is a value, too: a state that was damaged is what an audit is for. A unit whose deadline the partition's event
time has passed is as good as forgotten, whether the sweep has come by or not; rewards that waited in it are unmatched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from allocator.experiment import Experiment
from streams.join.account import COUNTS_PREFIX
from streams.join.cells import CELL_PREFIX, CellName
from streams.join.fold import MARKS_KEY
from streams.join.kinds import KIND_PREFIX
from streams.join.outcomes import OUTCOMES, Outcome
from streams.join.sweep import UNITS_FROM
from streams.join.units import unpack

__all__ = ["KindName", "Records", "State", "Unit", "Unreadable"]

DAMAGED = (msgspec.DecodeError, ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What comes of reading bytes that nobody wrote on purpose. UnicodeError is a ValueError."""
SHOWN_BYTES = 60

T = TypeVar("T")


class Records(Protocol):
    """What a state is stored in; `streams.state.Store` is one."""

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]: ...
    def scan_from(self, key: bytes) -> Iterator[tuple[bytes, bytes]]: ...


class KindName(NamedTuple):
    """What a reward is of; `experiment` is empty when it names none."""

    metric: str
    experiment: str


class Unreadable(NamedTuple):
    """A stored value that says nothing, and the beginning of it in hexadecimal."""

    hexadecimal: str

    def __str__(self) -> str:
        return f"unreadable: {self.hexadecimal}"


class Entry(NamedTuple):
    """A unit's exposure in one experiment, and the unit's metrics there in steps; None for a crossover."""

    cell: CellName
    ts: float
    exposure_id: str
    weight: int
    values: list[int] | None


class Reward(NamedTuple):
    """What is kept of the rewards under one id."""

    of: KindName
    ts: float
    value: float


class Unit(NamedTuple):
    """One unit's record: entries by experiment, rewards by id."""

    deadline: float
    entries: dict[str, Entry]
    rewards: dict[str, Reward]


class State:
    """What the records of one partition say. `units` is read from them as asked, everything else at once."""

    def __init__(self, records: Records, specs: Mapping[str, Experiment]) -> None:
        self._records, self._specs = records, specs
        self.cells: dict[CellName | bytes, list[int] | Unreadable] = {}
        """Sums by cell; a cell that cannot be read stands under its key."""
        self.counts: dict[str, list[int] | Unreadable] = {}
        """Events by outcome and experiment. Right once all `units` were read: those that are past their deadline count."""
        self.marks: tuple[float, float] | Unreadable = (0.0, 0.0)
        """Event time reached by exposures and by rewards."""
        self._names: dict[int, CellName] = {}
        self._kinds: dict[int, KindName] = {}
        self._read()

    def _read(self) -> None:
        for key, value in self._records.scan(CELL_PREFIX):
            found = _tried(_cell, value)
            if isinstance(found, Unreadable):
                self.cells[key] = found
            else:
                name, sums = found
                self._names[int.from_bytes(key[len(CELL_PREFIX) :], "big")] = name
                self.cells[name if name not in self.cells else key] = sums
        for key, value in self._records.scan(KIND_PREFIX):
            kind = _tried(_kind, value)
            if isinstance(kind, KindName):  # without it, the units that have such rewards cannot be read
                self._kinds[int.from_bytes(key[len(KIND_PREFIX) :], "big")] = kind
        for key, value in self._records.scan(COUNTS_PREFIX):
            self.counts[key[len(COUNTS_PREFIX) :].decode(errors="replace")] = _tried(_counts, value)
        for _, value in self._records.scan(MARKS_KEY):
            self.marks = _tried(_marks, value)

    def units(self, watermark: float) -> Iterator[tuple[bytes, Unit | Unreadable]]:
        """Every unit that is not forgotten at that event time, in the order of their keys."""
        for key, value in self._records.scan_from(UNITS_FROM):
            unit = _tried(self._unit, value)
            if isinstance(unit, Unreadable) or unit.deadline >= watermark:
                yield key, unit
            else:
                self._give_up(unit)

    def _unit(self, value: bytes) -> Unit:
        deadline, stored, rewards = unpack(value)
        if not (isinstance(stored, list) and isinstance(rewards, dict)):  # empty, one can be taken for the other
            raise TypeError("a unit's record")
        entries = {}
        for cell, *rest in stored:
            name = self._names[cell]
            entries[name.experiment] = Entry(name, *rest)
        return Unit(deadline, entries, {i: Reward(self._kinds[kind], ts, worth) for i, (kind, ts, worth) in rewards.items()})

    def _give_up(self, unit: Unit) -> None:
        """As `Fold` does when it forgets a unit."""
        for reward in unit.rewards.values():
            counts = self.counts.get(reward.of.experiment)
            if isinstance(counts, list) and not any(self._wants(name, reward.of) for name in unit.entries):
                counts[Outcome.REWARD_WAITING] -= 1
                counts[Outcome.REWARD_UNMATCHED] += 1

    def _wants(self, name: str, kind: KindName) -> bool:
        spec = self._specs.get(name)
        return spec is not None and kind.metric in spec.metrics and kind.experiment in ("", name)


def _tried(read: Callable[[bytes], T], value: bytes) -> T | Unreadable:
    try:
        return read(value)
    except DAMAGED:
        more = "…" if len(value) > SHOWN_BYTES else ""
        return Unreadable(value[:SHOWN_BYTES].hex(" ") + more)


def _cell(value: bytes) -> tuple[CellName, list[int]]:
    found = msgspec.json.decode(value, type=tuple[str, str, str, bool, int, list[int]])
    return CellName(*found[:5]), found[5]


def _kind(value: bytes) -> KindName:
    return KindName(*msgspec.json.decode(value, type=tuple[str, str]))


def _counts(value: bytes) -> list[int]:
    found = msgspec.json.decode(value, type=list[int])
    return found + [0] * (OUTCOMES - len(found))


def _marks(value: bytes) -> tuple[float, float]:
    return msgspec.json.decode(value, type=tuple[float, float])
