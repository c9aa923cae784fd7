"""Fold one chunk: what the join and a rebuild of it do alike."""

from __future__ import annotations

from collections.abc import Sequence

from streams.join.decode import Events
from streams.join.fold import Fold
from streams.join.sweep import LOOKS_PER_EVENT, Sweep
from streams.records import Exposure, Reward
from streams.state.store import Store, escape_all

__all__ = ["fold_chunk", "units_of"]


def units_of(exposures: Sequence[Events[Exposure]], rewards: Sequence[Events[Reward]]) -> list[bytes]:
    """The keys of all events, each once, in no order."""
    keys = [batch.keys for batch in exposures] + [batch.keys for batch in rewards]
    return list(set().union(*keys))


def fold_chunk(
    fold: Fold,
    store: Store,
    sweep: Sweep,
    units: Sequence[bytes],
    exposures: Sequence[Events[Exposure]],
    rewards: Sequence[Events[Reward]],
) -> None:
    """Forget some units that can be, look those of the chunk up, fold all exposures and then all rewards.

    Nothing is written: `fold.end` has what changed. `units` may be more than the events'.
    """
    events = sum(len(batch.keys) for batch in exposures) + sum(len(batch.keys) for batch in rewards)
    fold.evict(sweep.stale(fold.watermark, fold.horizon_s, LOOKS_PER_EVENT * events))
    fold.begin(dict(zip(units, store.get_many(escape_all(units)), strict=True)))
    for exposed in exposures:
        fold.exposures(exposed)
    for rewarded in rewards:
        fold.rewards(rewarded)
