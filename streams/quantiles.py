"""Caps at quantiles, filled in when a spec is applied: read from the units that the join keeps, in its changelog.

They are the units of the present phase whose window is over, as far as they have not been forgotten, which is at the latest two
graces later. No worker has to run.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

import numpy as np
from aiokafka import TopicPartition
from numpy.typing import NDArray

from allocator.caps import kept_caps, with_caps, without_cap
from allocator.errors import SpecErrors
from allocator.experiment import Experiment
from allocator.lifecycle import revise
from allocator.phases import phase_key
from streams.audit.live import copy_live
from streams.audit.log import opened
from streams.audit.state import State, Unreadable
from streams.clients import admin_client, started
from streams.connection import Connection
from streams.experiments import read_experiments
from streams.state import Store
from streams.topics import Topics

__all__ = ["fill_in_caps"]


async def fill_in_caps(connection: Connection, topics: Topics, wanted: Experiment) -> Experiment:
    """The spec with numbers for the quantiles that there are enough units for; the others wait.

    Raises
    ------
    SpecErrors : a quantile is 0.
    Unreachable, StateError : the units could not be read.
    """
    if not without_cap(wanted):
        return wanted
    async with started(admin_client(connection), connection) as admin:
        there = await admin.list_topics()
    if topics.experiments not in there or topics.join_changelog not in there:
        return wanted
    current = (await read_experiments(connection, topics)).get(wanted.experiment)
    wanted = kept_caps(current, wanted)
    names = without_cap(wanted)
    if current is None or not names or not _goes_on(current, wanted):
        return wanted
    return with_caps(wanted, await _values(connection, topics, current, set(names) & current.metrics.keys()))


def _goes_on(current: Experiment, wanted: Experiment) -> bool:
    """Whether units are counted now as they would be without the caps: else they are no warm-up of what is wanted."""
    try:
        revise(current, wanted)
    except SpecErrors:
        return False
    return current.status != "draft"


async def _values(
    connection: Connection, topics: Topics, experiment: Experiment, metrics: Collection[str]
) -> dict[str, NDArray[np.float64]]:
    """What each unit has whose window is over, crossovers left out."""
    found: dict[str, list[float]] = defaultdict(list)
    places = {name: (experiment.metric_names.index(name), experiment.metrics[name]) for name in metrics}
    async with opened(connection, [topics.join_changelog]) as log:
        for partition in log.partitions[topics.join_changelog]:
            with (
                tempfile.TemporaryDirectory(prefix="allocator-units-") as scratch,
                closing(Store(Path(scratch) / "live")) as live,
            ):
                await copy_live(log, TopicPartition(topics.join_changelog, partition), live)
                state = State(live, {experiment.experiment: experiment})
                reached = 0.0 if isinstance(state.marks, Unreadable) else min(state.marks)
                for _, unit in state.units(0.0):
                    for entry in () if isinstance(unit, Unreadable) else unit.entries.get(phase_key(experiment), ()):
                        for name, (place, metric) in places.items():
                            if entry.values is not None and entry.ts + metric.window_s <= reached:
                                found[name].append(entry.values[place] * metric.resolution)
    return {name: np.array(values) for name, values in found.items()}
