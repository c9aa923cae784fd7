"""Kinds of rewards: a metric, in one experiment or in all that declare it, interned to a small number for unit records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from streams.join.plan import MetricPlan, Plan

__all__ = ["KIND_PREFIX", "Kind", "Kinds"]

KIND_PREFIX = b"\x00kind"


@dataclass(slots=True)
class Kind:
    """What rewards are of: a metric, in one experiment or (`experiment` "") in all that declare it.

    Interned to a small number in unit records. `wanted_by` maps an experiment, each phase of it, to what it does with the metric;
    `least`, `most` and `whole` bound the values that any of them takes.
    """

    number: int
    metric: str
    experiment: str
    wanted_by: dict[str, MetricPlan] = field(default_factory=dict)
    horizon_s: float = 0.0
    """How far behind its topic a reward may be, and how long its id is its own."""
    grace_s: float = 0.0
    """How far behind its topic it may be and be in time for any life it can be of."""
    keep_s: float = 0.0
    """How long after its `ts` an event may come that changes what becomes of it."""
    least: float = 0.0
    most: float = 0.0
    whole: bool = False
    sole: bool = False
    """Whether one experiment wants it, whose domain is then the kind's."""
    in_cell: dict[int, MetricPlan] = field(default_factory=dict)
    """`wanted_by` by the experiment's cells, as far as they were asked for."""
    applied: int = 0
    """Rewards applied that are not counted yet."""

    def refresh(self, plans: Iterable[Plan]) -> None:
        """Take over who wants the metric now."""
        self.wanted_by = {
            plan.key: plan.metrics[self.metric]
            for plan in plans
            if self.metric in plan.metrics and self.experiment in ("", plan.name)
        }
        self.in_cell.clear()
        wanted = self.wanted_by.values()
        self.sole = len(wanted) == 1
        self.horizon_s = max((m.horizon_s for m in wanted), default=0.0)
        self.grace_s = min((m.grace_s for m in wanted), default=0.0)
        self.keep_s = max((m.keep_s for m in wanted), default=0.0)
        self.least = min((m.least for m in wanted), default=0.0)
        self.most = max((m.most for m in wanted), default=0.0)
        self.whole = all(m.whole for m in wanted)

    def domain(self) -> str:
        """The values somebody takes, in words."""
        if not self.whole:
            return f"a number of at most {self.most:g} in size"
        return "0 or 1" if self.most == 1.0 else "a whole number that is not negative"


class Kinds:
    """All kinds met so far. Numbers are given in order of first sight and never reused."""

    def __init__(self) -> None:
        self.all: list[Kind] = []
        self.wanted: dict[tuple[str, str | None], Kind] = {}
        """The kinds that an experiment wants, by (metric, experiment) as a reward names them."""
        self.filled: list[Kind] = []
        """Those with applied rewards that are not counted yet."""
        self._numbers: dict[tuple[str, str], int] = {}
        self._new: list[int] = []

    def intern(self, metric: str, experiment: str | None, plans: Iterable[Plan]) -> Kind | None:
        """The kind, known or new; None, and nothing kept, for rewards that no experiment wants."""
        known = self.wanted.get((metric, experiment))
        if known is not None or (metric, experiment or "") in self._numbers:
            return known
        kind = Kind(len(self.all), metric, experiment or "")
        kind.refresh(plans)
        if not kind.wanted_by:
            return None
        self._add(kind)
        self._new.append(kind.number)
        return kind

    def _add(self, kind: Kind) -> None:
        self.all.append(kind)
        self._numbers[kind.metric, kind.experiment] = kind.number
        if kind.wanted_by:
            self.wanted[kind.metric, kind.experiment or None] = kind

    def refresh(self, plans: Iterable[Plan]) -> None:
        """Take over changed specs."""
        for kind in self.all:
            kind.refresh(plans)
        self.wanted.clear()
        self.wanted.update({(kind.metric, kind.experiment or None): kind for kind in self.all if kind.wanted_by})

    def take_applied(self) -> Iterator[tuple[str, int]]:
        """(experiment, rewards applied) of every filled kind, handed over."""
        for kind in self.filled:
            yield kind.experiment, kind.applied
            kind.applied = 0
        self.filled.clear()

    def drain(self, keys: list[bytes], values: list[bytes | None]) -> None:
        """Append the kinds that are new as changelog records."""
        for number in self._new:
            kind = self.all[number]
            keys.append(KIND_PREFIX + number.to_bytes(4, "big"))
            values.append(msgspec.json.encode((kind.metric, kind.experiment)))
        self._new.clear()

    def restore(self, records: Iterator[tuple[bytes, bytes]]) -> None:
        """Take over stored kinds, in the order of their numbers. `refresh` must follow."""
        for _, value in records:
            self._add(Kind(len(self.all), *msgspec.json.decode(value, type=tuple[str, str])))
