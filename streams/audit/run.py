"""The audit of all partitions: `rebuild` makes the second state, `diff` brings it to where the live one stands and compares.

Partitions are done one after another, each at offsets of its own: they have nothing to do with each other, and memory and open
files do not depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from aiokafka import TopicPartition

from allocator.errors import TopicError
from allocator.experiment import Experiment
from allocator.lifecycle import counted
from allocator.phases import name_of, phase_key, phases_of
from streams.audit.compare import Comparison
from streams.audit.directory import opened_rebuild
from streams.audit.live import checkpoint_of, copy_live, newest_checkpoint
from streams.audit.log import Log, opened
from streams.audit.partition import PartitionRebuild
from streams.audit.state import State
from streams.connection import Connection
from streams.experiments import read_experiments
from streams.state import Checkpoint, Store
from streams.state.ledger import CHECKPOINT
from streams.topics import Topics

__all__ = ["Progress", "Rebuilt", "diff", "rebuild"]

Progress = Callable[[int, int], None]
"""Told of the offsets reached so far, added up over sources and partitions, and of what they will be in the end."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """Where a rebuild stands. `records` were folded this time, which may be fewer than it holds."""

    offsets: dict[int, dict[str, int]]
    records: int


async def rebuild(
    connection: Connection,
    topics: Topics,
    directory: Path,
    name: str,
    *,
    fresh: bool = False,
    progress: Progress = lambda *_: None,
) -> Rebuilt:
    """Build the join's state anew from the sources, up to where the live join stands now.

    A rebuild that is there goes on from where it stands, unless `fresh`.

    Raises
    ------
    Incomplete : a source no longer goes back to where the rebuild has to begin.
    StateError, TopicError : topics or directory do not fit each other; the message says what to do.
    Unreachable, Stalled : the broker does not answer.
    """
    offsets: dict[int, dict[str, int]] = {}
    records = 0
    async with opened(connection, _read(topics)) as log:
        partitions, specs = _partitions(log, topics), counted(await read_experiments(connection, topics))
        with opened_rebuild(directory, name, topics.prefix, len(partitions), create=True, fresh=fresh) as kept:
            live = {p: await newest_checkpoint(log, TopicPartition(topics.join_changelog, p)) for p in partitions}
            total, before = sum(map(_reached, live.values())), 0

            def reached(here: int) -> None:
                progress(before + here, total)

            for p in partitions:
                with closing(Store(kept.partition(p))) as store:
                    made = PartitionRebuild(store, topics, p, len(partitions), specs)
                    await made.advance(log, live[p], reached)
                    offsets[p] = made.checkpoint.applied
                    before, records = before + _reached(made.checkpoint), records + made.records
    return Rebuilt(offsets, records)


async def diff(connection: Connection, topics: Topics, directory: Path, name: str) -> Comparison:
    """Compare the rebuild `name` with the live state. It is brought to where the live state stands first.

    Raises
    ------
    NoRebuild : there is none under that name.
    As `rebuild` otherwise.
    """
    async with opened(connection, _read(topics)) as log:
        partitions, specs = _partitions(log, topics), counted(await read_experiments(connection, topics))
        found = Comparison({phase_key(phase): phase for spec in specs.values() for phase in phases_of(spec)})
        with opened_rebuild(directory, name, topics.prefix, len(partitions), create=False) as kept:
            for p in partitions:
                tp = TopicPartition(topics.join_changelog, p)
                with (
                    kept.scratch(f"live-{p}") as scratch,
                    closing(Store(scratch)) as live,
                    closing(Store(kept.partition(p))) as store,
                ):
                    await copy_live(log, tp, live)
                    made = PartitionRebuild(store, topics, p, len(partitions), specs)
                    await made.advance(log, checkpoint_of(live.get(CHECKPOINT), tp), lambda _: None)
                    found.add(p, made.checkpoint.applied, State(live, specs), State(store, specs))
                    found.refused += sum(len(refused.offsets) for refused in made.refused.values())
                    found.notes += made.notes
    if not found.equal:
        found.notes += _notes(found, specs)
    return found


def _reached(checkpoint: Checkpoint) -> int:
    return sum(checkpoint.applied.values())


def _read(topics: Topics) -> list[str]:
    sources = (topics.exposures, topics.rewards)
    return [*sources, *map(topics.dead_letters, sources), topics.join_changelog]


def _partitions(log: Log, topics: Topics) -> Sequence[int]:
    """Of the join. Raises TopicError if its topics have not the same."""
    joined = log.partitions[topics.join_changelog]
    for topic, found in log.partitions.items():
        if found != joined:
            raise TopicError(topic, f"{len(found)} partitions", f"{len(joined)}, as the join's changelog", "allocator doctor")
    return joined


def _notes(found: Comparison, specs: Mapping[str, Experiment]) -> list[str]:
    """Why experiments that differ may differ for a reason."""
    names = sorted({name_of(arm.experiment) for arm, sums in found.arms.items() if not sums.equal})
    unknown = [name for name in names if name not in specs]
    changed = [f"{name} (revision {specs[name].revision})" for name in names if name in specs and specs[name].revision > 1]
    notes = []
    if unknown:
        notes.append(f"no spec is left of {', '.join(unknown)}: a rebuild makes dead letters of its events")
    if changed:
        notes.append(f"changed since they were applied: {', '.join(changed)}; a rebuild counts everything by the spec of today")
    return notes
