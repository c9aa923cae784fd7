"""Specs that borrow priors from earlier experiments: read, and filled in with what these have counted so far.

What was counted comes from the partials topic, as an allocate agent sums it; no worker has to run.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import msgspec

from allocator.borrow import Borrow, Source, borrows_in, with_borrowed
from allocator.errors import SpecErrors
from allocator.experiment import Experiment
from allocator.spec_text import parse_text
from streams.allocate.totals import Totals
from streams.compacted import CompactedTopic
from streams.connection import Connection
from streams.experiments import read_experiments
from streams.own_policies import load_spec
from streams.records import Partial
from streams.topics import Topics

__all__ = ["Wanted", "fill_in", "load_wanted"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A checked spec, and the priors that are still to be filled in: defaults stand in their place."""

    experiment: Experiment
    borrows: tuple[Borrow, ...] = ()


def load_wanted(text: str) -> Wanted:
    """Of a spec that may borrow. SpecErrors as `load_spec`."""
    spec, borrows, wrong = borrows_in(parse_text(text))
    try:
        experiment = load_spec(spec)
    except SpecErrors as errors:
        raise SpecErrors([*wrong, *errors.errors]) from errors
    if wrong:
        raise SpecErrors(wrong)
    return Wanted(experiment, borrows)


async def fill_in(connection: Connection, topics: Topics, wanted: Wanted) -> Experiment:
    """The spec with numbers for all that it borrows.

    Raises
    ------
    SpecErrors : there is nothing such to borrow, see `with_borrowed`.
    Unreachable, TopicError : it could not be looked up; the topics of a worker have to be there.
    """
    experiment, borrows = wanted.experiment, wanted.borrows
    if not borrows:
        return experiment
    specs = await read_experiments(connection, topics)
    totals = await _totals(connection, topics, {borrow.experiment for borrow in borrows} & specs.keys())
    current = specs.pop(experiment.experiment, None)
    sources = {name: Source(spec, totals.get(name, Totals()).training(spec)) for name, spec in specs.items()}
    return with_borrowed(experiment, borrows, sources, current)


async def _totals(connection: Connection, topics: Topics, names: Collection[str]) -> dict[str, Totals]:
    """The sums of some experiments, as of now."""
    found = {name: Totals() for name in names}
    starts = tuple(f"{name}|".encode() for name in names)
    decode = msgspec.json.Decoder(Partial).decode

    def take(record: Any) -> None:
        if record.value is not None and record.key.startswith(starts):
            partial = decode(record.value)
            found[partial.experiment].replace(partial)

    reader = CompactedTopic(connection, topics.partials, take)
    await reader.read_to_end()
    await reader.stop()
    return found
