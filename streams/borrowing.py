"""Specs that borrow priors from earlier experiments: read, and filled in with what these have counted so far.

What was counted comes from the partials topic, as an allocate agent sums it; no worker has to run.
"""

from __future__ import annotations

from dataclasses import dataclass

from allocator.borrow import Borrow, Source, borrows_in, with_borrowed
from allocator.errors import SpecErrors
from allocator.experiment import Experiment
from allocator.spec_text import parse_text
from streams.allocate.totals import Totals
from streams.connection import Connection
from streams.experiments import read_experiments
from streams.own_policies import load_spec
from streams.topics import Topics
from streams.totals import read_totals

__all__ = ["Wanted", "fill_in", "load_wanted"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A checked spec, and the priors that are still to be filled in: defaults stand in their place.

    `revision` is the one that the text names, None if it names none.
    """

    experiment: Experiment
    borrows: tuple[Borrow, ...] = ()
    revision: int | None = None


def load_wanted(text: str) -> Wanted:
    """Of a spec that may borrow. SpecErrors as `load_spec`."""
    spec, borrows, wrong = borrows_in(parse_text(text))
    try:
        experiment = load_spec(spec)
    except SpecErrors as errors:
        raise SpecErrors([*wrong, *errors.errors]) from errors
    if wrong:
        raise SpecErrors(wrong)
    return Wanted(experiment, borrows, experiment.revision if "revision" in spec else None)


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
    totals = await read_totals(connection, topics, {borrow.experiment for borrow in borrows} & specs.keys())
    current = specs.pop(experiment.experiment, None)
    sources = {name: Source(spec, totals.get(name, Totals()).training(spec)) for name, spec in specs.items()}
    return with_borrowed(experiment, borrows, sources, current)
