"""What a state was made from: its checkpoint, and whether it may go on from the topics that are there now.

A state is a function of its sources from their first record on. When a source was deleted and made again, or no longer reaches
back to where a new state would begin, what the state would say is a function of nothing that anybody could name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from allocator.errors import StateError

__all__ = ["UNCHECKED", "Checkpoint", "Origin", "continued", "require_whole"]

ACCEPT = "start the workers once with --accept-loss"


class Checkpoint(msgspec.Struct, frozen=True):
    """What the state was built from: the number of commits, and the next offset of each source topic."""

    seq: int = 0
    applied: dict[str, int] = {}
    epoch: int = 0
    """When this state was begun, in milliseconds since the epoch: what a state before it has published is void."""
    sources: dict[str, str] = {}
    """Ids of the source topics; those the broker does not tell are left out."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The topics of an agent's ledgers as they are now."""

    sources: Sequence[str] = ()
    ids: Mapping[str, str] = field(default_factory=dict)
    """Of the sources and the changelog; a topic that is missing here is not checked."""
    cumulative: bool = False
    """Whether the sources repeat all that still holds: then they can be read again from the beginning at any time."""
    accept_loss: bool = False
    """Go on although records of the sources are gone."""

    def source_ids(self) -> dict[str, str]:
        return {topic: self.ids[topic] for topic in self.sources if topic in self.ids}


UNCHECKED = Origin()


def require_whole(origin: Origin, begins: Mapping[str, int], partition: int) -> None:
    """A state that has to be begun needs sources from their first record on; they begin at the offsets `begins`.

    Raises
    ------
    StateError : records are gone from a source.
    """
    if origin.cumulative or origin.accept_loss:
        return
    for topic, offset in begins.items():
        if offset > 0:
            raise StateError(
                f"no state of partition {partition}, while its records below offset {offset} are gone from {topic}",
                "sources that reach back to offset 0, or a changelog that says what was counted",
                f"to begin with what the sources still hold, {ACCEPT}",
            )


def continued(checkpoint: Checkpoint, origin: Origin, changelog: str, partition: int) -> Checkpoint:
    """The checkpoint to go on from: the same, but for sources made again whose records can be read from the beginning.

    Raises
    ------
    StateError : a source was deleted and made again after records of it were counted.
    """
    now = origin.source_ids()
    anew = [topic for topic, id_ in now.items() if checkpoint.sources.get(topic, id_) != id_]
    for topic in anew:
        counted = checkpoint.applied.get(topic, 0)
        if counted and not origin.cumulative and not origin.accept_loss:
            raise StateError(
                f"{topic} deleted and made again (id {checkpoint.sources[topic]} before, {now[topic]} now) after "
                f"{counted} offsets of partition {partition} were counted",
                "the topic that the state was built from",
                f"to keep what was counted and read the new topic from its beginning, {ACCEPT}; "
                f"to count only what the sources hold now, stop all workers, delete {changelog} and {ACCEPT}",
            )
    applied = checkpoint.applied | dict.fromkeys(anew, 0)
    return msgspec.structs.replace(checkpoint, applied=applied, sources=checkpoint.sources | now)
