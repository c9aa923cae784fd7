"""One partition's state in words that do not depend on how it came about: numbers of cells and kinds become names.

What cannot be read is a value, too: a state that was damaged is what an audit is for. What no event can concern any more at the
partition's event time is as good as forgotten, be it a unit or one of its lives, whether the sweep has come by or not; rewards
that waited are unmatched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from allocator.experiment import Experiment
from streams.join.account import COUNTS_PREFIX
from streams.join.cells import CELL_PREFIX, CellName
from streams.join.fold import MARKS_KEY
from streams.join.kinds import KIND_PREFIX, Kind
from streams.join.outcomes import OUTCOMES, Outcome
from streams.join.plan import Plan
from streams.join.sweep import UNITS_FROM
from streams.join.units import AT, DEADLINE, ENTRIES, KIND, REWARDS, Record, forget, is_spent, outcome_of, unpack

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
    """What is kept of the rewards under one id. `mark`: what its topic had reached, if the reward came long after its ts."""

    of: KindName
    ts: float
    value: float
    mark: float | None = None
    renamed: bool = False
    """Whether the id is another reward's by now."""


class Unit(NamedTuple):
    """One unit's record: entries by experiment, a life each; rewards by id, the one that has it last."""

    deadline: float
    entries: dict[str, list[Entry]]
    rewards: dict[str, list[Reward]]


class State:
    """What the records of one partition say. `units` is read from them as asked, everything else at once."""

    def __init__(self, records: Records, specs: Mapping[str, Experiment]) -> None:
        self._records = records
        self._plans = {plan.key: plan for spec in specs.values() for plan in Plan.phases(spec)}
        self.cells: dict[CellName | bytes, list[int] | Unreadable] = {}
        """Sums by cell; a cell that cannot be read stands under its key."""
        self.counts: dict[str, list[int] | Unreadable] = {}
        """Events by outcome and experiment. Right once all `units` were read: what is forgotten only then counts, too."""
        self.marks: tuple[float, float] | Unreadable = (0.0, 0.0)
        """Event time reached by exposures and by rewards."""
        self._names: dict[int, CellName] = {}
        self._experiments: dict[int, str] = {}
        self._kinds: dict[int, Kind] = {}
        self._read()

    def _read(self) -> None:
        for key, value in self._records.scan(CELL_PREFIX):
            found = _tried(_cell, value)
            if isinstance(found, Unreadable):
                self.cells[key] = found
            else:
                name, sums = found
                cell = int.from_bytes(key[len(CELL_PREFIX) :], "big")
                self._names[cell], self._experiments[cell] = name, name.experiment
                self.cells[name if name not in self.cells else key] = sums
        for key, value in self._records.scan(KIND_PREFIX):
            kind = _tried(_kind, value)
            if isinstance(kind, KindName):  # without it, the units that have such rewards cannot be read
                number = int.from_bytes(key[len(KIND_PREFIX) :], "big")
                self._kinds[number] = Kind(number, *kind)
                self._kinds[number].refresh(self._plans.values())
        for key, value in self._records.scan(COUNTS_PREFIX):
            self.counts[key[len(COUNTS_PREFIX) :].decode(errors="replace")] = _tried(_counts, value)
        for _, value in self._records.scan(MARKS_KEY):
            self.marks = _tried(_marks, value)

    def units(self, watermark: float) -> Iterator[tuple[bytes, Unit | Unreadable]]:
        """Every unit that is not forgotten at that event time, in the order of their keys."""
        for key, value in self._records.scan_from(UNITS_FROM):
            unit = _tried(lambda value: self._unit(value, watermark), value)
            if unit is not None:
                yield key, unit

    def _unit(self, value: bytes, watermark: float) -> Unit | None:
        record = unpack(value)
        unit = self._named(record)
        if record[DEADLINE] >= watermark and not is_spent(record, watermark, self._experiments, self._kinds, self._plans):
            return unit
        before = self._outcomes(record)
        if record[DEADLINE] < watermark:
            self._give_up(before)
            return None
        forget(record, watermark, self._experiments, self._kinds, self._plans)
        self._give_up(before - self._outcomes(record))
        return self._named(record)

    def _named(self, record: Record) -> Unit:
        deadline, entries, rewards = record
        if not (isinstance(entries, list) and isinstance(rewards, dict)):  # empty, one can be taken for the other
            raise TypeError("a unit's record")
        unit = Unit(deadline, {}, {})
        for cell, *rest in entries:
            name = self._names[cell]
            unit.entries.setdefault(name.experiment, []).append(Entry(name, *rest))
        for id_, reward in rewards.items():
            renamed = not isinstance(id_, str)
            if renamed and id_[1:] != (reward[AT], reward[KIND]):
                raise ValueError("a reward under another's key")
            under = unit.rewards.setdefault(id_[0] if renamed else id_, [])
            under.append(self._reward(*reward, renamed=renamed))
        for under in unit.rewards.values():
            under.sort(key=lambda reward: (not reward.renamed, reward.ts, reward.of))
        return unit

    def _reward(self, number: int, ts: float, value: float, mark: float | None = None, *, renamed: bool) -> Reward:
        kind = self._kinds[number]
        return Reward(KindName(kind.metric, kind.experiment), ts, value, mark, renamed)

    def _outcomes(self, record: Record) -> Counter[tuple[str, Outcome]]:
        """As `Account` counts them."""
        rewards = ((self._kinds[reward[KIND]], reward) for reward in record[REWARDS].values())
        entries, of = record[ENTRIES], self._experiments
        return Counter((kind.experiment, outcome_of(entries, of, kind, reward)) for kind, reward in rewards)

    def _give_up(self, outcomes: Counter[tuple[str, Outcome]]) -> None:
        """As `Account` does when it forgets rewards that wait."""
        for (experiment, outcome), n in outcomes.items():
            counts = self.counts.get(experiment)
            if outcome is Outcome.REWARD_WAITING and isinstance(counts, list):
                counts[Outcome.REWARD_WAITING] -= n
                counts[Outcome.REWARD_UNMATCHED] += n


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
