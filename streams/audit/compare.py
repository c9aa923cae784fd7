"""Two states of the same partitions at the same offsets: where they differ, field by field. Pure.

Everything that a state says is compared but the numbers that cells and kinds have in it, which are given in order of first sight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, NamedTuple

import msgspec

from allocator.experiment import Experiment
from allocator.moments import layout_of
from streams.audit.state import State, Unit, Unreadable
from streams.join.cells import CellName
from streams.join.outcomes import Outcome, label

__all__ = ["Arm", "ArmName", "Comparison", "Difference", "merged", "named_sums"]

_bits = msgspec.msgpack.Encoder(order="deterministic").encode
"""Equal only for what is the same to the last bit: -0.0 is not 0.0, and 1 is not 1.0."""
KEPT_MAX = 1000
"""Differences kept of each kind; what comes beyond is only counted."""


class Difference(NamedTuple):
    """One field that the two states say differently; None where one of them says nothing."""

    partition: int
    kind: str
    """``cell``, ``counter``, ``unit`` or ``event time``."""
    name: str
    """Of which cell, experiment or unit."""
    field: str
    live: Any
    rebuilt: Any


class ArmName(NamedTuple):
    """An arm as experiment, segment and holdback tell it apart."""

    experiment: str
    segment: str
    arm: str
    holdback: bool


@dataclass(slots=True)
class Arm:
    """An arm's sums over all partitions and periods. `equal`: in each of them, not only in total."""

    live: list[int] = field(default_factory=list)
    rebuilt: list[int] = field(default_factory=list)
    equal: bool = True


def merged(a: Arm, b: Arm) -> Arm:
    """Two slices of an arm as one."""
    return Arm(_added(a.live, b.live), _added(a.rebuilt, b.rebuilt), a.equal and b.equal)


@dataclass(slots=True)
class Comparison:
    """What has been compared so far, and where it differed."""

    specs: Mapping[str, Experiment]
    offsets: dict[int, dict[str, int]] = field(default_factory=dict)
    """Of each partition, the next offset of each source at which both states stand."""
    arms: dict[ArmName, Arm] = field(default_factory=dict)
    compared: Counter[str] = field(default_factory=Counter)
    """How many of each kind."""
    differing: Counter[str] = field(default_factory=Counter)
    """How many of them differ in some field."""
    differences: list[Difference] = field(default_factory=list)
    """Field by field, at most `KEPT_MAX` of each kind."""
    refused: int = 0
    """Dead letters of the live join, which both have left out."""
    notes: list[str] = field(default_factory=list)
    """What whoever looks at a difference should know."""
    _kept: Counter[str] = field(default_factory=Counter)

    @property
    def equal(self) -> bool:
        """Bit for bit."""
        return not self.differing

    def add(self, partition: int, offsets: Mapping[str, int], live: State, rebuilt: State) -> None:
        """Compare one partition, in which both stand at `offsets`."""
        self.offsets[partition] = dict(offsets)
        self._cells(partition, live, rebuilt)
        self._note("event time", partition, "reached", _marks(live.marks), _marks(rebuilt.marks))
        watermark = 0.0 if isinstance(rebuilt.marks, Unreadable) else min(rebuilt.marks)
        for key, a, b in _paired(live.units(watermark), rebuilt.units(watermark)):
            if a == b and _bits(a) == _bits(b):
                self.compared["unit"] += 1
            else:
                self._note("unit", partition, _text(key), _unit_fields(a), _unit_fields(b))
        for experiment in sorted(live.counts.keys() | rebuilt.counts.keys()):  # after the units, some of which count
            name = experiment or "(no known experiment)"
            mine, theirs = (_outcomes(state.counts.get(experiment, ())) for state in (live, rebuilt))
            self._note("counter", partition, name, mine, theirs)

    def _cells(self, partition: int, live: State, rebuilt: State) -> None:
        for name in sorted(live.cells.keys() | rebuilt.cells.keys(), key=str):
            mine, theirs = (state.cells.get(name, []) for state in (live, rebuilt))
            if not isinstance(name, CellName):
                self._note("cell", partition, f"record {name.hex(' ')}", named_sums(mine, None), named_sums(theirs, None))
                continue
            spec = self.specs.get(name.experiment)
            fields = [named_sums(sums, spec) for sums in (mine, theirs)]
            equal = self._note("cell", partition, _cell_name(name), *fields)
            arm = self.arms.setdefault(ArmName(name.experiment, name.segment, name.arm, name.holdback), Arm())
            arm.live, arm.rebuilt = _added(arm.live, mine), _added(arm.rebuilt, theirs)
            arm.equal = arm.equal and equal

    def _note(self, kind: str, partition: int, name: str, live: Mapping[str, Any], rebuilt: Mapping[str, Any]) -> bool:
        """Count one more of its kind, and keep the fields in which it differs; whether there are none."""
        self.compared[kind] += 1
        differs = [f for f in dict.fromkeys([*live, *rebuilt]) if repr(live.get(f)) != repr(rebuilt.get(f))]
        self.differing.update([kind] if differs else [])
        room = KEPT_MAX - self._kept[kind]
        kept = [Difference(partition, kind, name, f, _said(kind, live, f), _said(kind, rebuilt, f)) for f in differs[:room]]
        self._kept[kind] += len(kept)
        self.differences += kept
        return not differs


