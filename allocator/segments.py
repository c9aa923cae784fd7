"""Segments by rule: which of the declared segments a unit is in, from what is known of it.

By value: the attribute's value, if it is one of the names. By cuts of a number: with cuts c₁ < … < c_k and names n₀ … n_k, x is
in n_i where i counts the cuts that are ≤ x. What is missing, of another type, not finite or undeclared is in `other`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from functools import cached_property
from math import isfinite
from typing import Annotated, Any

from msgspec import Meta, Struct

from allocator.errors import SpecError

__all__ = ["OTHER_SEGMENT", "SegmentRule", "change_errors", "segment_of"]

OTHER_SEGMENT = "other"
"""Where units of an undeclared segment are counted, if the spec declares any."""


class SegmentRule(Struct, frozen=True, kw_only=True, dict=True):  # dict: for what is derived once and kept
    """How routers find a unit's segment when their caller does not say it."""

    attribute: Annotated[str, Meta(description="which of the unit's attributes decides")]
    names: Annotated[tuple[str, ...], Meta(description="the segments; by value, its values")]
    cuts: Annotated[
        tuple[float, ...], Meta(description="ascending, one fewer than names, each the least number of the next; empty: by value")
    ] = ()

    @cached_property
    def values(self) -> frozenset[str]:
        """The names, for look-ups."""
        return frozenset(self.names)


def segment_of(rule: SegmentRule, attributes: Mapping[str, Any]) -> str:
    """One of the rule's names, or `other`. Raises nothing."""
    value = attributes.get(rule.attribute)
    if not rule.cuts:
        return value if isinstance(value, str) and value in rule.values else OTHER_SEGMENT
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return OTHER_SEGMENT
    try:
        number = float(value)
    except OverflowError:  # a whole number that no double holds
        return OTHER_SEGMENT
    return rule.names[bisect_right(rule.cuts, number)] if isfinite(number) else OTHER_SEGMENT


def change_errors(current: SegmentRule | None, wanted: SegmentRule | None) -> Iterator[SpecError]:
    """Why a running experiment cannot take another rule: a segment's moments would be of two kinds of units."""
    if current is None or wanted is None:  # what callers say by hand may be put into a rule, or the other way round
        return
    expected = "the same as in the running experiment, or a segment would mix two kinds of units; apply under a new name"
    if current.attribute != wanted.attribute:
        yield SpecError("segments", wanted.attribute, f"{current.attribute}, {expected}")
    if current.cuts != wanted.cuts:
        yield SpecError("segments.cuts", list(wanted.cuts), f"{list(current.cuts)}, {expected}")
