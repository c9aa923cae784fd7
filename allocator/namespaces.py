"""Namespaces: experiments that share a unit space and never a unit.

A unit's place in a namespace is its bucket, (xxh64(unit, seed of the namespace) · 1 000 000) >> 64, and an experiment holds
ranges of places, each from its first place up to, not including, its last. Ranges of one namespace do not overlap, so a unit is
in at most one of its experiments. Every namespace has a seed of its own, from its name: places in two of them are independent, so
the one is a layer over the other. How an experiment splits its units hangs on seeds of its own and so on neither. Overlapping
layers after Tang, Agarwal, O'Brien & Meyer (2010).

A unit's place never changes, so an experiment that is given more ranges keeps all its units and their arms. Taking a range away
would drop enrolled units in mid-run and is refused; stopping an experiment frees its ranges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct
from xxhash import xxh64_intdigest

from allocator.errors import SpecError

if TYPE_CHECKING:  # an experiment has a namespace
    from allocator.experiment import Experiment

__all__ = [
    "PLACES",
    "RANGES_MAX",
    "Holding",
    "Namespace",
    "Range",
    "conflicts",
    "conflicts_among",
    "free",
    "holdings",
    "merged",
    "overlap",
    "place",
    "resize_errors",
    "seed_of",
    "written",
]

PLACES = 1_000_000
RANGES_MAX = 100

Range = tuple[int, int]
"""Places, from the first up to, not including, the last."""
Edge = Annotated[float, Meta(ge=0, le=1)]

_FREES = frozenset({"stopped", "archived"})
"""Statuses in which an experiment holds nothing."""


class Namespace(Struct, frozen=True, kw_only=True):
    """Which units of a shared unit space are the experiment's own."""

    name: Annotated[str, Meta(description="experiments of one namespace never share a unit; different ones are independent")]
    ranges: Annotated[tuple[tuple[Edge, Edge], ...], Meta(description="[from, to) as shares of the units, ascending")]

    @property
    def places(self) -> tuple[Range, ...]:
        """The ranges in places."""
        return tuple((round(low * PLACES), round(high * PLACES)) for low, high in self.ranges)


@dataclass(frozen=True, slots=True)
class Holding:
    """What one experiment holds of a namespace."""

    experiment: str
    owner: str
    status: str
    unit: str
    ranges: tuple[Range, ...]


def seed_of(namespace: str) -> int:
    """32 bits of its name. No list of names that other seeds are made of begins with an empty one."""
    return xxh64_intdigest(f"/namespace/{namespace}".encode()) & 0xFFFF_FFFF


def place(namespace: str, unit: str) -> int:
    """Where a unit is in a namespace: 0 up to, not including, 1 000 000."""
    return (xxh64_intdigest(unit.encode(), seed_of(namespace)) * PLACES) >> 64


def merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The same places in ascending ranges that neither overlap nor touch."""
    found: list[Range] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], high)
        else:
            found.append((low, high))
    return tuple(found)


def overlap(some: Iterable[Range], others: Iterable[Range]) -> tuple[Range, ...]:
    """The places that are in both."""
    others = merged(others)
    both = [(max(a, c), min(b, d)) for a, b in merged(some) for c, d in others]
    return merged((low, high) for low, high in both if low < high)


def free(taken: Iterable[Range]) -> tuple[Range, ...]:
    """The places that are in none of them."""
    edges = [0, *(edge for held in merged(taken) for edge in held), PLACES]
    return tuple((low, high) for low, high in zip(edges[::2], edges[1::2], strict=True) if low < high)


def written(ranges: Sequence[Range]) -> str:
    """For people: ``0%–30%, 50%–60%``."""
    return ", ".join(f"{low / 10_000:.10g}%–{high / 10_000:.10g}%" for low, high in ranges) or "nothing"


def holdings(experiments: Iterable[Experiment]) -> dict[str, list[Holding]]:
    """By namespace, what each experiment holds, in the order of places. Those that are over hold nothing."""
    found: dict[str, list[Holding]] = {}
    for experiment in experiments:
        if experiment.namespace is not None and experiment.status not in _FREES:
            held = Holding(
                experiment.experiment, experiment.owner, experiment.status, experiment.unit, experiment.namespace.places
            )
            found.setdefault(experiment.namespace.name, []).append(held)
    return {name: sorted(found[name], key=lambda held: (held.ranges, held.experiment)) for name in sorted(found)}


def conflicts(wanted: Experiment, others: Iterable[Experiment]) -> list[SpecError]:
    """Why the experiment cannot have its ranges beside the others: theirs overlap, or they randomise something else.

    One of the same name among the others is what `wanted` replaces.
    """
    namespace = wanted.namespace
    if namespace is None or wanted.status in _FREES:
        return []
    beside = holdings(other for other in others if other.experiment != wanted.experiment).get(namespace.name, [])
    left = free(held for holding in beside for held in holding.ranges)
    found = []
    for holding in beside:
        who = f"{holding.experiment}, owner {holding.owner or 'not named'},"
        if holding.unit != wanted.unit:
            found.append(SpecError("unit", wanted.unit, f"{holding.unit}, as in {who} of the namespace {namespace.name}"))
        if both := overlap(namespace.places, holding.ranges):
            expected = f"units of {namespace.name} that are free, {written(left)}: {who} holds {written(both)}"
            found.append(SpecError("namespace", written(namespace.places), expected))
    return found


def conflicts_among(wanted: Sequence[Experiment], in_force: Mapping[str, Experiment]) -> list[list[SpecError]]:
    """For each experiment, why it cannot be in force beside those before it and beside what is in force under other names."""
    new = {experiment.experiment for experiment in wanted}
    over = {name for name, experiment in in_force.items() if experiment.status in _FREES}
    others = [experiment for name, experiment in in_force.items() if name not in new]
    seeking = [experiment for experiment in wanted if experiment.experiment not in over]  # over is over, whatever a file says
    found = {id(experiment): conflicts(experiment, [*others, *seeking[:i]]) for i, experiment in enumerate(seeking)}
    return [found.get(id(experiment), []) for experiment in wanted]


def resize_errors(current: Namespace | None, wanted: Namespace | None) -> Iterator[SpecError]:
    """Why a running experiment cannot take other ranges: they may only grow."""
    if current == wanted:
        return
    if current is None or wanted is None or current.name != wanted.name:
        expected = f"{current.name if current else 'none'}, the same as in the running experiment, or its units would change"
        yield SpecError("namespace", wanted.name if wanted else "none", f"{expected}; stop it and apply under a new name")
    elif gone := overlap(current.places, free(wanted.places)):
        expected = f"all of {written(current.places)}: who is enrolled stays. To take units out, lower enrolment; to free"
        yield SpecError("namespace", f"without {written(gone)}", f"{expected} a range, stop it and apply under a new name")