# -- what is compared, as named fields -------------------------------------------------------------------------------------------


def named_sums(sums: Sequence[int] | Unreadable, spec: Experiment | None) -> dict[str, Any]:
    """A cell's units and those of its sums that are not zero, by name; without the spec they have numbers. Of no cell nothing."""
    if isinstance(sums, Unreadable):
        return {"record": str(sums)}
    names = _sum_names(spec.metric_names) if spec is not None else ()
    if len(names) != len(sums):
        return {f"sum {i}": n for i, n in enumerate(sums) if n}
    return {name: n for i, (name, n) in enumerate(zip(names, sums, strict=True)) if n or not i}


def _sum_names(metrics: Sequence[str]) -> list[str]:
    """In the order of `allocator.moments`: y is a metric's value in steps, w the inverse propensity."""
    layout = layout_of(len(metrics))
    names = ["units"] * layout.length
    names[layout.w], names[layout.w2] = "sum of w", "sum of w²"
    for j, metric in enumerate(metrics):
        names[1 + j] = f"sum of {metric}"
        names[layout.wy + j], names[layout.w2y + j] = f"sum of w·{metric}", f"sum of w²·{metric}"
        names[layout.w2y2 + j] = f"sum of w²·{metric}²"
        for k in range(j, len(metrics)):
            names[layout.cross[j][k]] = f"sum of {metric}²" if j == k else f"sum of {metric}·{metrics[k]}"
    return names


def _outcomes(counts: Sequence[int] | Unreadable) -> dict[str, Any]:
    if isinstance(counts, Unreadable):
        return {"record": str(counts)}
    names = [label(outcome) for outcome in Outcome]
    return {(names[i] if i < len(names) else f"outcome {i}"): n for i, n in enumerate(counts) if n}


def _said(kind: str, fields: Mapping[str, Any], name: str) -> Any:
    """A field; sums and counters are named only if they are not zero."""
    zero = 0 if kind in ("cell", "counter") and fields and "record" not in fields else None
    return fields.get(name, zero)


def _marks(marks: tuple[float, float] | Unreadable) -> dict[str, Any]:
    return {"record": str(marks)} if isinstance(marks, Unreadable) else dict(zip(("exposures", "rewards"), marks, strict=True))


def _unit_fields(unit: Unit | Unreadable | None) -> dict[str, Any]:
    if unit is None:
        return {}
    if isinstance(unit, Unreadable):
        return {"record": str(unit)}
    fields: dict[str, Any] = {"deadline": unit.deadline}
    for experiment, lives in unit.entries.items():
        for n, entry in enumerate(lives):
            life = experiment + (f", life {n + 1}" if n else "")
            fields[f"{life}: cell"] = _cell_name(entry.cell)
            for name in ("ts", "exposure_id", "weight", "values"):
                fields[f"{life}: {name}"] = getattr(entry, name)
    for reward_id, rewards in unit.rewards.items():
        for reward in rewards:
            named = f"reward {reward_id}" + (f" of {reward.ts!r}" if reward.renamed else "")
            fields[f"{named}: of"] = ", ".join(filter(None, reward.of))
            for name in ("ts", "value", "mark"):
                fields[f"{named}: {name}"] = getattr(reward, name)
    return fields


def _cell_name(cell: CellName) -> str:
    segment = f", segment {cell.segment}" if cell.segment else ""
    return f"{cell.experiment}, arm {cell.arm}{segment}{', holdback' if cell.holdback else ''}, period {cell.period}"


def _text(key: bytes) -> str:
    """A unit's key as stored, in a form to read and to search for."""
    unit = key[1:] if key[:1] == b"\x01" else key
    return repr(unit.decode(errors="backslashreplace"))


def _added(total: list[int], sums: Sequence[int] | Unreadable) -> list[int]:
    return total if isinstance(sums, Unreadable) else [a + b for a, b in zip_longest(total, sums, fillvalue=0)]


_Units = Iterator[tuple[bytes, Unit | Unreadable]]


def _paired(live: _Units, rebuilt: _Units) -> Iterator[tuple[bytes, Unit | Unreadable | None, Unit | Unreadable | None]]:
    """Both walks, which are in the order of their keys, side by side; None where one has no such key."""
    a, b = next(live, None), next(rebuilt, None)
    while a is not None or b is not None:
        if b is None or (a is not None and a[0] < b[0]):
            yield a[0], a[1], None  # type: ignore[index]
            a = next(live, None)
        elif a is None or b[0] < a[0]:
            yield b[0], None, b[1]
            b = next(rebuilt, None)
        else:
            yield a[0], a[1], b[1]
            a, b = next(live, None), next(rebuilt, None)
